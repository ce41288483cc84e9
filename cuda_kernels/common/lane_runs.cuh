// Additions to the same place by neighbouring threads, gathered into one.
//
//   const LaneRun run = lane_run(adds, key);  // threads with equal keys (or arrays of them) add to the same places
//   sum_over_lanes(run, values);              // an array: all that a thread adds, in one go
//   if (run.first) ...                        // one atomic addition each, of what are now sums
//
// On CUDA a run is a sequence of neighbouring lanes of a warp that add something and have equal keys. Its values are
// summed in registers, in log2(length) steps. All lanes of a warp take part, also those that have nothing to add
// (`adds`): masks that the compiler does not know cost more than the sums. On the host, and in the deterministic
// variant, every value is added by itself.
#pragma once

#include "portability.cuh"

#ifdef GLR_WARP_SIZE

constexpr uint32_t kAllLanes = ~0u;

// Whether it holds for any lane of the warp, all of which ask.
GLR_FUNC bool is_any_lane(bool condition) { return __any_sync(kAllLanes, condition); }

#else

GLR_FUNC bool is_any_lane(bool condition) { return condition; }

#endif

#if defined(GLR_WARP_SIZE) && !defined(GLR_DETERMINISTIC)

struct LaneRun {
  int length;  // lanes from this one to the end of its run
  bool first;  // this lane is the first of a run that adds
};

template <int n>
GLR_FUNC LaneRun lane_run(bool adds, const uint64_t (&keys)[n]) {
  const int lane = threadIdx.x % GLR_WARP_SIZE;
  const uint32_t adding = __ballot_sync(kAllLanes, adds);
  bool first = lane == 0 || !adds || !(adding >> (lane - 1) & 1);
  for (uint64_t key : keys) first |= __shfl_up_sync(kAllLanes, static_cast<unsigned long long>(key), 1) != key;
  const uint32_t ends = __ballot_sync(kAllLanes, first) & -(2u << lane);  // of the lanes above this one
  return {(ends ? __ffs(ends) - 1 : GLR_WARP_SIZE) - lane, first && adds};
}

// The sums over the lane's run, for its first lane.
template <class T, int n>
GLR_FUNC void sum_over_lanes(const LaneRun& run, T (&values)[n]) {
  GLR_UNROLL(1)
  for (int step = 1; __any_sync(kAllLanes, step < run.length); step *= 2) {
    GLR_UNROLL(n)
    for (int i = 0; i < n; ++i) {
      const T other = __shfl_down_sync(kAllLanes, values[i], step);
      if (step < run.length) values[i] += other;  // now the sum over 2 step lanes, or up to the run's end
    }
  }
}

#else

struct LaneRun {
  bool first;
};

template <int n>
GLR_FUNC LaneRun lane_run(bool adds, const uint64_t (&)[n]) {
  return {adds};
}

template <class T, int n>
GLR_FUNC void sum_over_lanes(const LaneRun&, T (&)[n]) {}

#endif
