// What differs between the two targets, and nothing else: every kernel is compiled by nvcc or NVRTC for the GPU and by
// the host's C++ compiler (with OpenMP) for the CPU. This is the only file that looks at __CUDACC__.
//
//   template <class T> GLR_KERNEL my_op_fwd(const MyOpParams<T>& p) {
//     GLR_FOR_EACH(i, p.num_pixels) { ... continue; ... }
//   }
//   GLR_EXPORT(my_op_fwd, MyOpParams)          // entries my_op_fwd_f32 and my_op_fwd_f64
//   GLR_EXPORT_UNTYPED(other_op, OtherParams)  // entry other_op_entry, of a kernel and a struct that are no templates
//   GLR_UNROLL(8)                       // before a loop of n iterations, where the host's compiler would keep it
#pragma once

#ifdef __CUDACC_RTC__  // NVRTC has no host headers; these are the types that nvcc takes from them on Linux
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long int64_t;
typedef unsigned long uint64_t;
static_assert(sizeof(int64_t) == 8, "long has 64 bits");
#define INT32_MAX 2147483647
#define INT64_MAX 9223372036854775807l
#define INT64_MIN (-INT64_MAX - 1)
#define INFINITY __int_as_float(0x7f800000)
#else
#include <cmath>
#include <cstdint>
#endif

#define GLR_PRAGMA(text) _Pragma(#text)

#ifdef __CUDACC__

#define GLR_WARP_SIZE 32
constexpr int kWarpSize = GLR_WARP_SIZE;
#define GLR_FUNC static __device__ __forceinline__
#define GLR_MEMBER __device__ __forceinline__
#define GLR_STEP GLR_FUNC
#define GLR_RARE static __device__ __noinline__
#define GLR_KERNEL static __device__ void
#define GLR_UNROLL(n) GLR_PRAGMA(unroll n)
#define GLR_ROLLED GLR_UNROLL(1)  // a loop that would take registers which the rest of the kernel needs
#define GLR_VECTOR __align__(16)  // 128 bits in one access; the launcher sees to it that tensors start at multiples
#define GLR_FOR_EACH(i, n)      \
  const int64_t glr_end_ = (n); \
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < glr_end_; i += int64_t(gridDim.x) * blockDim.x)
#define GLR_FOR_EACH_TOGETHER(i, n)                                \
  const int64_t glr_end_ = (n);                                    \
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; \
       i - int64_t(threadIdx.x % GLR_WARP_SIZE) < glr_end_; i += int64_t(gridDim.x) * blockDim.x)

#ifndef GLR_DETERMINISTIC

#define GLR_ENTRY(entry, Params, kernel) \
  extern "C" __global__ void entry(const Params p) { kernel(p); }

template <class T>
GLR_FUNC void atomic_add(T* target, T value) {
  atomicAdd(target, value);
}

#else  // the variant for torch.use_deterministic_algorithms(True)

#include "order_free_sums.cuh"

#define GLR_ENTRY(entry, Params, kernel)                                       \
  extern "C" __global__ void entry(const Params p, const OrderFreeSums sums) { \
    publish(sums);                                                             \
    kernel(p);                                                                 \
  }

template <class T>
GLR_FUNC void atomic_add(T* target, T value) {
  add_in_any_order(target, value);
}

#endif

GLR_FUNC void atomic_min_u64(uint64_t* target, uint64_t value) {
  atomicMin(reinterpret_cast<unsigned long long*>(target), static_cast<unsigned long long>(value));
}
GLR_FUNC int32_t atomic_min_i32(int32_t* target, int32_t value) { return atomicMin(target, value); }
GLR_FUNC uint64_t atomic_add_u64(uint64_t* target, uint64_t value) {  // what was there before
  return atomicAdd(reinterpret_cast<unsigned long long*>(target), static_cast<unsigned long long>(value));
}
GLR_FUNC uint64_t atomic_cas_u64(uint64_t* target, uint64_t expected, uint64_t value) {
  return atomicCAS(reinterpret_cast<unsigned long long*>(target), static_cast<unsigned long long>(expected),
                   static_cast<unsigned long long>(value));
}
GLR_FUNC int32_t thread_index() { return 0; }
template <bool Write>
GLR_FUNC void prefetch(const void*) {}
#define GLR_SIMD
#define GLR_SIMD_CHANNELS(K) GLR_PRAGMA(unroll((K) > 0 ? (K) : 1))
#define GLR_SIMD_SUM(...)
#define GLR_MOVES_VECTORS true
#if !defined(GLR_DETERMINISTIC) && __CUDA_ARCH__ >= 900
#define GLR_ADDS_VECTORS
#endif
GLR_FUNC int32_t float_bits(float value) { return __float_as_int(value); }
GLR_FUNC float float_from_bits(int32_t bits) { return __int_as_float(bits); }

#else

#include <omp.h>

#include <algorithm>
#include <cstring>

constexpr int kWarpSize = 1;

// The overloads: the functions of C compute in double precision, whatever they are given.
using std::atan2;
using std::ceil;
using std::cos;
using std::floor;
using std::isfinite;
using std::log2;
using std::max;
using std::min;
using std::sin;
using std::sqrt;

