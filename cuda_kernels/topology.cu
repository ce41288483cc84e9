// The table of neighbouring sides (common/neighbours.cuh) of a triangle list. Sides are brought together by edge, on a
// GPU by sorting 64-bit keys, on the host by a counting sort into buckets of lower vertices; what is then found for the
// sides of an edge is the same code.
#include "common/neighbours.cuh"
#include "common/triangle_id.cuh"

#ifndef GLR_WARP_SIZE
#include <vector>
#endif

struct TopologyParams {
  const int32_t* tri;     // [T, 3]
  int32_t* neighbours;    // [T, 3]
  int64_t* keys;          // [3 T] of every side's edge, made by topology_keys
  const int64_t* sorted;  // [3 T] the same in order
  const int64_t* order;   // [3 T] the sides' codes in that order
  int32_t* half_edges;    // [3 T, 4] of HalfEdge, bucket by bucket
  int32_t* starts;  // [num_chunks, num_buckets] where the bucket's sides begin that a chunk of triangles puts there
  int64_t num_triangles, num_buckets, num_chunks;  // num_buckets: a power of two
};

// The vertices of a triangle whose sides count.
GLR_FUNC bool load_sides(const TopologyParams& p, int64_t t, VertexIndices* v) {
  return load_triangle(p.tri, p.num_triangles, INT32_MAX, int32_t(t), v);
}

// Two opposite vertices, the lowest that were offered, and the lowest codes of sides that have them.
struct LowestOpposites {
  int32_t first = INT32_MAX, second = INT32_MAX, first_side = INT32_MAX, second_side = INT32_MAX;

  GLR_MEMBER void offer(int32_t opposite, int32_t side) {
    if (opposite < first) {
      second = first, second_side = first_side;
      first = opposite, first_side = side;
    } else if (opposite == first) {
      first_side = min(first_side, side);
    } else if (opposite < second) {
      second = opposite, second_side = side;
    } else if (opposite == second) {
      second_side = min(second_side, side);
    }
  }
};

// Writes the entries of all sides of an edge; `side(i)` for i < n are their codes, `opposite(i)` the vertices opposite.
template <class Side, class Opposite>
GLR_FUNC void match_sides(const TopologyParams& p, int64_t n, const Side& side, const Opposite& opposite) {
  LowestOpposites lowest;
  for (int64_t i = 0; i < n; ++i) lowest.offer(opposite(i), side(i));
  for (int64_t i = 0; i < n; ++i) {
    const int32_t other = opposite(i) == lowest.first ? lowest.second_side : lowest.first_side;
    p.neighbours[side(i)] = other == INT32_MAX ? -1 : n == 2 ? other : -2 - other;
  }
}

#ifdef GLR_WARP_SIZE

constexpr int64_t kNoEdge = INT64_MAX;

GLR_FUNC int64_t edge_key(int32_t a, int32_t b) { return a == b ? kNoEdge : int64_t(min(a, b)) << 32 | max(a, b); }

GLR_KERNEL topology_keys(const TopologyParams& p) {
  GLR_FOR_EACH(t, p.num_triangles) {
    VertexIndices v;
    if (!load_sides(p, t, &v)) v = {0, 0, 0};
    p.keys[t * 3] = edge_key(v.v0, v.v1);
    p.keys[t * 3 + 1] = edge_key(v.v1, v.v2);
    p.keys[t * 3 + 2] = edge_key(v.v2, v.v0);
  }
}
GLR_EXPORT_UNTYPED(topology_keys, TopologyParams)

// One thread for the first side of every edge.
GLR_KERNEL topology_match(const TopologyParams& p) {
  GLR_FOR_EACH(i, p.num_triangles * 3) {
    const int64_t key = p.sorted[i];
    if (key == kNoEdge) p.neighbours[p.order[i]] = -1;
    if (key == kNoEdge || (i > 0 && p.sorted[i - 1] == key)) continue;
    int64_t end = i + 1;
    while (end < p.num_triangles * 3 && p.sorted[end] == key) ++end;
    const auto side = [&](int64_t k) { return int32_t(p.order[i + k]); };
    match_sides(p, end - i, side, [&](int64_t k) { return opposite_vertex(p.tri, side(k)); });
  }
}
GLR_EXPORT_UNTYPED(topology_match, TopologyParams)

#else

// A side with all that is asked of it: to look it up in the list takes longer than to carry it along.
struct HalfEdge {
  int32_t lower, higher, opposite, side;
};

