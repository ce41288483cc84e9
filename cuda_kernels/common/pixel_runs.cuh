// Pixels of a row that see the same triangle, for kernels that are the same on both targets.
//
//   GLR_FOR_EACH_RUN(run, num_rows, W, TriangleAt{...}) {
//     for (int64_t i = run.begin; i < run.end; ++i) ...  // run.triangle, run.row
//   }
//
// A run is a maximal sequence of equal triangles within one image row. On the host one thread walks a whole run; on
// CUDA it has one pixel of it.
#pragma once

#include "portability.cuh"

struct PixelRun {
  int64_t row;         // image * H + y
  int64_t begin, end;  // pixel indices, row * W + x
  int32_t triangle;    // -1: none
};

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
