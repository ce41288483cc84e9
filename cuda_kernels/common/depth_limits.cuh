// Between which depths a triangle lies, whose plane a sample beside it would leave: a sliver's is steep.
#pragma once

#include "portability.cuh"

struct DepthLimits {
  double nearest, farthest;
  GLR_MEMBER double clamp(double depth) const { return min(max(depth, nearest), farthest); }
};

// Of z/w over the part with w > 0, which some of the triangle must have: its corners there, and infinity with the sign
// of z where a side crosses w = 0.
GLR_FUNC DepthLimits depth_limits(const double* z, const double* w) {
  if (w[0] > 0 && w[1] > 0 && w[2] > 0) {
    const double d0 = z[0] / w[0], d1 = z[1] / w[1], d2 = z[2] / w[2];
    return {min(d0, min(d1, d2)), max(d0, max(d1, d2))};
  }
  DepthLimits limits = {INFINITY, -INFINITY};
  for (int i = 0; i < 3; ++i) {
    if (!(w[i] > 0)) continue;
    limits.nearest = min(limits.nearest, z[i] / w[i]), limits.farthest = max(limits.farthest, z[i] / w[i]);
    for (int j = 0; j < 3; ++j) {
      if (w[j] > 0) continue;
      const double crossing = z[j] * w[i] - z[i] * w[j];
      if (crossing < 0) limits.nearest = -INFINITY;
      if (crossing > 0) limits.farthest = INFINITY;
    }
  }
  return limits;
}