// Calls visit(half-edge) for those sides of a chunk of triangles that count.
template <class Visit>
GLR_FUNC void for_each_side(const TopologyParams& p, int64_t chunk, const Visit& visit) {
  const int64_t begin = p.num_triangles * chunk / p.num_chunks, end = p.num_triangles * (chunk + 1) / p.num_chunks;
  const auto visit_side = [&](int32_t a, int32_t b, int32_t opposite, int32_t side) {
    if (a != b) visit(HalfEdge{min(a, b), max(a, b), opposite, side});
  };
  for (int64_t t = begin; t < end; ++t) {
    VertexIndices v;
    if (!load_sides(p, t, &v)) continue;
    const int32_t side = int32_t(t * 3);
    visit_side(v.v0, v.v1, v.v2, side);
    visit_side(v.v1, v.v2, v.v0, side + 1);
    visit_side(v.v2, v.v0, v.v1, side + 2);
  }
}

// From numbers of sides to where they begin.
GLR_FUNC void add_up_starts(const TopologyParams& p) {
  const int64_t B = p.num_buckets, C = p.num_chunks;
  std::vector<int32_t> sums(C + 1);
  {
    GLR_FOR_EACH(part, C) {
      int32_t sum = 0;
      for (int64_t chunk = 0; chunk < C; ++chunk)
        for (int64_t b = B * part / C; b < B * (part + 1) / C; ++b) sum += p.starts[chunk * B + b];
      sums[part + 1] = sum;
    }
  }
  for (int64_t part = 0; part < C; ++part) sums[part + 1] += sums[part];
  {
    GLR_FOR_EACH(part, C) {
      int32_t start = sums[part];
      for (int64_t b = B * part / C; b < B * (part + 1) / C; ++b) {
        for (int64_t chunk = 0; chunk < C; ++chunk) {
          int32_t& value = p.starts[chunk * B + b];
          const int32_t count = value;
          value = start, start += count;
        }
      }
    }
  }
}

// Matches the sides in a bucket: those of a few vertices, or of one with many sides.
GLR_FUNC void match_bucket(const TopologyParams& p, HalfEdge* sides, int64_t n) {
  const auto is_same_edge = [](const HalfEdge& a, const HalfEdge& b) {
    return a.higher == b.higher && a.lower == b.lower;
  };
  // Brings the sides of an edge together, one after the other; for many sides by sorting.
  constexpr int64_t kFew = 32;
  if (n > kFew) {
    std::sort(sides, sides + n, [](const HalfEdge& a, const HalfEdge& b) {
      return a.higher != b.higher ? a.higher < b.higher : a.lower < b.lower;
    });
  }
  for (int64_t begin = 0, end; begin < n; begin = end) {
    end = begin + 1;
    if (n > kFew) {
      while (end < n && is_same_edge(sides[begin], sides[end])) ++end;
    } else {
      for (int64_t i = end; i < n; ++i)
        if (is_same_edge(sides[begin], sides[i])) std::swap(sides[end++], sides[i]);
    }
    match_sides(
        p, end - begin, [&](int64_t i) { return sides[begin + i].side; },
        [&](int64_t i) { return sides[begin + i].opposite; });
  }
}

GLR_KERNEL topology_sort(const TopologyParams& p) {
  const int64_t B = p.num_buckets;
  HalfEdge* half_edges = reinterpret_cast<HalfEdge*>(p.half_edges);
  {
    GLR_FOR_EACH(chunk, p.num_chunks) {
      int32_t* counts = p.starts + chunk * B;
      std::fill(counts, counts + B, 0);
      for_each_side(p, chunk, [&](const HalfEdge& edge) { ++counts[edge.lower & (B - 1)]; });
    }
  }
  add_up_starts(p);
  {
    GLR_FOR_EACH(chunk, p.num_chunks) {
      const int64_t begin = p.num_triangles * chunk / p.num_chunks, end = p.num_triangles * (chunk + 1) / p.num_chunks;
      std::fill(p.neighbours + begin * 3, p.neighbours + end * 3, -1);
      int32_t* starts = p.starts + chunk * B;
      for_each_side(p, chunk, [&](const HalfEdge& edge) { half_edges[starts[edge.lower & (B - 1)]++] = edge; });
    }
  }
  const int32_t* ends = p.starts + (p.num_chunks - 1) * B;  // the last chunk has moved on to the next bucket's begin
  {
    GLR_FOR_EACH(bucket, B) {
      const int32_t begin = bucket == 0 ? 0 : ends[bucket - 1];
      match_bucket(p, half_edges + begin, ends[bucket] - begin);
    }
  }
}
GLR_EXPORT_UNTYPED(topology_sort, TopologyParams)

#endif
