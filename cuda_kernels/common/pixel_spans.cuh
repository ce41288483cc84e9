// Short spans of neighbouring pixels, for kernels that do their work in steps: each step runs over the whole span
// before the next one begins. On the host that lets the compiler vectorize the steps that only compute, and lets the
// memory fetch what a later step reads. On CUDA a span is a single pixel, and p.image_reciprocal, that of H W, finds
// its image.
//
//   GLR_FOR_EACH_SPAN(span, p) {        // over p.N images of p.H x p.W pixels
//     T step[kSpan];
//     for (int j = 0; j < span.count; ++j) ...      // pixel span.first + j of image span.image
//   }
//   GLR_FOR_EACH_SPAN_TOGETHER(span, p)  // on CUDA whole warps go on to the end: without `continue`
#pragma once

#include "pixel_walk.cuh"

struct PixelSpan {
  int64_t image, first;
  int32_t count;
  bool again = false;  // the last one, for threads behind it: they write the same, and must not add
};

#ifdef GLR_WARP_SIZE

constexpr int32_t kSpan = 1;

#define GLR_FOR_EACH_SPAN(span, p)            \
  GLR_FOR_EACH(glr_pixel_, (p).N*(p).H*(p).W) \
  if (const PixelSpan span{divide(glr_pixel_, (p).H * (p).W, (p).image_reciprocal), glr_pixel_, 1, false}; true)

static __device__ __forceinline__ PixelSpan span_up_to(int64_t pixel, int64_t end, int64_t pixels, int64_t reciprocal) {
  const int64_t first = min(pixel, end - 1);
  return {divide(first, pixels, reciprocal), first, 1, pixel >= end};
}

#define GLR_FOR_EACH_SPAN_TOGETHER(span, p)        \
  GLR_FOR_EACH_TOGETHER(glr_i_, (p).N*(p).H*(p).W) \
  if (const PixelSpan span = span_up_to(glr_i_, glr_end_, (p).H * (p).W, (p).image_reciprocal); true)

#else

constexpr int32_t kSpan = 64;

static inline int64_t spans_per_image(int64_t pixels) { return (pixels + kSpan - 1) / kSpan; }

static inline PixelSpan span_at(int64_t span, int64_t pixels) {
  const int64_t image = span / spans_per_image(pixels), begin = span % spans_per_image(pixels) * kSpan;
  return {image, image * pixels + begin, int32_t(min<int64_t>(kSpan, pixels - begin))};
}

#define GLR_FOR_EACH_SPAN(span, p)                             \
  GLR_FOR_EACH(glr_span_, (p).N* spans_per_image((p).H*(p).W)) \
  if (const PixelSpan span = span_at(glr_span_, (p).H * (p).W); true)

#define GLR_FOR_EACH_SPAN_TOGETHER GLR_FOR_EACH_SPAN

#endif

// Starts to bring the next span's part of an image with C numbers a pixel into the cache. The processor does that by
// itself only up to the next page of memory, which is a few spans away.
template <class T>
GLR_FUNC void prefetch_next_span(const T* image, const PixelSpan& span, int64_t C) {
  constexpr int64_t numbers_per_line = 64 / int64_t(sizeof(T));
  for (int64_t i = 0; image && kSpan > 1 && i < kSpan * C; i += numbers_per_line)
    prefetch<false>(image + (span.first + kSpan) * C + i);
}
