// On the host: depth and slopes of every pixel's triangle, row by row, for kernels that compare neighbours. Each
// triangle of a row is looked at once.
#pragma once

#include "image_planes.cuh"

#ifndef GLR_WARP_SIZE

#include <utility>
#include <vector>

// What a pixel sees: a triangle (-1: none), z/w of its plane at the pixel's centre, and its change per pixel; NaN for a
// triangle that is seen edge-on.
struct PixelDepth {
  double depth, slope_x, slope_y;
  int32_t triangle;
};

template <class Params>
GLR_STEP void load_depth_row(const Params& p, int64_t image, int64_t y, PixelDepth* pixels) {
  const double fy = sample_at(p, 1, int32_t(y));
  const int64_t first = (image * p.H + y) * p.W;
  int32_t last = -1;
  PixelDepth pixel = {0., 0., 0., -1};
  for (int32_t x = 0; x < int32_t(p.W); ++x) {
    const int32_t triangle = decode_triangle(p.rast[(first + x) * 4 + 3]);
    if (triangle == last) {
      pixel.depth += pixel.slope_x;
    } else {
      VertexIndices v;
      last = triangle;
      pixel = {0., 0., 0., load_triangle(p.tri, p.num_triangles, p.V, triangle, &v) ? triangle : -1};
      ScreenPlane plane;
      if (pixel.triangle >= 0) {
        const bool seen = plane_at(p, image, triangle, sample_at(p, 0, x), fy, &plane);
        pixel.depth = seen ? plane.depth() : NAN;
        pixel.slope_x = plane.depth_slope(0), pixel.slope_y = plane.depth_slope(1);
      }
    }
    pixels[x] = pixel;
  }
}

// Calls visit(image, x, y, axis, A, B) for every pixel A and its next one B along an axis (0: right, 1: up) that see
// different triangles.
template <class Params, class Visit>
GLR_FUNC void for_each_differing_pair(const Params& p, const Visit& visit) {
  const int64_t H = p.H, rows = min(H, max<int64_t>(16, p.N * H / (16 * omp_get_max_threads())));
  const int64_t num_bands = H > 0 ? (H + rows - 1) / rows : 0;
  const int32_t W = int32_t(p.W);
  GLR_FOR_EACH(band, p.N * num_bands) {
    const int64_t image = band / num_bands, begin = band % num_bands * rows, end = min(H, begin + rows);
    std::vector<PixelDepth> this_row(W), above(W);
    load_depth_row(p, image, begin, this_row.data());
    for (int64_t y = begin; y < end; ++y) {
      const bool has_above = y + 1 < H;
      if (has_above) load_depth_row(p, image, y + 1, above.data());
      for (int32_t x = 0; x < W; ++x) {
        const PixelDepth& a = this_row[x];
        if (x + 1 < W && this_row[x + 1].triangle != a.triangle) visit(image, x, int32_t(y), 0, a, this_row[x + 1]);
        if (has_above && above[x].triangle != a.triangle) visit(image, x, int32_t(y), 1, a, above[x]);
      }
      std::swap(this_row, above);
    }
  }
}

#endif
