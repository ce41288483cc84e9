// Additions to the same place by neighbouring threads, gathered into one.
//
//   const LaneRun run = lane_run(key);        // once; threads with equal keys (or arrays of them) add to the same
//   places add_over_lanes(run, &grad[...], value);   // as often as there are values
//
// On CUDA a run is a sequence of neighbouring lanes of a warp with equal keys. Its values are summed in registers, in
// log2(length) steps, and its first lane does one atomic add. The lanes that make a run together must add together: no
// lane may leave in between. On the host, and in the deterministic variant, every value is added by itself.
#pragma once

#include "portability.cuh"

#if defined(GLR_WARP_SIZE) && !defined(GLR_DETERMINISTIC)

struct LaneRun {
  uint32_t lanes;  // of this warp that are here
  int length;      // lanes from this one to the end of its run
  int longest;     // at least the length of every run in the warp, a power of two
  bool first;      // this lane is the first of its run
};

// Lanes that are not here (they left early, or hang behind) end a run: whatever subset of the warp meets, sums are
// right.
template <int n>
GLR_FUNC LaneRun lane_run(const uint64_t (&keys)[n]) {
  const uint32_t lanes = __activemask();
  const int lane = threadIdx.x % GLR_WARP_SIZE;
  bool first = lane == 0 || !(lanes >> (lane - 1) & 1);
  for (uint64_t key : keys) first |= __shfl_up_sync(lanes, static_cast<unsigned long long>(key), 1) != key;
  const uint32_t ends = (__ballot_sync(lanes, first) | ~lanes) & -(2u << lane);  // of the lanes above this one
  LaneRun run{lanes, (ends ? __ffs(ends) - 1 : GLR_WARP_SIZE) - lane, 1, first};
  while (__any_sync(lanes, run.length > run.longest)) run.longest *= 2;
  return run;
}

// The sum over the lane's run, for its first lane.
template <class T>
GLR_FUNC T sum_over_lanes(const LaneRun& run, T value) {
  for (int step = 1; step < run.longest; step *= 2) {
    const T other = __shfl_down_sync(run.lanes, value, step);
    if (step < run.length) value += other;  // value: the sum over 2 step lanes, or up to the run's end
  }
  return value;
}

#else

struct LaneRun {
  static constexpr bool first = true;
};

template <int n>
GLR_FUNC LaneRun lane_run(const uint64_t (&)[n]) {
  return {};
}

template <class T>
GLR_FUNC T sum_over_lanes(const LaneRun&, T value) {
  return value;
}

#endif

GLR_FUNC LaneRun lane_run(uint64_t key) {
  const uint64_t keys[] = {key};
  return lane_run(keys);
}

// The target is summed in double: there is no limit to the runs that add to it.
template <class T>
GLR_FUNC void add_over_lanes(const LaneRun& run, double* target, T value) {
  const T sum = sum_over_lanes(run, value);
  if (run.first) atomic_add(target, double(sum));
}
