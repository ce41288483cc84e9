// Channels as a kernel moves them: four at a time where their number is a multiple of four and that is one access, else
// one by one.
//
//   using V = Channels<K, T>;
//   for (int64_t c = 0; c < C; c += channels_in<V>) store(out + c, weight * fetch<V>(in + c));
//
// K is their number where the compiler knows it, else one of these.
#pragma once

#include "lane_runs.cuh"
#include "lanes.cuh"

constexpr int kAnyNumber = 0, kFours = -4;  // of channels: any, and any multiple of four

template <class T>
GLR_FUNC Vec4<T> operator+(const Vec4<T>& a, const Vec4<T>& b) {
  return {a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w};
}
template <class T>
GLR_FUNC Vec4<T> operator-(const Vec4<T>& a, const Vec4<T>& b) {
  return {a.x - b.x, a.y - b.y, a.z - b.z, a.w - b.w};
}
template <class T>
GLR_FUNC Vec4<T> operator*(T a, const Vec4<T>& b) {
  return {a * b.x, a * b.y, a * b.z, a * b.w};
}

// The sum over channels of a b.
template <class T>
GLR_FUNC T dot(const Vec4<T>& a, const Vec4<T>& b) {
  return a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
}
GLR_FUNC float dot(float a, float b) { return a * b; }
GLR_FUNC double dot(double a, double b) { return a * b; }

template <bool Four, class T>
struct ChannelsOf {
  using type = T;
};
template <class T>
struct ChannelsOf<true, T> {
  using type = Vec4<T>;
};
template <int K, class T>
using Channels = typename ChannelsOf<GLR_MOVES_VECTORS && (K == 4 || K == kFours), T>::type;

template <class V>
constexpr int channels_in = 1;
template <class T>
constexpr int channels_in<Vec4<T>> = 4;

template <class V, class T>
GLR_FUNC V load(const T* source) {
  return *reinterpret_cast<const V*>(source);
}

// Reads what the kernel does not write: the compiler may move that past all that it does write.
#ifdef GLR_WARP_SIZE
template <class T>
GLR_FUNC T fetch_as(const T* source, T) {
  return __ldg(source);
}
GLR_FUNC Vec4<float> fetch_as(const float* source, const Vec4<float>&) {
  const float4 v = __ldg(reinterpret_cast<const float4*>(source));
  return {v.x, v.y, v.z, v.w};
}
GLR_FUNC Vec4<double> fetch_as(const double* source, const Vec4<double>&) {
  const double2* halves = reinterpret_cast<const double2*>(source);
  const double2 a = __ldg(halves), b = __ldg(halves + 1);
  return {a.x, a.y, b.x, b.y};
}
template <class V, class T>
GLR_FUNC V fetch(const T* source) {
  return fetch_as(source, V{});
}
#else
template <class V, class T>
GLR_FUNC V fetch(const T* source) {
  return load<V>(source);
}
#endif

template <class V, class T>
GLR_FUNC void store(T* target, const V& value) {
  *reinterpret_cast<V*>(target) = value;
}

// For loops over channels that the host's compiler would not vectorize by itself: there, K channels of float32 that it
// knows the number of are lanes, one register of up to four.
//
//   for (int64_t c = 0; c < C; c += channel_lanes<K, T>) store_channels<K>(out + c, weight * fetch_channels<K>(in +
//   c));
#ifdef GLR_WARP_SIZE
template <int K, class T>
using ChannelLanes = Channels<K, T>;
template <int K, class T>
constexpr int channel_lanes = channels_in<Channels<K, T>>;
template <int K, class T>
GLR_FUNC ChannelLanes<K, T> load_channels(const T* source) {
  return load<ChannelLanes<K, T>>(source);
}
template <int K, class T>
GLR_FUNC ChannelLanes<K, T> fetch_channels(const T* source) {
  return fetch<ChannelLanes<K, T>>(source);
}
template <int K, class T>
GLR_FUNC void store_channels(T* target, const ChannelLanes<K, T>& value) {
  store(target, value);
}
#else
template <int K, class T>
constexpr bool has_lanes = K > 1 && sizeof(T) == sizeof(float);
template <int K, class T>
constexpr int channel_lanes = has_lanes<K, T> ? (K < kNumberLanes ? K : kNumberLanes) : 1;
template <bool Lanes, class T>
struct ChannelLanesOf {
  using type = T;
};
template <>
struct ChannelLanesOf<true, float> {
  using type = FloatLanes;
};
template <int K, class T>
using ChannelLanes = typename ChannelLanesOf<has_lanes<K, T>, T>::type;

template <int K, class T>
GLR_FUNC ChannelLanes<K, T> load_channels(const T* source) {
  static_assert(K < kNumberLanes || K % kNumberLanes == 0);
  if constexpr (!has_lanes<K, T>)
    return *source;
  else if constexpr (K == 2)
    return FloatLanes{source[0], source[1], 0, 0};
  else if constexpr (K == 3)
    return FloatLanes{source[0], source[1], source[2], 0};
  else
    return load_lanes<FloatLanes>(source);
}
template <int K, class T>
GLR_FUNC ChannelLanes<K, T> fetch_channels(const T* source) {
  return load_channels<K>(source);
}
template <int K, class T>
GLR_FUNC void store_channels(T* target, ChannelLanes<K, T> value) {
  std::memcpy(target, &value, channel_lanes<K, T> * sizeof(T));
}
#endif

GLR_FUNC void atomic_add_channels(float* target, float value) { atomic_add(target, value); }
GLR_FUNC void atomic_add_channels(double* target, double value) { atomic_add(target, value); }
template <class S, class T>
GLR_FUNC void atomic_add_channels(S* target, const Vec4<T>& value) {
  atomic_add(&target[0], S(value.x)), atomic_add(&target[1], S(value.y));
  atomic_add(&target[2], S(value.z)), atomic_add(&target[3], S(value.w));
}
#ifdef GLR_ADDS_VECTORS  // one access, in which each number is added atomically
GLR_FUNC void atomic_add_channels(float* target, const Vec4<float>& value) {
  atomicAdd(reinterpret_cast<float4*>(target), make_float4(value.x, value.y, value.z, value.w));
}
#endif
