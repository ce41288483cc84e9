// Antialiasing of silhouettes: where two neighbouring pixels see different triangles and a silhouette edge of the
// nearer one passes between their centres, the colours are blended by where it passes. Visibility thereby gets
// gradients with respect to vertex positions.
//   alpha = s (1/2 - d),  d: distance of the edge from the nearer triangle's pixel, along the line to the other pixel
// Source: Laine et al. 2020, section 3.5.
#include "common/edge_table.cuh"
#include "common/triangle_id.cuh"

template <class T>
struct AntialiasParams {
  const T* color;      // [N, H, W, C]
  const T* rast;       // [N, H, W, 4]
  const T* pos;        // [N or 1, V, 4] clip space
  const int32_t* tri;  // [T, 3]
  uint64_t* edges;     // [capacity], see EdgeTable; made by topology.cu
  int32_t* opposites;  // [capacity, 2]
  T* out;              // [N, H, W, C]
  const T* grad_out;   // [N, H, W, C]
  T* grad_color;       // [N, H, W, C], null if not wanted
  T* grad_pos;         // [N or 1, V, 4], zeroed; null if not wanted
  int64_t N, H, W, C, V, num_triangles, capacity;
  int64_t pos_stride;         // elements from one image's positions to the next; 0: shared
  double pos_gradient_boost;  // factor of grad_pos
};

template <class T>
GLR_FUNC EdgeTable edge_table(const AntialiasParams<T>& p) {
  return {p.edges, p.opposites, p.capacity};
}

// A vertex on the screen, in pixels from the centre of the nearer triangle's pixel: `along` towards the right (or, for
// a vertical pair, upper) neighbour, `across` the other axis.
template <class T>
struct PairPoint {
  T along, across;
};

// Two neighbouring pixels and the triangle whose edge is looked for between them.
template <class T>
struct PixelPair {
  int64_t p0, p1;  // p1 is right of p0, or above it
  int64_t image;
  int32_t own_x, own_y;  // the pixel that sees the triangle
  VertexIndices v;
  T s;  // +1: p0 sees the triangle, -1: p1
  bool vertical;
};

// What was found for a pair.
template <class T>
struct PairBlend {
  T alpha;              // how much of color[p1] - color[p0] is added to p0 (alpha > 0) or p1
  int32_t a, b;         // vertices of the edge
  PairPoint<T> pa, pb;  // where they are
};

template <class T>
GLR_FUNC PairPoint<T> project(const AntialiasParams<T>& p, const PixelPair<T>& pair, int32_t vertex) {
  const T* v = p.pos + pair.image * p.pos_stride + int64_t(vertex) * 4;
  const T inverse_w = T(1) / v[3];
  const T x = (v[0] * inverse_w + T(1)) * (T(p.W) * T(0.5)) - (T(pair.own_x) + T(0.5));
  const T y = (v[1] * inverse_w + T(1)) * (T(p.H) * T(0.5)) - (T(pair.own_y) + T(0.5));
  return pair.vertical ? PairPoint<T>{y, x} : PairPoint<T>{x, y};
}

template <class T>
GLR_FUNC T side_of(const PairPoint<T>& a, const PairPoint<T>& b, const PairPoint<T>& q) {
  return (b.along - a.along) * (q.across - a.across) - (b.across - a.across) * (q.along - a.along);
}

// True if the mesh ends at the edge, or folds over so that both its triangles project to one side.
template <class T>
GLR_FUNC bool is_silhouette(const AntialiasParams<T>& p, const PixelPair<T>& pair, const PairBlend<T>& edge,
                            int32_t own, const PairPoint<T>& own_point) {
  const int32_t other = other_opposite(edge_table(p), edge.a, edge.b, own);
  if (other < 0) return true;
  return side_of(edge.pa, edge.pb, own_point) * side_of(edge.pa, edge.pb, project(p, pair, other)) > 0;
}

