// On a GPU: attributes at single pixels, for the kernels of interpolate.cu. A kernel knows when it is compiled
//   INTERPOLATE_ATTRIBUTES   how many there are (channels.cuh)
//   INTERPOLATE_DERIVATIVES  whether any has derivatives
#pragma once

#include "block_sums.cuh"
#include "channels.cuh"
#include "triangle_id.cuh"

#ifdef GLR_WARP_SIZE

#ifndef INTERPOLATE_ATTRIBUTES
#define INTERPOLATE_ATTRIBUTES kAnyNumber
#endif
constexpr int kAttributes = INTERPOLATE_ATTRIBUTES;

#ifndef INTERPOLATE_DERIVATIVES
#define INTERPOLATE_DERIVATIVES 1
#endif
template <class Params>
GLR_FUNC int64_t num_derivatives(const Params& p) {
  return INTERPOLATE_DERIVATIVES ? p.num_diff_attrs : 0;
}

template <class T>
using Attributes = Channels<kAttributes, T>;

template <class T>
struct RastTriangle {
  const T* rast;
  GLR_MEMBER int32_t operator()(int64_t pixel) const { return decode_triangle(load4(rast + pixel * 4).w); }
};

// Where the attributes of a pixel's triangle lie.
struct CornerOffsets {
  int64_t of[3];
  bool exist;  // else it shows none
};

template <class Params>
GLR_FUNC CornerOffsets corner_offsets(const Params& p, uint32_t image, int32_t triangle) {
  VertexIndices v = {0, 0, 0};
  const bool exist = load_triangle(p.tri, p.num_triangles, p.V, triangle, &v);
  const int64_t first = image * p.attr_stride, A = kAttributes > 0 ? kAttributes : p.A;
  return {{first + v.v0 * A, first + v.v1 * A, first + v.v2 * A}, exist};
}

// Attributes of the three corners, from a pointer like attr.
template <class V>
struct CornerValues {
  V a0, a1, a2;
};

template <class V, class T>
GLR_FUNC CornerValues<V> corner_values(const T* attr, const CornerOffsets& offsets, int64_t a) {
  return {fetch<V>(attr + offsets.of[0] + a), fetch<V>(attr + offsets.of[1] + a), fetch<V>(attr + offsets.of[2] + a)};
}

template <class T>
GLR_FUNC void fill_zero(T* values, int64_t count) {
  for (int64_t i = 0; i < count; ++i) values[i] = T(0);
}

template <class T, template <class> class Params>
GLR_FUNC void interpolate_da_pixel(const Params<T>& p, int64_t pixel, const CornerOffsets& offsets) {
  const int64_t D = num_derivatives(p);
  if (D == 0) return;
  const Vec4<T> db = load4(p.rast_db + pixel * 4);
  for (int64_t d = 0; d < D; ++d) {
    const CornerValues<T> c = corner_values<T>(p.attr, offsets, p.diff_attrs ? p.diff_attrs[d] : d);
    const T e0 = c.a0 - c.a2, e1 = c.a1 - c.a2;
    p.out_da[(pixel * D + d) * 2] = db.x * e0 + db.z * e1;
    p.out_da[(pixel * D + d) * 2 + 1] = db.y * e0 + db.w * e1;
  }
}

// d out along the tangents of rast and attr.
template <class T, template <class> class Params>
GLR_FUNC void interpolate_pixel_jvp(const Params<T>& p, int64_t pixel, const CornerOffsets& offsets) {
  using V = Attributes<T>;
  const int64_t A = kAttributes > 0 ? kAttributes : p.A;
  Vec4<T> r = {0, 0, 0, 0}, tr = r;
  if (p.tangent_attr) r = load4(p.rast + pixel * 4);
  if (p.tangent_rast) tr = load4(p.tangent_rast + pixel * 4);
  const T w = T(1) - r.x - r.y;
  GLR_SIMD_CHANNELS(kAttributes)
  for (int64_t a = 0; a < A; a += channels_in<V>) {
    const CornerValues<V> c = corner_values<V>(p.attr, offsets, a);
    V value = tr.x * (c.a0 - c.a2) + tr.y * (c.a1 - c.a2);
    if (p.tangent_attr) {
      const CornerValues<V> t = corner_values<V>(p.tangent_attr, offsets, a);
      value = value + (r.x * t.a0 + r.y * t.a1 + w * t.a2);
    }
    store(p.tangent_out + pixel * A + a, value);
  }
}

