// Two neighbouring pixels that see different triangles, and the silhouette edge between their centres: where it passes,
// and the derivatives of that place. `Params` holds pos, tri, neighbours, rast and their sizes, as AntialiasParams
// does. Triangles that reach behind the eye (w <= 0) cannot be projected. Their edges are looked for in homogeneous
// pixel coordinates (X, Y, w), where the pixels' line is the plane Y = 0: edge (a, b) meets it in (Y_a b - Y_b a) /
// (Y_a - Y_b). Source: Laine et al. 2020, section 3.5; homogeneous rasterization (Olano and Greer 1997).
#pragma once

#include "neighbours.cuh"
#include "triangle_id.cuh"

// A vertex on the screen, in pixels from the centre of the nearer triangle's pixel: `along` towards the right (or, for
// a vertical pair, upper) neighbour, `across` the other axis.
template <class T>
struct PairPoint {
  T along, across;
};

// The same before the division by w: (w along, w across, w), of a vertex anywhere.
template <class T>
struct PairVertex {
  T along, across, w;
};

// Two neighbouring pixels and the triangle whose edge is looked for between them.
template <class T>
struct PixelPair {
  int64_t p0, p1;  // p1 is right of p0, or above it
  int64_t image;
  int32_t own_x, own_y;  // the pixel that sees the triangle
  int32_t triangle;
  VertexIndices v;
  T s;  // +1: p0 sees the triangle, -1: p1
  bool vertical;
};

// What was found for a pair.
template <class T>
struct PairBlend {
  T alpha;       // how much of color[p1] - color[p0] is added to p0 (alpha > 0) or p1
  T distance;    // of the edge, as d but not clamped
  int32_t a, b;  // vertices of the edge
};

template <class Params, class T>
GLR_FUNC const T* position_of(const Params& p, const PixelPair<T>& pair, int32_t vertex) {
  return p.pos + pair.image * p.pos_stride + int64_t(vertex) * 4;
}

// Of a vertex before the eye, w > 0.
template <class Params, class T>
GLR_FUNC PairPoint<T> project(const Params& p, const PixelPair<T>& pair, int32_t vertex) {
  const T* v = position_of(p, pair, vertex);
  const T inverse_w = T(1) / v[3];
  const T x = (v[0] * inverse_w + T(1)) * (T(p.W) * T(0.5)) - (T(pair.own_x) + T(0.5));
  const T y = (v[1] * inverse_w + T(1)) * (T(p.H) * T(0.5)) - (T(pair.own_y) + T(0.5));
  return pair.vertical ? PairPoint<T>{y, x} : PairPoint<T>{x, y};
}

// Where the eye's axis lies, in pixels from the centre of the triangle's own pixel.
template <class Params, class T>
GLR_FUNC PairPoint<T> image_middle(const Params& p, const PixelPair<T>& pair) {
  const T x = T(p.W) * T(0.5) - (T(pair.own_x) + T(0.5)), y = T(p.H) * T(0.5) - (T(pair.own_y) + T(0.5));
  return pair.vertical ? PairPoint<T>{y, x} : PairPoint<T>{x, y};
}

template <class Params, class T>
GLR_FUNC PairVertex<T> pair_vertex(const Params& p, const PixelPair<T>& pair, int32_t vertex) {
  const T* v = position_of(p, pair, vertex);
  const PairPoint<T> middle = image_middle(p, pair);
  const T x = v[0] * (T(p.W) * T(0.5)), y = v[1] * (T(p.H) * T(0.5)), w = v[3];
  return {(pair.vertical ? y : x) + middle.along * w, (pair.vertical ? x : y) + middle.across * w, w};
}

template <class Params, class T>
GLR_FUNC bool is_before_eye(const Params& p, const PixelPair<T>& pair, int32_t vertex) {
  return position_of(p, pair, vertex)[3] > 0;
}

template <class T>
GLR_FUNC T side_of(const PairPoint<T>& a, const PairPoint<T>& b, const PairPoint<T>& q) {
  return (b.along - a.along) * (q.across - a.across) - (b.across - a.across) * (q.along - a.along);
}

// On which side of edge (a, b) a triangle with vertex q lies where it can be seen. Beside a point e of the edge that is
// before the eye, the triangle holds e + epsilon q: det(a, b, e + epsilon q) = epsilon det(a, b, q), whatever w of q.
template <class T>
GLR_FUNC T side_of(const PairVertex<T>& a, const PairVertex<T>& b, const PairVertex<T>& q) {
  return q.along * (a.across * b.w - b.across * a.w) + q.across * (b.along * a.w - a.along * b.w) +
         q.w * (a.along * b.across - b.along * a.across);
}