#define GLR_FUNC static inline __attribute__((always_inline))
#define GLR_MEMBER inline __attribute__((always_inline))
#define GLR_STEP static __attribute__((noinline))  // work worth a call: compiled once, not into each of its callers
#define GLR_RARE static __attribute__((noinline, cold))  // work that hardly ever comes: a call on either target
#define GLR_KERNEL static void
#define GLR_UNROLL(n) GLR_PRAGMA(GCC unroll n)
#define GLR_ROLLED
#define GLR_VECTOR
#define GLR_HOST_ENTRY extern "C" __attribute__((visibility("default")))
#define GLR_ENTRY(entry, Params, kernel)                                                           \
  extern "C" __attribute__((visibility("default"))) void entry(const Params* p, int32_t threads) { \
    HostThreads scope(threads);                                                                    \
    kernel(*p);                                                                                    \
  }
#define GLR_FOR_EACH(i, n)                                       \
  const int64_t glr_end_ = (n), glr_chunk_ = chunk_of(glr_end_); \
  _Pragma("omp parallel for schedule(dynamic, glr_chunk_)") for (int64_t i = 0; i < glr_end_; ++i)

#define GLR_FOR_EACH_TOGETHER GLR_FOR_EACH

// The thread count of one kernel call. OpenMP keeps the setting per calling thread and PyTorch shares the runtime,
// so it is put back afterwards.
struct HostThreads {
  explicit HostThreads(int threads) : before(omp_get_max_threads()) { omp_set_num_threads(threads); }
  ~HostThreads() { omp_set_num_threads(before); }
  int before;
};

// Iterations handed to a thread at a time: small enough to balance, large enough to cost nothing.
static inline int64_t chunk_of(int64_t n) {
  return max<int64_t>(1, min<int64_t>(1024, n / (8 * omp_get_max_threads())));
}

// Which of the kernel's host threads this is. On CUDA always 0: nothing there is private to a thread.
GLR_FUNC int32_t thread_index() { return omp_get_thread_num(); }

// Starts to bring memory into the cache, to be read or to be written; any address will do.
template <bool Write>
GLR_FUNC void prefetch(const void* address) {
  __builtin_prefetch(address, Write);
}

// Whether one access to four numbers has to be asked for. The host's compiler finds out by itself.
#define GLR_MOVES_VECTORS false

// Before a loop whose iterations do not touch one another's memory.
#define GLR_SIMD GLR_PRAGMA(omp simd)

// The same, before a loop over K channels; 0 or less where the compiler does not know how many.
#define GLR_SIMD_CHANNELS(K) GLR_SIMD

// Before a loop that adds to the variables named: lets the compiler add them up in several lanes.
#define GLR_SIMD_SUM(...) GLR_PRAGMA(omp simd reduction(+ : __VA_ARGS__))

template <class T>
GLR_FUNC void atomic_add(T* target, T value) {
#pragma omp atomic
  *target += value;
}
GLR_FUNC void atomic_min_u64(uint64_t* target, uint64_t value) {
  uint64_t seen = __atomic_load_n(target, __ATOMIC_RELAXED);
  while (value < seen && !__atomic_compare_exchange_n(target, &seen, value, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
}
GLR_FUNC int32_t atomic_min_i32(int32_t* target, int32_t value) {
  int32_t seen = __atomic_load_n(target, __ATOMIC_RELAXED);
  while (value < seen && !__atomic_compare_exchange_n(target, &seen, value, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return seen;
}
GLR_FUNC uint64_t atomic_add_u64(uint64_t* target, uint64_t value) {
  return __atomic_fetch_add(target, value, __ATOMIC_RELAXED);
}
GLR_FUNC uint64_t atomic_cas_u64(uint64_t* target, uint64_t expected, uint64_t value) {
  __atomic_compare_exchange_n(target, &expected, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return expected;
}
GLR_FUNC int32_t float_bits(float value) {
  int32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}
GLR_FUNC float float_from_bits(int32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

#endif

#ifdef GLR_ONE_ENTRY  // the launcher's source for a GPU includes a kernel's file and names the entry that it wants
#define GLR_EXPORT(kernel, Params)
#define GLR_EXPORT_UNTYPED(kernel, Params)
#else
#define GLR_EXPORT(kernel, Params)                                                                              \
  static_assert(sizeof(Params<float>) == sizeof(Params<double>), "the launcher lays both out in the same way"); \
  GLR_ENTRY(kernel##_f32, Params<float>, kernel<float>)                                                         \
  GLR_ENTRY(kernel##_f64, Params<double>, kernel<double>)
#define GLR_EXPORT_UNTYPED(kernel, Params) GLR_ENTRY(kernel##_entry, Params, kernel)
#endif

// Four channels that lie side by side, moved as one.
template <class T>
struct GLR_VECTOR Vec4 {
  T x, y, z, w;
};

template <class T>
GLR_FUNC Vec4<T> load4(const T* source) {
  return *reinterpret_cast<const Vec4<T>*>(source);
}
template <class T>
GLR_FUNC void store4(T* target, const Vec4<T>& value) {
  *reinterpret_cast<Vec4<T>*>(target) = value;
}

// x within limits; the lower one for NaN.
template <class T>
GLR_FUNC T clamp(T x, T lower, T upper) {
  const T limited = x < upper ? x : upper;
  return x > lower ? limited : lower;
}
