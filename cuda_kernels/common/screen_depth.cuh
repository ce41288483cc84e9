// z/w over the screen, in 32 bits that are compared. For almost all triangles it is a fixed-point number that is
// stepped by addition: the same to the last bit in whatever order pixels are visited, by whatever processor. It is in
// double precision for triangles that are clipped, reach the near or far plane, or are so steep that samples just
// beside them would pass a plane.
#pragma once

#include "depth_limits.cuh"
#include "screen_grid.cuh"

constexpr double kDepthScale = 2147483647.;  // from z/w to the 32 bits that are compared
constexpr int kFractionBits = 20;            // that fixed-point depths have besides
constexpr double kFixedScale = kDepthScale * (1 << kFractionBits);
constexpr int64_t kLongestFixed = 1 << 14;  // pixels: in longer triangles, rounded steps would add up

struct DepthPlane {
  double at, x, y;  // at the centre of pixel (0, 0), and the change per pixel
  GLR_MEMBER bool is_finite() const { return (fabs(at) < INFINITY) & (fabs(x) < INFINITY) & (fabs(y) < INFINITY); }
};

// z/w is linear on the screen: (sum a_i z_i) / (sum a_i w_i), whose denominator is constant. Not finite if it is zero.
GLR_FUNC DepthPlane depth_plane(const double* x, const double* y, const double* z, const double* w,
                                const ScreenGrid& g) {
  double c = 0, cx = 0, cy = 0, det = 0;
  for (int i = 0; i < 3; ++i) {
    const int j = i == 2 ? 0 : i + 1, k = i == 0 ? 2 : i - 1;
    const double a = x[j] * y[k] - x[k] * y[j];
    c += z[i] * a, det += w[i] * a;
    cx += z[i] * (w[k] * y[j] - w[j] * y[k]);
    cy += z[i] * (x[k] * w[j] - x[j] * w[k]);
  }
  const double inverse = 1. / det;
  return {(c + cx * (g.pixel_x - 1.) + cy * (g.pixel_y - 1.)) * inverse, cx * inverse * 2. * g.pixel_x,
          cy * inverse * 2. * g.pixel_y};
}

GLR_FUNC int32_t depth_bits(double depth) { return int32_t(floor(depth * kDepthScale)); }  // of -1..1
GLR_FUNC int32_t depth_bits(uint64_t fixed) { return int32_t(fixed >> kFractionBits); }

// The fixed-point form. Additions wrap around beside the triangle, where a depth may be anything.
struct FixedDepth {
  uint64_t first, step_x, step_y;  // at the first sample of the triangle's box, and per pixel
  int32_t nearest, farthest;       // of its corners

  GLR_MEMBER int32_t clamp(uint64_t fixed) const { return min(max(depth_bits(fixed), nearest), farthest); }
};

GLR_FUNC double first_depth(const DepthPlane& d, int64_t first_x, int64_t first_y) {
  return d.at + d.x * double(first_x) + d.y * double(first_y);
}

// Whether an unclipped triangle has fixed-point depths: at every sample that its snapped outline covers, which lies up
// to 1/512 pixel beside the triangle, the depth must be one within -1..1.
GLR_FUNC bool fits_fixed(const DepthPlane& d, const DepthLimits& limits, double first, int64_t width, int64_t height) {
  const double beside = (fabs(d.x) + fabs(d.y)) * (1. / 256);
  return (limits.nearest - beside >= -1.) & (limits.farthest + beside <= 1.) & (fabs(first) < 1024.) &
         (width <= kLongestFixed) & (height <= kLongestFixed);
}

GLR_FUNC FixedDepth fixed_depth(const DepthPlane& d, const DepthLimits& limits, double first) {
  return {uint64_t(int64_t(first * kFixedScale)), uint64_t(int64_t(d.x * kFixedScale)),
          uint64_t(int64_t(d.y * kFixedScale)), depth_bits(limits.nearest), depth_bits(limits.farthest)};
}