// True if the mesh ends at edge (a, b), the triangle's `side`, or folds over so that both its triangles project to one
// side. `own` is the triangle's third vertex.
template <class Params, class T>
GLR_FUNC bool is_silhouette(const Params& p, const PixelPair<T>& pair, int32_t side, int32_t a, int32_t b, int32_t own,
                            bool own_before_eye) {
  const int32_t other = other_opposite(p.tri, p.neighbours, pair.triangle * 3 + side);
  if (other < 0 || other >= p.V) return true;
  T side_own, side_other;
  if (own_before_eye && is_before_eye(p, pair, other)) {
    const PairPoint<T> pa = project(p, pair, a), pb = project(p, pair, b);
    side_own = side_of(pa, pb, project(p, pair, own)), side_other = side_of(pa, pb, project(p, pair, other));
  } else {
    const PairVertex<T> va = pair_vertex(p, pair, a), vb = pair_vertex(p, pair, b);
    side_own = side_of(va, vb, pair_vertex(p, pair, own)), side_other = side_of(va, vb, pair_vertex(p, pair, other));
  }
  return (side_own > 0 && side_other > 0) || (side_own < 0 && side_other < 0);
}

// The triangle that a pixel sees; -1 if none, or one that does not exist.
template <class Params>
GLR_FUNC int32_t triangle_at(const Params& p, int64_t pixel) {
  const int32_t triangle = decode_triangle(p.rast[pixel * 4 + 3]);
  return triangle < p.num_triangles ? triangle : -1;
}

// The pair of pixel (image, x, y) and its right or upper neighbour; false if both see the same triangle.
template <class Params, class T>
GLR_FUNC bool load_pair(const Params& p, int64_t image, int32_t x, int32_t y, bool vertical, PixelPair<T>* pair) {
  const int64_t p0 = (image * p.H + y) * p.W + x, p1 = p0 + (vertical ? p.W : 1);
  const int32_t t0 = triangle_at(p, p0), t1 = triangle_at(p, p1);
  if (t0 == t1) return false;
  const bool first = t1 < 0 || (t0 >= 0 && p.rast[p0 * 4 + 2] < p.rast[p1 * 4 + 2]);
  pair->p0 = p0, pair->p1 = p1, pair->image = image, pair->vertical = vertical;
  pair->s = first ? T(1) : T(-1);
  pair->own_x = x + (!first && !vertical), pair->own_y = y + (!first && vertical);
  pair->triangle = first ? t0 : t1;
  return load_triangle(p.tri, p.num_triangles, p.V, pair->triangle, &pair->v);
}

// Of the triangle's edges between vertices i and i + 1, the one that crosses the line through the centres farthest
// towards the neighbour.
template <class T>
struct FarthestEdge {
  int32_t i = -1;  // -1: none
  T distance = T(-1. / 16);
  bool steep = false;  // across the line rather than along it

  GLR_MEMBER void offer(int32_t edge, T d, T across, T along) {
    if (d > distance) i = edge, distance = d, steep = !(fabs(across) < fabs(along));
  }
};

template <class T>
GLR_FUNC bool crosses(T a_across, T b_across) {
  return (a_across < 0 && b_across > 0) || (a_across > 0 && b_across < 0);
}

template <class T>
GLR_FUNC FarthestEdge<T> find_edge(const PairPoint<T> point[3], T s) {
  FarthestEdge<T> found;
  for (int32_t i = 0; i < 3; ++i) {
    const PairPoint<T>&a = point[i], &b = point[i == 2 ? 0 : i + 1];
    if (!crosses(a.across, b.across)) continue;
    const T crossing = (a.along * b.across - b.along * a.across) / (b.across - a.across);
    found.offer(i, s * crossing, b.across - a.across, b.along - a.along);
  }
  return found;
}

// The same for a triangle that reaches behind the eye: of its edges the part before the eye.
template <class T>
GLR_FUNC FarthestEdge<T> find_clipped_edge(const PairVertex<T> vertex[3], T s) {
  FarthestEdge<T> found;
  PairVertex<T> before = {T(0), T(0), T(0)}, behind = before;  // where the triangle's border meets the line
  for (int32_t i = 0; i < 3; ++i) {
    const PairVertex<T>&a = vertex[i], &b = vertex[i == 2 ? 0 : i + 1];
    if (!crosses(a.across, b.across)) continue;
    const T line_along = a.across * b.w - b.across * a.w, line_across = b.along * a.w - a.along * b.w;
    const T to_point = T(1) / (a.across - b.across);
    const PairVertex<T> point = {(a.across * b.along - b.across * a.along) * to_point, T(0), line_along * to_point};
    if (point.w > 0)
      before = point, found.offer(i, s * point.along / point.w, line_along, line_across);
    else
      behind = point;
  }
  // Where the line leaves the part before the eye without meeting an edge, towards the neighbour, there is none.
  return s * (behind.along * before.w - before.along * behind.w) > 0 ? FarthestEdge<T>{} : found;
}

