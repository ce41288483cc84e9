// Pixels that see the same triangle, gathered before anything is added to the triangle's gradients.
//
//   GLR_FOR_EACH_RUN(run, num_rows, W, TriangleAt{...}) {
//     if (...) continue;
//     for (int64_t i = run.begin; i < run.end; ++i) ...       // run.triangle, run.row
//     const LaneRun lanes = lanes_of(run);                    // behind the last `continue`
//     add_over_lanes(lanes, &grad[...], sum_over_those_pixels);
//   }
//
// A run is a maximal sequence of equal triangles within one image row, and one atomic add serves it. On the host one
// thread walks a whole run; on CUDA it has one pixel of it, and neighbouring lanes gather their sums.
#pragma once

#include "lane_runs.cuh"

struct PixelRun {
  int64_t row;         // image * H + y
  int64_t begin, end;  // pixel indices, row * W + x
  int32_t triangle;    // -1: none
};

// What the pixels of a run are summed in: on the host there may be as many as an image is wide.
#ifdef GLR_WARP_SIZE
template <class T>
using RunSum = T;
#else
template <class T>
using RunSum = double;
#endif

#ifdef GLR_WARP_SIZE

#define GLR_FOR_EACH_RUN(run, num_rows, W, triangle_at) \
  GLR_FOR_EACH(glr_pixel_, int64_t(num_rows) * (W))     \
  if (const PixelRun run{glr_pixel_ / (W), glr_pixel_, glr_pixel_ + 1, triangle_at(glr_pixel_)}; true)

#else

#define GLR_FOR_EACH_RUN(run, num_rows, W, triangle_at)                                                      \
  GLR_FOR_EACH(glr_row_, num_rows)                                                                           \
  for (PixelRun run = first_run(glr_row_, int64_t(W), triangle_at); run.begin < (glr_row_ + 1) * int64_t(W); \
       run = next_run(run, int64_t(W), triangle_at))

template <class TriangleAt>
GLR_FUNC PixelRun run_from(int64_t row, int64_t begin, int64_t W, const TriangleAt& triangle_at) {
  PixelRun run{row, begin, begin, -1};
  const int64_t row_end = (row + 1) * W;
  if (begin >= row_end) return run;
  run.triangle = triangle_at(begin);
  do ++run.end;
  while (run.end < row_end && triangle_at(run.end) == run.triangle);
  return run;
}
template <class TriangleAt>
GLR_FUNC PixelRun first_run(int64_t row, int64_t W, const TriangleAt& triangle_at) {
  return run_from(row, row * W, W, triangle_at);
}
template <class TriangleAt>
GLR_FUNC PixelRun next_run(const PixelRun& run, int64_t W, const TriangleAt& triangle_at) {
  return run_from(run.row, run.end, W, triangle_at);
}

#endif

GLR_FUNC LaneRun lanes_of(const PixelRun& run) { return lane_run(uint64_t(run.row) << 32 | uint32_t(run.triangle)); }
