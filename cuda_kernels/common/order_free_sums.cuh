// Sums of floating-point numbers that come out the same whatever the order of the additions (CUDA): fixed point, in two
// passes of the same kernel.
//   kMeasure  finds, for every element, the largest magnitude among the values that are added to it
//   kSum      adds them as 64-bit integers, in units of that magnitude / 2^kept bits
// Integer addition and max() do not depend on the order. order_free_sums.py launches the passes and converts the sums.
#pragma once

#include "portability.cuh"

struct OrderFreeSums {
  enum Pass { kMeasure = 0, kSum = 1 };
  static constexpr int kMaxTargets = 32;
  char* begin[kMaxTargets];        // the tensors that the kernel adds to
  char* end[kMaxTargets];          // behind each tensor's last element
  uint64_t* largest[kMaxTargets];  // per element: bits of the largest |value| as a double, which order like integers
  uint64_t* sum[kMaxTargets];      // per element: two's complement
  int64_t num_targets, pass;
  int64_t kept_bits;  // of the largest value; the rest of 62 leaves room for as many additions as there may be
};

static __shared__ OrderFreeSums glr_sums;  // a kernel's parameters, where its functions can see them

GLR_FUNC void publish(const OrderFreeSums& sums) {
  if (threadIdx.x == 0) glr_sums = sums;
  __syncthreads();
}

// The power of two by which values are multiplied before they become integers.
GLR_FUNC int fixed_point_shift(uint64_t largest, int64_t kept_bits) {
  const int exponent = int(largest >> 52) - 1023;  // largest < 2^(exponent + 1)
  return int(kept_bits) - 1 - exponent;
}

template <class T>
GLR_FUNC void add_in_any_order(T* target, T value) {
  char* const place = reinterpret_cast<char*>(target);
  int t = 0;
  while (t < glr_sums.num_targets && (place < glr_sums.begin[t] || place >= glr_sums.end[t])) ++t;
  if (t == glr_sums.num_targets) __trap();  // a launch that does not name all tensors it adds to
  const int64_t element = (place - glr_sums.begin[t]) / int64_t(sizeof(T));
  auto* const largest = reinterpret_cast<unsigned long long*>(glr_sums.largest[t] + element);
  if (glr_sums.pass == OrderFreeSums::kMeasure) {
    atomicMax(largest, static_cast<unsigned long long>(__double_as_longlong(fabs(double(value)))));
    return;
  }
  const long long units = __double2ll_rn(scalbn(double(value), fixed_point_shift(*largest, glr_sums.kept_bits)));
  atomicAdd(reinterpret_cast<unsigned long long*>(glr_sums.sum[t] + element), static_cast<unsigned long long>(units));
}
