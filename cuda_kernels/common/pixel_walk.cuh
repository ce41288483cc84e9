// One pixel of an image after the other.
//
//   GLR_FOR_EACH_PIXEL(row, x, num_rows, W) { ... }  // on the host a thread takes whole rows
//
// and, on a GPU, of N images of H x W:
//   GLR_FOR_EACH_PIXEL_OF(p, pixel) {  // p.N, p.H, p.W
//     ... pixel.index, pixel.image, pixel.y, pixel.x ...
//   }
//   GLR_FOR_EACH_BLOCK_OF(p, pixel) {  // all threads of a block together, also those behind the last pixel
//     if (pixel.exists()) ...
//   }
//
// On a GPU a thread goes on by the same number of images, rows and columns every time, and needs no division for it.
#pragma once

#include "portability.cuh"

#ifdef GLR_WARP_SIZE

// n / divisor, from the divisor's reciprocal, floor((2^64 - 1) / divisor): the product falls short by one at most.
GLR_FUNC int64_t divide(int64_t n, int64_t divisor, int64_t reciprocal) {
  const int64_t quotient = int64_t(__umul64hi(uint64_t(n), uint64_t(reciprocal)));
  return quotient + (n - quotient * divisor >= divisor);
}

struct RowWalk {
  int64_t index;
  uint32_t row, x;

  GLR_MEMBER explicit RowWalk(int64_t W) : width(uint32_t(W)) {
    const uint32_t first = blockIdx.x * blockDim.x + threadIdx.x, threads = gridDim.x * blockDim.x;
    index = first, row = first / width, x = first - row * width;
    step_row = threads / width, step_x = threads - step_row * width;
  }
  GLR_MEMBER void go_on() {
    index += gridDim.x * blockDim.x, row += step_row, x += step_x;
    if (x >= width) x -= width, ++row;
  }

 private:
  uint32_t width, step_row, step_x;
};

struct PixelWalk {
  int64_t index, end;
  uint32_t image, y, x;

  GLR_MEMBER PixelWalk(int64_t N, int64_t H, int64_t W) : end(N * H * W), height(uint32_t(H)), width(uint32_t(W)) {
    const uint32_t first = blockIdx.x * blockDim.x + threadIdx.x, threads = gridDim.x * blockDim.x;
    const uint32_t row = first / width, rows = threads / width;
    index = first, image = row / height, y = row - image * height, x = first - row * width;
    step_image = rows / height, step_y = rows - step_image * height, step_x = threads - rows * width;
  }
  GLR_MEMBER void go_on() {
    index += gridDim.x * blockDim.x, image += step_image, y += step_y, x += step_x;
    if (x >= width) x -= width, ++y;
    if (y >= height) y -= height, ++image;
  }
  GLR_MEMBER bool exists() const { return index < end; }
  GLR_MEMBER uint64_t place() const { return uint64_t(y) * width + x; }  // among the pixels of its image

 private:
  uint32_t height, width, step_image, step_y, step_x;
};

#define GLR_FOR_EACH_PIXEL(row, x, num_rows, W)                             \
  const int64_t glr_end_ = int64_t(num_rows) * (W);                         \
  for (RowWalk glr_walk_(W); glr_walk_.index < glr_end_; glr_walk_.go_on()) \
    if (const int64_t row = glr_walk_.row; true)                            \
      if (const int32_t x = int32_t(glr_walk_.x); true)

#define GLR_FOR_EACH_PIXEL_OF(p, pixel) for (PixelWalk pixel((p).N, (p).H, (p).W); pixel.exists(); pixel.go_on())

#define GLR_FOR_EACH_BLOCK_OF(p, pixel) \
  for (PixelWalk pixel((p).N, (p).H, (p).W); pixel.index - int64_t(threadIdx.x) < pixel.end; pixel.go_on())

#else

#define GLR_FOR_EACH_PIXEL(row, x, num_rows, W) \
  GLR_FOR_EACH(row, num_rows)                   \
  for (int32_t x = 0; x < int32_t(W); ++x)

#endif
