// Perspective-correct barycentrics and depth over the screen: what of them a row of pixels needs, and what a pixel.
//   q_i = (x_i - fx w_i, y_i - fy w_i),  a_0 = q_1 x q_2,  a_1 = q_2 x q_0,  a_2 = q_0 x q_1,  S = a_0 + a_1 + a_2
//   u = a_0 / S,  v = a_1 / S,  z/w = (sum a_i z_i) / (sum a_i w_i), whose denominator is the same everywhere
//   du/dX = (2 / W) (da_0/dfx - u dS/dfx) / S, and so on
// V is double or, on the host, several of them (lanes.cuh): the same operations in the same order, and the same
// numbers. Source: homogeneous rasterization (Olano and Greer 1997); the quotient rule.
#pragma once

#include "corners.cuh"
#include "depth_limits.cuh"
#include "lanes.cuh"

// The edge terms at one sample, and their derivatives with respect to the sample position (fx, fy), which are the same
// everywhere: from here, a_i is known all over the screen. In double precision, since differences of neighbouring
// numbers are what is left of small triangles, and of large ones that reach far.
template <class V>
struct EdgeTermsOf {
  V qx[3], qy[3];
  V a[3], ax[3], ay[3];
  V S, Sx, Sy;
};

using EdgeTerms = EdgeTermsOf<double>;

// X: double, or V where the samples differ.
template <class V, class X>
GLR_FUNC EdgeTermsOf<V> edge_terms(const CornersOf<V>& c, X fx, double fy) {
  EdgeTermsOf<V> e;
  for (int i = 0; i < 3; ++i) e.qx[i] = c.x[i] - fx * c.w[i], e.qy[i] = c.y[i] - fy * c.w[i];
  for (int i = 0; i < 3; ++i) {
    const int j = i == 2 ? 0 : i + 1, k = i == 0 ? 2 : i - 1;
    e.a[i] = e.qx[j] * e.qy[k] - e.qy[j] * e.qx[k];
    e.ax[i] = c.w[k] * e.qy[j] - c.w[j] * e.qy[k];
    e.ay[i] = c.w[j] * e.qx[k] - c.w[k] * e.qx[j];
  }
  e.S = e.a[0] + e.a[1] + e.a[2], e.Sx = e.ax[0] + e.ax[1] + e.ax[2], e.Sy = e.ay[0] + e.ay[1] + e.ay[2];
  return e;
}

// From pixels to normalised device coordinates, along one axis.
struct SampleAxis {
  double inverse_size, step;  // step: from one sample to the next
  int64_t size;
  GLR_MEMBER explicit SampleAxis(int64_t size) : inverse_size(1. / double(size)), step(2. * inverse_size), size(size) {}
  GLR_MEMBER double operator()(int64_t pixel) const {  // sizes are below 2^31, and so is the integer, but not 2 pixel
    return double(int32_t(2 * uint32_t(pixel) + 1 - uint32_t(size))) * inverse_size;
  }
};

// What the pixels of a row need, at its first sample and per pixel to the right; and upwards. From the row's first
// sample on, so that a pixel's numbers do not depend on where its run begins.
template <class V>
struct RowTerms {
  V a0, a1, S, a0_x, a1_x, S_x, a0_y, a1_y, S_y;
  V depth, depth_x;
};

template <class V>
GLR_FUNC RowTerms<V> row_terms(const CornersOf<V>& c, const EdgeTermsOf<V>& e, double step_x, double step_y) {
  V z = e.a[0] * c.z[0], zx = e.ax[0] * c.z[0], w = e.a[0] * c.w[0];
  for (int i = 1; i < 3; ++i) z += e.a[i] * c.z[i], zx += e.ax[i] * c.z[i], w += e.a[i] * c.w[i];
  const V inverse_w = w != 0. ? 1. / w : V{};
  return {e.a[0],           e.a[1],           e.S,           e.ax[0] * step_x, e.ax[1] * step_x,       e.Sx * step_x,
          e.ay[0] * step_y, e.ay[1] * step_y, e.Sy * step_y, z * inverse_w,    zx * inverse_w * step_x};
}