// The triangle that a pixel sees; -1 if none, or one that does not exist.
template <class T>
GLR_FUNC int32_t triangle_at(const AntialiasParams<T>& p, int64_t pixel) {
  const int32_t triangle = decode_triangle(p.rast[pixel * 4 + 3]);
  return triangle < p.num_triangles ? triangle : -1;
}

// The pair of pixel (image, x, y) and its right or upper neighbour; false if both see the same triangle.
template <class T>
GLR_FUNC bool load_pair(const AntialiasParams<T>& p, int64_t image, int32_t x, int32_t y, bool vertical,
                        PixelPair<T>* pair) {
  const int64_t p0 = (image * p.H + y) * p.W + x, p1 = p0 + (vertical ? p.W : 1);
  const int32_t t0 = triangle_at(p, p0), t1 = triangle_at(p, p1);
  if (t0 == t1) return false;
  const bool first = t1 < 0 || (t0 >= 0 && p.rast[p0 * 4 + 2] < p.rast[p1 * 4 + 2]);
  pair->p0 = p0, pair->p1 = p1, pair->image = image, pair->vertical = vertical;
  pair->s = first ? T(1) : T(-1);
  pair->own_x = x + (!first && !vertical), pair->own_y = y + (!first && vertical);
  return load_triangle(p.tri, p.num_triangles, p.V, first ? t0 : t1, &pair->v);
}

// Looks for the edge between the two pixels; false if there is nothing to blend.
template <class T>
GLR_FUNC bool analyze_pair(const AntialiasParams<T>& p, const PixelPair<T>& pair, PairBlend<T>* blend) {
  const int32_t index[3] = {pair.v.v0, pair.v.v1, pair.v.v2};
  const PairPoint<T> point[3] = {project(p, pair, index[0]), project(p, pair, index[1]), project(p, pair, index[2])};
  T farthest = T(-1. / 16);
  int found = -1;
  for (int i = 0; i < 3; ++i) {
    const PairPoint<T>&a = point[i], &b = point[i == 2 ? 0 : i + 1];
    if (!((a.across < 0 && b.across > 0) || (a.across > 0 && b.across < 0))) continue;
    const T crossing = (a.along * b.across - b.along * a.across) / (b.across - a.across);
    const T distance = pair.s * crossing;
    if (distance > farthest) farthest = distance, found = i;
  }
  if (found < 0 || !(farthest < T(17. / 16))) return false;
  const int next = found == 2 ? 0 : found + 1, last = found == 0 ? 2 : found - 1;
  blend->a = index[found], blend->b = index[next];
  blend->pa = point[found], blend->pb = point[next];
  if (fabs(blend->pb.across - blend->pa.across) < fabs(blend->pb.along - blend->pa.along)) return false;
  if (!is_silhouette(p, pair, *blend, index[last], point[last])) return false;
  blend->alpha = pair.s * (T(0.5) - min(max(farthest, T(0)), T(1)));
  return true;
}

// Calls visit(pair, blend, this pixel is p0) for those of a pixel's four pairs (right, up, left, down) where colours
// are blended. Every pixel looks at its own pairs, so that its sum has a fixed order. `row` is image * H + y.
template <class T, class Visit>
GLR_FUNC void for_each_blend(const AntialiasParams<T>& p, int64_t row, int32_t x, const Visit& visit) {
  const int64_t image = row / p.H;
  const int32_t y = int32_t(row - image * p.H);
  const T* id = p.rast + (row * p.W + x) * 4 + 3;
  const bool differs[4] = {x + 1 < p.W && id[4] != id[0], y + 1 < p.H && id[4 * p.W] != id[0], x > 0 && id[-4] != id[0],
                           y > 0 && id[-4 * p.W] != id[0]};
  if (!(differs[0] | differs[1] | differs[2] | differs[3])) return;
  for (int k = 0; k < 4; ++k) {
    if (!differs[k]) continue;
    const bool vertical = k & 1, is_p0 = k < 2;
    PixelPair<T> pair;
    PairBlend<T> blend;
    if (load_pair(p, image, x - (!is_p0 && !vertical), y - (!is_p0 && vertical), vertical, &pair) &&
        analyze_pair(p, pair, &blend))
      visit(pair, blend, is_p0);
  }
}

