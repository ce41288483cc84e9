// On a GPU: what the pixels of triangles add to the triangles' vertices. Neighbouring lanes that see one triangle
// gather their sums first (lane_runs.cuh), and where a whole block sees one triangle, as a quad over the whole image,
// so does the block: hundreds of thousands of pixels would else add to a few addresses, one after the other.
//
//   const BlockRun run = block_run(pixel, triangle, triangle_at);  // -1: adds nothing
//   add_over_block(run, targets, values);                          // arrays; by all threads of the block
#pragma once

#include "lane_runs.cuh"
#include "pixel_walk.cuh"

#ifdef GLR_WARP_SIZE

#ifndef GLR_DETERMINISTIC

constexpr int kMostWarps = 4;  // of a block that gathers sums

struct BlockRun {
  LaneRun lanes;
  bool whole;  // whether all threads of the block see one triangle of one image
};

// `triangle_at(index)`: what the pixels see, before anything is checked.
template <class TriangleAt>
GLR_FUNC BlockRun block_run(const PixelWalk& pixel, int32_t triangle, const TriangleAt& triangle_at) {
  const uint64_t keys[] = {uint64_t(pixel.image) << 32 | uint32_t(triangle)};
  const bool adds = triangle >= 0;
  const bool alike = adds && pixel.place() >= threadIdx.x && triangle_at(pixel.index - threadIdx.x) == triangle;
  return {lane_run(adds, keys), __syncthreads_and(alike && blockDim.x <= kMostWarps * GLR_WARP_SIZE) != 0};
}

template <class T, int n>
GLR_FUNC void add_over_block(const BlockRun& run, double* const (&targets)[n], T (&values)[n]) {
  static __shared__ T of_warps[kMostWarps][n];
  sum_over_lanes(run.lanes, values);
  bool adds = run.lanes.first;
  if (run.whole) {    // the first lane of each warp has a sum, and the block's first thread adds them up
    __syncthreads();  // until no thread reads what was there before
    for (int i = 0; i < n; ++i)
      if (adds) of_warps[threadIdx.x / GLR_WARP_SIZE][i] = values[i];
    __syncthreads();
    adds = threadIdx.x == 0;
    GLR_UNROLL(1)
    for (int k = 1; adds && k < blockDim.x / GLR_WARP_SIZE; ++k)
      for (int i = 0; i < n; ++i) values[i] += of_warps[k][i];
  }
  for (int i = 0; adds && i < n; ++i) atomic_add(targets[i], double(values[i]));
}

#else

struct BlockRun {
  bool adds;
};

template <class TriangleAt>
GLR_FUNC BlockRun block_run(const PixelWalk&, int32_t triangle, const TriangleAt&) {
  return {triangle >= 0};
}

template <class T, int n>
GLR_FUNC void add_over_block(const BlockRun& run, double* const (&targets)[n], T (&values)[n]) {
  for (int i = 0; run.adds && i < n; ++i) atomic_add(targets[i], double(values[i]));
}

#endif

#endif
