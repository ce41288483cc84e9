// Two neighbouring pixels A, B (right of A, or above it) and which of the surfaces that they see is in front. `Params`
// holds pos [N or 1, V, 4], pos_stride, tri [T, 3], neighbours [T, 3], rast [N, H, W, 4] and their sizes.
#pragma once

#include "image_planes.cuh"
#include "neighbours.cuh"

// A is pixel (x, y) of an image, B the next along the axis.
struct PixelPair {
  int64_t image;
  int32_t x, y;
  int axis;
  int32_t a, b;  // their triangles, -1: none
};

enum PairKind { kOneSurface, kAOccludes, kBOccludes, kIntersection, kCrease };

// What was found out about a pair.
struct Boundary {
  int kind = kOneSurface;
  int32_t triangle = -1;  // that carries an outline
  double distance = 0.;   // of an outline from the centre of the pixel in front, of an intersection from A's; in pixels
};

// By how much a pixel's own triangle is nearer than the neighbour's, from depths and slopes at their own centres.
struct Nearer {
  double at_a, at_b;
};

GLR_FUNC Nearer nearer_by(double za, double slope_a, double zb, double slope_b) {
  return {zb - slope_b - za, za + slope_a - zb};
}

// Which of two surfaces is in front; one surface if nothing tells, as of slopes that are not finite.
GLR_FUNC int compare_depths(double za, double slope_a, double zb, double slope_b) {
  const Nearer nearer = nearer_by(za, slope_a, zb, slope_b);
  const double least = 0.2 * (fabs(slope_a) + fabs(slope_b)) + 1e-6;
  const bool a_in_front = (nearer.at_a > least) & (nearer.at_b < -least);
  const bool b_in_front = (nearer.at_a < -least) & (nearer.at_b > least);
  const bool intersect = (nearer.at_a > 0) & (nearer.at_b > 0) & (nearer.at_a + nearer.at_b > least);
  return a_in_front ? kAOccludes : b_in_front ? kBOccludes : intersect ? kIntersection : kOneSurface;
}

// Of a pair that sees one triangle and nothing.
GLR_FUNC int outline_kind(int32_t a) { return a >= 0 ? kAOccludes : kBOccludes; }

// The same of any pair.
template <class Params>
GLR_FUNC Boundary compare_pair(const Params& p, const PixelPair& pair) {
  const int axis = pair.axis;
  Boundary found;
  if (pair.a < 0 || pair.b < 0) {
    found.kind = outline_kind(pair.a);
    return found;
  }
  ScreenPlane a, b;
  if (!plane_at(p, pair.image, pair.a, sample_at(p, 0, pair.x), sample_at(p, 1, pair.y), &a)) return found;
  const double bx = sample_at(p, 0, pair.x + !axis), by = sample_at(p, 1, pair.y + axis);
  if (!plane_at(p, pair.image, pair.b, bx, by, &b)) return found;
  const double za = a.depth(), slope_a = a.depth_slope(axis), zb = b.depth(), slope_b = b.depth_slope(axis);
  found.kind = compare_depths(za, slope_a, zb, slope_b);
  const Nearer nearer = nearer_by(za, slope_a, zb, slope_b);
  if (found.kind == kIntersection) found.distance = nearer.at_a / (nearer.at_a + nearer.at_b);
  return found;
}

// The pair of a pixel and its next one along an axis; false if both see the same.
template <class Params>
GLR_FUNC bool load_pair(const Params& p, int64_t image, int32_t x, int32_t y, int axis, PixelPair* pair) {
  const int64_t pixel = (image * p.H + y) * p.W + x;
  *pair = {image, x, y, axis, triangle_at(p, pixel), triangle_at(p, pixel + (axis ? p.W : 1))};
  return pair->a != pair->b;
}

constexpr int kMostSteps = 32;  // of a walk, in triangles

enum WalkEnd { kGaveUp, kFold, kOpenEdge, kReached };

struct Walk {
  int end = kGaveUp;
  int32_t triangle = -1;  // the last one
  double distance = 0.;
};

// The side of a triangle opposite a corner: side k goes from vertex k to the next, it lies opposite corner k + 2.
GLR_FUNC int32_t side_opposite(int32_t triangle, int corner) { return triangle * 3 + (corner == 2 ? 0 : corner + 1); }

// Over the surface from a triangle at (fx, fy) along an axis, in pixels times `direction`, to its outline or to the
// triangle that the next pixel sees. Rasterizers snap corners, so that may begin a little behind the pixel's centre.
template <class Params>
GLR_FUNC Walk walk(const Params& p, int64_t image, int32_t first, int32_t other, double fx, double fy, int axis,
                   double direction) {
  constexpr double kFarthest = 1. + 1. / 128;
  Walk walk;
  walk.triangle = first;
  for (int step = 0; step < kMostSteps; ++step) {
    ScreenPlane plane;
    if (!plane_at(p, image, walk.triangle, fx, fy, &plane)) return walk;
    const PlaneExit exit = exit_of(plane, axis, direction);
    walk.distance = min(exit.distance, 1.);
    if (exit.distance > kFarthest) return walk;
    const int32_t next = other_side(p.neighbours, side_opposite(walk.triangle, exit.opposite)), triangle = next / 3;
    VertexIndices v;
    if (next < 0 || !load_triangle(p.tri, p.num_triangles, p.V, triangle, &v))
      walk.end = kOpenEdge;
    else if (lies_on_same_side(plane, exit.opposite, corner_at(p, image, opposite_vertex(p.tri, next), fx, fy)))
      walk.end = kFold;
    else if (triangle == other)
      walk.end = kReached;
    if (walk.end != kGaveUp) return walk;
    walk.triangle = triangle;
  }
  return walk;
}