template <class T>
GLR_KERNEL antialias_fwd(const AntialiasParams<T>& p) {
  GLR_FOR_EACH_PIXEL(row, x, p.N * p.H, p.W) {
    const int64_t pixel = row * p.W + x;
    T* out = p.out + pixel * p.C;
    for (int64_t c = 0; c < p.C; ++c) out[c] = p.color[pixel * p.C + c];
    for_each_blend(p, row, x, [&](const PixelPair<T>& pair, const PairBlend<T>& blend, bool is_p0) {
      if ((blend.alpha > 0) != is_p0) return;
      for (int64_t c = 0; c < p.C; ++c)
        out[c] += blend.alpha * (p.color[pair.p1 * p.C + c] - p.color[pair.p0 * p.C + c]);
    });
  }
}
GLR_EXPORT(antialias_fwd, AntialiasParams)

// d alpha / d (along, across) of the edge's ends, scaled by g = dL / d alpha; alpha = s/2 - crossing. Then through the
// projection, d (x/w W/2, y/w H/2) / d (x, y, w).
template <class T>
GLR_FUNC void pair_position_bwd(const AntialiasParams<T>& p, const PixelPair<T>& pair, const PairBlend<T>& blend, T g) {
  const T dy = blend.pb.across - blend.pa.across, inverse = T(1) / (dy + (dy < 0 ? T(-1e-3) : T(1e-3)));
  const T crossing = (blend.pa.along * blend.pb.across - blend.pb.along * blend.pa.across) * inverse;
  const PairPoint<T> ga = {-g * blend.pb.across * inverse, -g * (crossing - blend.pb.along) * inverse};
  const PairPoint<T> gb = {g * blend.pa.across * inverse, -g * (blend.pa.along - crossing) * inverse};
  const int32_t index[2] = {blend.a, blend.b};
  const PairPoint<T> grad[2] = {ga, gb};
  for (int k = 0; k < 2; ++k) {
    const int64_t offset = pair.image * p.pos_stride + int64_t(index[k]) * 4;
    const T* v = p.pos + offset;
    const T gx = (pair.vertical ? grad[k].across : grad[k].along) * T(p.W) * T(0.5) / v[3];
    const T gy = (pair.vertical ? grad[k].along : grad[k].across) * T(p.H) * T(0.5) / v[3];
    atomic_add(p.grad_pos + offset, gx);
    atomic_add(p.grad_pos + offset + 1, gy);
    atomic_add(p.grad_pos + offset + 3, -(gx * v[0] + gy * v[1]) / v[3]);
  }
}

template <class T>
GLR_KERNEL antialias_bwd(const AntialiasParams<T>& p) {
  GLR_FOR_EACH_PIXEL(row, x, p.N * p.H, p.W) {
    const int64_t pixel = row * p.W + x;
    T* grad_color = p.grad_color ? p.grad_color + pixel * p.C : nullptr;
    for (int64_t c = 0; grad_color && c < p.C; ++c) grad_color[c] = p.grad_out[pixel * p.C + c];
    for_each_blend(p, row, x, [&](const PixelPair<T>& pair, const PairBlend<T>& blend, bool is_p0) {
      const T* g = p.grad_out + (blend.alpha > 0 ? pair.p0 : pair.p1) * p.C;
      const T sign = is_p0 ? -blend.alpha : blend.alpha;
      for (int64_t c = 0; grad_color && c < p.C; ++c) grad_color[c] += sign * g[c];
      if (!p.grad_pos || !is_p0 || fabs(blend.alpha) >= T(0.5)) return;
      T weight = 0;
      for (int64_t c = 0; c < p.C; ++c) weight += g[c] * (p.color[pair.p1 * p.C + c] - p.color[pair.p0 * p.C + c]);
      if (weight != 0) pair_position_bwd(p, pair, blend, weight * T(p.pos_gradient_boost));
    });
  }
}
GLR_EXPORT(antialias_bwd, AntialiasParams)
