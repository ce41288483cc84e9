// exp(x) for x <= 0, without branches or calls in float: loops over pixels that use it are vectorized.
#pragma once

#include "portability.cuh"

// Range reduction x = n ln 2 + r (Cody and Waite 1980) and the Taylor polynomial of exp(r), |r| <= ln(2)/2, economized:
// within 1.2e-7 relative. Zero below -86, where results would leave the range of normal numbers.
GLR_FUNC float exp_nonpositive(float x) {
  const float limited = x < -86.f ? -86.f : x;
  const float n = (limited * 1.44269504f + 12582912.f) - 12582912.f;  // rounds to the nearest integer
  const float r = (limited - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const float power = float_from_bits((int32_t(n) + 127) << 23), value = (p * r * r + r + 1.f) * power;
  return x < -86.f ? 0.f : value;
}
GLR_FUNC double exp_nonpositive(double x) { return exp(x); }
