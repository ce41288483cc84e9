// Compiles the CUDA half of the kernels with the host's C++ compiler, for tests on machines without a GPU.
// Included before a .cu file. Threads of a block are fibers (scheduler.cpp) that take turns at warp intrinsics and
// barriers, in an order that the seed of a launch decides.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#define __CUDACC__ 1
#define __device__
#define __global__ __attribute__((visibility("default")))
#define __shared__  // blocks run one after the other: a static variable is the block's own
#define __align__(n) alignas(n)
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define threadIdx (*emulation::thread_index())
#define blockIdx (emulation::block_index)
#define blockDim (emulation::block_size)
#define gridDim (emulation::grid_size)

using std::atan2;
using std::ceil;
using std::cos;
using std::fabs;
using std::floor;
using std::isfinite;
using std::log2;
using std::max;
using std::min;
using std::sin;
using std::sqrt;

namespace emulation {

struct Index {
  unsigned x, y, z;
};
extern Index block_index, block_size, grid_size;
const Index* thread_index();

// What the lanes of one warp show each other when they meet.
struct Meeting {
  uint32_t lanes;
  uint64_t shown[32];
  int lane;  // the caller's
};
uint32_t active_lanes();                              // some of the lanes of the warp that wait at the same call
const Meeting& meet(uint32_t lanes, uint64_t shown);  // waits for all of `lanes` to come to the same call
void barrier();                                       // waits for the whole block
[[noreturn]] void fail(const char* why);

template <class T>
T shuffle(uint32_t lanes, T value, int delta) {
  uint64_t shown = 0;
  std::memcpy(&shown, &value, sizeof value);
  const Meeting& met = meet(lanes, shown);
  const int source = met.lane + delta;
  if (source < 0 || source > 31) return value;
  shown = lanes >> source & 1 ? met.shown[source] : 0xfff7a5a5fff7a5a5ull;  // undefined on a GPU: a NaN shows it
  std::memcpy(&value, &shown, sizeof value);
  return value;
}

}  // namespace emulation

#define __activemask emulation::active_lanes
#define __syncthreads emulation::barrier

template <class T>
inline __attribute__((always_inline)) T __shfl_up_sync(uint32_t lanes, T value, int delta) {
  return emulation::shuffle(lanes, value, -delta);
}
template <class T>
inline __attribute__((always_inline)) T __shfl_down_sync(uint32_t lanes, T value, int delta) {
  return emulation::shuffle(lanes, value, delta);
}
inline __attribute__((always_inline)) uint32_t __ballot_sync(uint32_t lanes, int predicate) {
  const emulation::Meeting& met = emulation::meet(lanes, predicate != 0);
  uint32_t votes = 0;
  for (int lane = 0; lane < 32; ++lane)
    if (lanes >> lane & 1) votes |= uint32_t(met.shown[lane]) << lane;
  return votes;
}
inline __attribute__((always_inline)) int __any_sync(uint32_t lanes, int predicate) {
  return __ballot_sync(lanes, predicate) != 0;
}
template <class T>
inline __attribute__((always_inline)) T __shfl_sync(uint32_t lanes, T value, int source) {
  uint64_t shown = 0;
  std::memcpy(&shown, &value, sizeof value);
  const emulation::Meeting& met = emulation::meet(lanes, shown);
  shown = lanes >> source & 1 ? met.shown[source] : 0xfff7a5a5fff7a5a5ull;
  std::memcpy(&value, &shown, sizeof value);
  return value;
}
inline int __syncthreads_and(int predicate) {
  static int all;
  emulation::barrier();  // until everybody has read the answer before
  all = 1;
  emulation::barrier();
  if (!predicate) all = 0;
  emulation::barrier();
  return all;
}
inline int __popc(uint32_t bits) { return __builtin_popcount(bits); }
inline int __ffs(int bits) { return __builtin_ffs(bits); }

// One operating-system thread runs all fibers: plain memory operations are atomic.
template <class T>
T atomicAdd(T* target, T value) {
  const T before = *target;
  *target = before + value;
  return before;
}
template <class T>
T atomicMin(T* target, T value) {
  const T before = *target;
  *target = min(before, value);
  return before;
}
template <class T>
T atomicMax(T* target, T value) {
  const T before = *target;
  *target = max(before, value);
  return before;
}
template <class T>
T atomicCAS(T* target, T expected, T value) {
  const T before = *target;
  if (before == expected) *target = value;
  return before;
}

struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) double2 {
  double x, y;
};
template <class T>
T __ldg(const T* source) {
  return *source;
}
inline uint64_t __umul64hi(uint64_t a, uint64_t b) { return uint64_t((unsigned __int128)a * b >> 64); }

inline int __float_as_int(float value) {
  int bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}
inline float __int_as_float(int bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
inline long long __double_as_longlong(double value) {
  long long bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}
inline long long __double2ll_rn(double value) { return std::llrint(value); }
inline void __trap() { emulation::fail("__trap()"); }
