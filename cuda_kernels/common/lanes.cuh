// On the host: four numbers side by side, on which arithmetic, comparisons and `? :` work as on one; processors without
// vectors of that length take several shorter ones. (Loops over structs of four are not vectorized well.)
#pragma once

#include "portability.cuh"

#ifndef GLR_WARP_SIZE

#ifdef __AVX__
#include <immintrin.h>
#endif

constexpr int32_t kNumberLanes = 4;
typedef double DoubleLanes __attribute__((vector_size(32)));
typedef float FloatLanes __attribute__((vector_size(16)));

template <class T>
struct LanesOf;
template <>
struct LanesOf<float> {
  using Type = FloatLanes;
};
template <>
struct LanesOf<double> {
  using Type = DoubleLanes;
};

GLR_FUNC FloatLanes round_lanes(DoubleLanes v, float) { return __builtin_convertvector(v, FloatLanes); }
GLR_FUNC DoubleLanes round_lanes(DoubleLanes v, double) { return v; }
#ifdef __AVX__  // GCC makes six instructions of this one
GLR_FUNC DoubleLanes widen_lanes(FloatLanes v) { return _mm256_cvtps_pd(v); }
#else
GLR_FUNC DoubleLanes widen_lanes(FloatLanes v) { return __builtin_convertvector(v, DoubleLanes); }
#endif
GLR_FUNC DoubleLanes widen_lanes(DoubleLanes v) { return v; }

#ifdef __clang__
#define GLR_SHUFFLE(a, b, Index, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
#define GLR_SHUFFLE(a, b, Index, i, j, k, l) __builtin_shuffle(a, b, Index{i, j, k, l})
#endif

typedef int64_t MaskLanes __attribute__((vector_size(32)));  // of a comparison
GLR_FUNC bool is_any(MaskLanes) { return true; }             // to find out costs as much as what it may save

GLR_FUNC DoubleLanes all_lanes(double value) { return DoubleLanes{value, value, value, value}; }
GLR_FUNC FloatLanes all_lanes(float value) { return FloatLanes{value, value, value, value}; }

// Rows become columns.
template <class Index, class F>
GLR_FUNC void transpose_lanes(F& a, F& b, F& c, F& d) {
  const F ab_low = GLR_SHUFFLE(a, b, Index, 0, 4, 1, 5), ab_high = GLR_SHUFFLE(a, b, Index, 2, 6, 3, 7);
  const F cd_low = GLR_SHUFFLE(c, d, Index, 0, 4, 1, 5), cd_high = GLR_SHUFFLE(c, d, Index, 2, 6, 3, 7);
  a = GLR_SHUFFLE(ab_low, cd_low, Index, 0, 1, 4, 5), b = GLR_SHUFFLE(ab_low, cd_low, Index, 2, 3, 6, 7);
  c = GLR_SHUFFLE(ab_high, cd_high, Index, 0, 1, 4, 5), d = GLR_SHUFFLE(ab_high, cd_high, Index, 2, 3, 6, 7);
}
GLR_FUNC void transpose(FloatLanes& a, FloatLanes& b, FloatLanes& c, FloatLanes& d) {
  typedef int32_t Index __attribute__((vector_size(16)));
  transpose_lanes<Index>(a, b, c, d);
}
GLR_FUNC void transpose(DoubleLanes& a, DoubleLanes& b, DoubleLanes& c, DoubleLanes& d) {
  transpose_lanes<MaskLanes>(a, b, c, d);
}

template <class F, class T>
GLR_FUNC F load_lanes(const T* source) {
  F value;
  std::memcpy(&value, source, sizeof value);
  return value;
}
template <class F, class T>
GLR_FUNC void store_lanes(T* target, F value) {
  std::memcpy(target, &value, sizeof value);
}

#endif