// Whether one of the row's samples begin to end - 1 lies beside the triangle: the grid of snapped corners has made it
// its own.
template <class V>
GLR_FUNC auto lies_beside(const CornersOf<V>& c, const EdgeTermsOf<V>& e, double step_x, V begin, V end) {
  V w = e.a[0] * c.w[0];
  for (int i = 1; i < 3; ++i) w += e.a[i] * c.w[i];
  const auto beyond = [&](int i, V at) { return (e.a[i] + e.ax[i] * step_x * at) * w < 0.; };
  const V last = end - 1.;
  return beyond(0, begin) | beyond(1, begin) | beyond(2, begin) | beyond(0, last) | beyond(1, last) | beyond(2, last);
}

// Within which z/w is kept: the view, and the triangle where samples lie beside it.
GLR_FUNC DepthLimits row_depth_limits(const double* z, const double* w, bool beside) {
  if (!beside) return {-1., 1.};
  const DepthLimits limits = depth_limits(z, w);
  return {max(limits.nearest, -1.), min(limits.farthest, 1.)};
}

// What a pixel shows, of type F: T or several of them.
template <class F>
struct PixelValues {
  F u, v, depth, u_x, u_y, v_x, v_y;
};

// The largest v for which u + v <= 1, exactly and however it is computed. `step` is that of numbers just below 1.
template <class F>
GLR_FUNC F rest_of_one(F u, F one, F step) {
  const F rest = one - u;
  return one - rest < u ? rest - step : rest;
}

// As `clamp`, in the form that becomes one instruction for each limit.
template <class V>
GLR_FUNC V limited(V x, V lower, V upper) {
  const V above = x > lower ? x : lower;
  return above < upper ? above : upper;
}

GLR_FUNC bool is_any(bool condition) { return condition; }

// At pixel x of the row. `round` makes F of V, and `widen` V of F.
template <class F, class V, class Round, class Widen>
GLR_FUNC PixelValues<F> pixel_values(const RowTerms<V>& t, V nearest, V farthest, V x, const Round& round,
                                     const Widen& widen) {
  constexpr double step_below_one = sizeof(F) == sizeof(V) ? 0x1p-53 : 0x1p-24;
  const V none = V{}, one = none + 1.;
  const V s = t.S + t.S_x * x, inverse_s = s != 0. ? 1. / s : none;
  const V u = limited((t.a0 + t.a0_x * x) * inverse_s, none, one);
  const V v = limited((t.a1 + t.a1_x * x) * inverse_s, none, one);
  const V sum = u + v;
  V excess = one;
  if (is_any(sum > 1.)) excess = 1. / (sum > 1. ? sum : one);  // hardly ever, and divisions take long
  const F kept_u = round(u * excess), free_v = round(v * excess);
  const F rest = rest_of_one(kept_u, round(one), round(none + step_below_one)), kept_v = free_v < rest ? free_v : rest;
  const V wide_u = widen(kept_u), wide_v = widen(kept_v);
  return {kept_u,
          kept_v,
          round(limited(t.depth + t.depth_x * x, nearest, farthest)),
          round(inverse_s * (t.a0_x - wide_u * t.S_x)),
          round(inverse_s * (t.a0_y - wide_u * t.S_y)),
          round(inverse_s * (t.a1_x - wide_v * t.S_x)),
          round(inverse_s * (t.a1_y - wide_v * t.S_y))};
}

constexpr double kSmallestS = 1e-290;  // below, triangles have no gradient: 1 / S would be infinite

template <class V>
GLR_FUNC V magnitude(V value) {
  return value < 0. ? -value : value;
}

// How far S may be off because the positions are rounded to T: S is known no better, and 1 / S no larger.
template <class T, class V>
GLR_FUNC V noise_of_S(const CornersOf<V>& c) {
  V noise = V{};
  for (int i = 0; i < 3; ++i) {
    const int j = i == 2 ? 0 : i + 1, k = i == 0 ? 2 : i - 1;
    const V across = magnitude(c.w[j] - c.w[k]);
    noise += (magnitude(c.x[i]) + magnitude(c.w[i])) * (magnitude(c.y[j] - c.y[k]) + across);
    noise += (magnitude(c.y[i]) + magnitude(c.w[i])) * (magnitude(c.x[j] - c.x[k]) + across);
  }
  return noise * (sizeof(T) == 4 ? 0x1p-24 : 0x1p-53);
}

// 1 / S, as far as S is known.
template <class V>
GLR_FUNC V inverse_of_S(V s, V noise) {
  const V none = V{}, one = none + 1., size = magnitude(s), far = size < noise ? noise : size;
  return far > kSmallestS ? (s < 0. ? -one : one) / far : none;
}
