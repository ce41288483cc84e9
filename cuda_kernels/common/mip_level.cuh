// The mip level of a pixel, from the ellipse that its square covers on the base level.
// Source: Heckbert, "Fundamentals of Texture Mapping and Image Warping", 1989 (the ellipse's axes); OpenGL extension
// EXT_texture_filter_anisotropic (how they choose level and number of samples).
#pragma once

#include "portability.cuh"

// Derivatives of the texel coordinates by the pixel coordinates X and Y.
template <class T>
struct TexelJacobian {
  T s_x, s_y, t_x, t_y;
};

// M = J^T J = [A K; K B], its larger eigenvalue, and half the difference of the two.
template <class T>
struct PixelEllipse {
  T A, B, K, lambda, R;
};

template <class T>
GLR_FUNC PixelEllipse<T> pixel_ellipse(const TexelJacobian<T>& j) {
  const T A = j.s_x * j.s_x + j.t_x * j.t_x, B = j.s_y * j.s_y + j.t_y * j.t_y, K = j.s_x * j.s_y + j.t_x * j.t_y;
  const T R = sqrt((A - B) * (A - B) * T(0.25) + K * K);
  return {A, B, K, (A + B) * T(0.5) + R, R};
}

template <class T>
struct EllipseGrad {
  T A, B, K;
};

// d (A, B, K) / d J.
template <class T>
GLR_FUNC TexelJacobian<T> pixel_ellipse_bwd(const TexelJacobian<T>& j, const EllipseGrad<T>& grad) {
  return {T(2) * grad.A * j.s_x + grad.K * j.s_y, T(2) * grad.B * j.s_y + grad.K * j.s_x,
          T(2) * grad.A * j.t_x + grad.K * j.t_y, T(2) * grad.B * j.t_y + grad.K * j.t_x};
}

// Samples along the axis of a footprint, which is a unit vector in the pixel. A single one lies in the middle.
template <class T>
struct SampleAxis {
  int32_t count;
  T x, y;
};

// Where sample k lies on the axis, in pixels from the middle.
template <class T>
GLR_FUNC T sample_position(const SampleAxis<T>& samples, int32_t k) {
  return (T(k) + T(0.5)) / T(samples.count) - T(0.5);
}

// The width, in base texels, for which the level is made: the major axis, or with anisotropy the minor one, unless that
// took more samples than allowed.
template <class T>
struct FilterWidth {
  T squared;
  bool minor;
};

template <class T>
GLR_FUNC FilterWidth<T> filter_width(const TexelJacobian<T>& j, const PixelEllipse<T>& e, int64_t max_anisotropy) {
  const T shortened = e.lambda / (T(max_anisotropy) * T(max_anisotropy));
  const T det = j.s_x * j.t_y - j.s_y * j.t_x, minor = det * det / e.lambda;
  if (max_anisotropy > 1 && minor > shortened) return {minor, true};
  return {shortened, false};
}

// log2 of a positive number, from its bits and a series: unlike the library's function, the compiler can vectorize it.
// With x = m 2^e and r = (m - 1) / (m + 1), log2 x = e + 2 / ln 2 (r + r^3 / 3 + r^5 / 5 + ...); |r| < 0.172.
GLR_FUNC float log2_of(float x) {
  const int32_t bits = float_bits(x) - 0x3f3504f3;  // from the square root of 1/2 to that of 2 the exponent is 0
  const float m = float_from_bits((bits & 0x7fffff) + 0x3f3504f3), r = (m - 1.f) / (m + 1.f), q = r * r;
  const float series = r + r * q * (1.f / 3.f + q * (1.f / 5.f + q * (1.f / 7.f + q * (1.f / 9.f))));
  return float(bits >> 23) + series * 2.88539008f;
}
GLR_FUNC double log2_of(double x) { return log2(x); }

// The level of a squared filter width: below all levels for zero and NaN, above all for infinity.
template <class T>
GLR_FUNC T level_of_width(T squared) {
  const T level = T(0.5) * log2_of(squared);
  return squared > T(0) ? level : T(-1e30);
}

// d level / d (A, B, K): the level is log2(eigenvalue) / 2 + constant, and the eigenvalues have the derivatives
// 1/2 +- (A - B) / 4R and +- K / R.
template <class T>
GLR_FUNC EllipseGrad<T> mip_level_bwd(const PixelEllipse<T>& e, const FilterWidth<T>& width, T grad_level) {
  const T eigenvalue = width.minor ? width.squared : e.lambda, sign = width.minor ? T(-1) : T(1);
  const T g = grad_level * T(0.72134752044448170368) / eigenvalue;  // 1 / (2 ln 2)
  const T over_R = sign / e.R, tilt = T(0.25) * (e.A - e.B) * over_R;
  return {g * (T(0.5) + tilt), g * (T(0.5) - tilt), g * e.K * over_R};
}

// One sample for every width of the filter along the major axis, and not more than one for every base texel.
template <class T>
GLR_FUNC SampleAxis<T> place_samples(const PixelEllipse<T>& e, const FilterWidth<T>& width, int64_t max_anisotropy) {
  const T ratio = sqrt(e.lambda / max(width.squared, T(1)));
  // The margin keeps rounding from splitting a round footprint.
  if (!(ratio > T(1.001) && isfinite(ratio))) return {1, T(0), T(0)};
  const T angle = T(0.5) * atan2(T(2) * e.K, e.A - e.B);
  return {int32_t(min(ceil(ratio - T(0.001)), T(max_anisotropy))), cos(angle), sin(angle)};
}

// d axis / d (A, B, K), added to the gradient: the axis has the angle atan2(2 K, A - B) / 2.
template <class T>
GLR_FUNC void place_samples_bwd(const PixelEllipse<T>& e, const SampleAxis<T>& samples, T grad_x, T grad_y,
                                EllipseGrad<T>* grad) {
  if (samples.count == 1) return;
  const T grad_angle = (grad_y * samples.x - grad_x * samples.y) / (T(4) * e.R * e.R);
  grad->A -= grad_angle * e.K, grad->B += grad_angle * e.K, grad->K += grad_angle * (e.A - e.B);
}
