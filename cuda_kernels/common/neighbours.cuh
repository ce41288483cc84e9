// Which sides of triangles lie on the same edge of a mesh. Side i of triangle t, from its vertex i to the next, has the
// code 3 t + i; topology.cu makes a table with an entry for every code:
//   c >= 0   the other side on this edge: exactly two sides lie on it, and their opposite vertices differ
//   -1       there is no other: the edge is open, or all its triangles have the same opposite vertex (one triangle
//   listed
//            several times); also where a side has no length (equal indices) or its triangle has a negative index
//   -2 - c   more than two sides lie on the edge. Of those sides the two lowest different opposite vertices are
//            remembered; c is the lowest code of a side with one of these that is not this side's own
// Sides need not run in opposite directions. The table depends on the list alone, not on threads or their order.
#pragma once

#include "portability.cuh"

// The other side on this edge, or the one that counts among several; -1 if there is none.
GLR_FUNC int32_t other_side(const int32_t* neighbours, int32_t side) {
  const int32_t entry = neighbours[side];
  return max(entry, -2 - entry);
}

// The vertex of a triangle that is not on this side of it.
GLR_FUNC int32_t opposite_vertex(const int32_t* tri, int32_t side) { return tri[side % 3 == 0 ? side + 2 : side - 1]; }

// The opposite vertex of another triangle at this side's edge; -1 if there is none.
GLR_FUNC int32_t other_opposite(const int32_t* tri, const int32_t* neighbours, int32_t side) {
  const int32_t other = other_side(neighbours, side);
  return other < 0 ? -1 : opposite_vertex(tri, other);
}