// Looks for the edge between the two pixels; false if there is nothing to blend.
template <class Params, class T>
GLR_FUNC bool analyze_pair(const Params& p, const PixelPair<T>& pair, PairBlend<T>* blend) {
  const int32_t v0 = pair.v.v0, v1 = pair.v.v1, v2 = pair.v.v2;
  const bool before_eye = is_before_eye(p, pair, v0) && is_before_eye(p, pair, v1) && is_before_eye(p, pair, v2);
  FarthestEdge<T> found;
  if (before_eye) {
    const PairPoint<T> point[3] = {project(p, pair, v0), project(p, pair, v1), project(p, pair, v2)};
    found = find_edge(point, pair.s);
  } else {
    const PairVertex<T> vertex[3] = {pair_vertex(p, pair, v0), pair_vertex(p, pair, v1), pair_vertex(p, pair, v2)};
    found = find_clipped_edge(vertex, pair.s);
  }
  if (found.i < 0 || !(found.distance < T(17. / 16)) || !found.steep) return false;
  blend->a = found.i == 0 ? v0 : found.i == 1 ? v1 : v2;
  blend->b = found.i == 0 ? v1 : found.i == 1 ? v2 : v0;
  const int32_t last = found.i == 0 ? v2 : found.i == 1 ? v0 : v1;
  if (!is_silhouette(p, pair, found.i, blend->a, blend->b, last, before_eye)) return false;
  blend->distance = found.distance;
  blend->alpha = pair.s * (T(0.5) - min(max(found.distance, T(0)), T(1)));
  return true;
}

// d alpha / d (along, across) of the edge's ends, scaled by g = dL / d alpha; alpha = s/2 - crossing. Then through the
// projection, d (x/w W/2, y/w H/2) / d (x, y, w). The edge's length across is 1e-3 pixels at least.
template <class Params, class T>
GLR_FUNC void pair_position_bwd(const Params& p, const PixelPair<T>& pair, const PairBlend<T>& blend, T g,
                                PairVertex<T> grad[2]) {
  const int32_t index[2] = {blend.a, blend.b};
  const PairPoint<T> pa = project(p, pair, blend.a), pb = project(p, pair, blend.b);
  const T dy = pb.across - pa.across, inverse = T(1) / (dy < 0 ? min(dy, T(-1e-3)) : max(dy, T(1e-3)));
  const T crossing = (pa.along * pb.across - pb.along * pa.across) * inverse;
  const PairPoint<T> by_end[2] = {{-g * pb.across * inverse, -g * (crossing - pb.along) * inverse},
                                  {g * pa.across * inverse, -g * (pa.along - crossing) * inverse}};
  for (int k = 0; k < 2; ++k) {
    const T* v = position_of(p, pair, index[k]);
    const T gx = (pair.vertical ? by_end[k].across : by_end[k].along) * T(p.W) * T(0.5) / v[3];
    const T gy = (pair.vertical ? by_end[k].along : by_end[k].across) * T(p.H) * T(0.5) / v[3];
    grad[k] = {gx, gy, -(gx * v[0] + gy * v[1]) / v[3]};
  }
}

// The same without the projection: crossing = (Y_a X_b - Y_b X_a) / (Y_a w_b - Y_b w_a), see PairVertex.
template <class Params, class T>
GLR_FUNC void clipped_position_bwd(const Params& p, const PixelPair<T>& pair, const PairBlend<T>& blend, T g,
                                   PairVertex<T> grad[2]) {
  const PairVertex<T> a = pair_vertex(p, pair, blend.a), b = pair_vertex(p, pair, blend.b);
  const PairPoint<T> middle = image_middle(p, pair);
  const T crossing = pair.s * blend.distance, scale = -g / (a.across * b.w - b.across * a.w);
  const PairVertex<T> by_end[2] = {{-b.across, b.along - crossing * b.w, crossing * b.across},
                                   {a.across, crossing * a.w - a.along, -crossing * a.across}};
  for (int k = 0; k < 2; ++k) {
    const PairVertex<T> e = {scale * by_end[k].along, scale * by_end[k].across, scale * by_end[k].w};
    const T gx = (pair.vertical ? e.across : e.along) * T(p.W) * T(0.5);
    const T gy = (pair.vertical ? e.along : e.across) * T(p.H) * T(0.5);
    grad[k] = {gx, gy, e.w + middle.along * e.along + middle.across * e.across};
  }
}

// Either: the gradients of x, y, w of the edge's ends.
template <class Params, class T>
GLR_FUNC void edge_position_bwd(const Params& p, const PixelPair<T>& pair, const PairBlend<T>& blend, T g,
                                PairVertex<T> grad[2]) {
  if (is_before_eye(p, pair, blend.a) && is_before_eye(p, pair, blend.b))
    pair_position_bwd(p, pair, blend, g, grad);
  else
    clipped_position_bwd(p, pair, blend, g, grad);
}