// d out_da along the tangents of rast_db and attr.
template <class T, template <class> class Params>
GLR_FUNC void interpolate_da_pixel_jvp(const Params<T>& p, int64_t pixel, const CornerOffsets& offsets) {
  const int64_t D = num_derivatives(p);
  if (D == 0) return;
  Vec4<T> db = {0, 0, 0, 0}, tdb = db;
  if (p.tangent_attr) db = load4(p.rast_db + pixel * 4);
  if (p.tangent_rast_db) tdb = load4(p.tangent_rast_db + pixel * 4);
  for (int64_t d = 0; d < D; ++d) {
    const int64_t a = p.diff_attrs ? p.diff_attrs[d] : d;
    const CornerValues<T> c = corner_values<T>(p.attr, offsets, a);
    const T e0 = c.a0 - c.a2, e1 = c.a1 - c.a2;
    T along_x = tdb.x * e0 + tdb.z * e1, along_y = tdb.y * e0 + tdb.w * e1;
    if (p.tangent_attr) {
      const CornerValues<T> t = corner_values<T>(p.tangent_attr, offsets, a);
      const T t0 = t.a0 - t.a2, t1 = t.a1 - t.a2;
      along_x += db.x * t0 + db.z * t1, along_y += db.y * t0 + db.w * t1;
    }
    p.tangent_out_da[(pixel * D + d) * 2] = along_x, p.tangent_out_da[(pixel * D + d) * 2 + 1] = along_y;
  }
}

// d out / d (u, v) and d out_da / d rast_db: both are the differences of the corners' attributes.
template <class T, template <class> class Params>
GLR_FUNC void interpolate_rast_bwd(const Params<T>& p, int64_t pixel, const CornerOffsets& offsets) {
  using V = Attributes<T>;
  const int64_t A = kAttributes > 0 ? kAttributes : p.A, D = num_derivatives(p);
  if (p.grad_rast) {
    T gu = 0, gv = 0;
    GLR_SIMD_CHANNELS(kAttributes)
    for (int64_t a = 0; p.grad_out && offsets.exist && a < A; a += channels_in<V>) {
      const V g = fetch<V>(p.grad_out + pixel * A + a);
      const CornerValues<V> c = corner_values<V>(p.attr, offsets, a);
      gu += dot(g, c.a0 - c.a2), gv += dot(g, c.a1 - c.a2);
    }
    store4(p.grad_rast + pixel * 4, {gu, gv, T(0), T(0)});
  }
  if (p.grad_rast_db) {
    Vec4<T> g = {0, 0, 0, 0};
    for (int64_t d = 0; p.grad_out_da && offsets.exist && d < D; ++d) {
      const CornerValues<T> c = corner_values<T>(p.attr, offsets, p.diff_attrs ? p.diff_attrs[d] : d);
      const T gx = p.grad_out_da[(pixel * D + d) * 2], gy = p.grad_out_da[(pixel * D + d) * 2 + 1];
      const T e0 = c.a0 - c.a2, e1 = c.a1 - c.a2;
      g.x += gx * e0, g.y += gy * e0, g.z += gx * e1, g.w += gy * e1;
    }
    store4(p.grad_rast_db + pixel * 4, g);
  }
}

// Attributes are added so many at a time.
constexpr int kAdded = kAttributes > 0 ? kAttributes : kAttributes == kFours ? 4 : 1;

// d out / d attr of kAdded attributes from `a` on: each corner receives its barycentric weight.
template <class T, template <class> class Params>
GLR_FUNC void add_to_attributes(const Params<T>& p, int64_t pixel, const CornerOffsets& offsets, const BlockRun& run,
                                int64_t a) {
  const int64_t A = kAttributes > 0 ? kAttributes : p.A;
  T values[3 * kAdded] = {};
  double* targets[3 * kAdded];
  Vec4<T> r = {0, 0, 0, 0};
  if (offsets.exist) r = load4(p.rast + pixel * 4);
  const T weight[3] = {r.x, r.y, T(1) - r.x - r.y};
  T g[kAdded] = {};
  for (int i = 0; offsets.exist && i < kAdded; ++i) g[i] = fetch<T>(p.grad_out + pixel * A + a + i);
  for (int k = 0; k < 3; ++k)
    for (int i = 0; i < kAdded; ++i)
      values[k * kAdded + i] = g[i] * weight[k], targets[k * kAdded + i] = p.grad_attr + offsets.of[k] + a + i;
  add_over_block(run, targets, values);
}

// d out_da / d attr of derivative d.
template <class T, template <class> class Params>
GLR_FUNC void add_to_attribute_da(const Params<T>& p, int64_t pixel, const CornerOffsets& offsets, const BlockRun& run,
                                  int64_t d) {
  T g0 = 0, g1 = 0;
  if (offsets.exist) {
    const T* g = p.grad_out_da + (pixel * p.num_diff_attrs + d) * 2;
    const Vec4<T> db = load4(p.rast_db + pixel * 4);
    g0 = g[0] * db.x + g[1] * db.y, g1 = g[0] * db.z + g[1] * db.w;
  }
  double* target = p.grad_attr + (p.diff_attrs ? p.diff_attrs[d] : d);
  double* const targets[] = {target + offsets.of[0], target + offsets.of[1], target + offsets.of[2]};
  T values[] = {g0, g1, -g0 - g1};
  add_over_block(run, targets, values);
}

#endif
