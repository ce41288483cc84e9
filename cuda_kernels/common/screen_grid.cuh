// The grid that corners are rounded to, and the edge functions on it: 1/256 pixel, (0, 0) at the image's lower left.
// Source: edge functions on a fixed-point grid (Pineda 1988).
#pragma once

#include "portability.cuh"

constexpr int32_t kSubpixelBits = 8;
constexpr int32_t kSubpixels = 1 << kSubpixelBits;  // grid steps per pixel
constexpr int32_t kOffGrid = -INT32_MAX - 1;
constexpr int32_t kSmallExtent = 1 << 14;    // grid steps: of a triangle that 32-bit edge functions can tell all about
constexpr int64_t kLongestOnGrid = 1 << 22;  // pixels: in longer images, points do not fit 32 bits

// Up to where x/w and y/w stay unclipped, and how large a pixel is; from Python, one for all triangles of a call.
struct ScreenGrid {
  int64_t W, H;
  double guard_x, guard_y;  // in units of the view
  double pixel_x, pixel_y;  // 1 / W, 1 / H
};

struct PixelBox {
  int64_t x0, y0, x1, y1;  // x0 <= x < x1
  GLR_MEMBER int64_t width() const { return x1 - x0; }
  GLR_MEMBER int64_t height() const { return y1 - y0; }
};

// Pixel p has its centre at 256 p + 128: the first pixel at or after a point, and the first one past it.
template <class Int>
GLR_FUNC Int first_pixel(Int point) {
  return (point + (kSubpixels / 2 - 1)) >> kSubpixelBits;
}
template <class Int>
GLR_FUNC Int pixel_past(Int point) {
  return (point + kSubpixels / 2) >> kSubpixelBits;
}

// To the nearest integer, ties to even, in a way that is vectorized with any instruction set; |value| < 2^51.
GLR_FUNC double nearest_integer(double value) {
  constexpr double magic = 6755399441055744.;  // 1.5 * 2^52
  return (value + magic) - magic;
}

// Where a coordinate x/w or y/w of -1..1 across `size` pixels lies on the grid.
GLR_FUNC double grid_position(double ndc, int64_t size) {
  return nearest_integer(ndc * (double(kSubpixels / 2) * double(size))) + double(kSubpixels / 2 * size);
}

GLR_FUNC bool is_unclipped(const ScreenGrid& g, double x, double y, double w) {
  return (w > 0) & (fabs(x) <= g.guard_x * w) & (fabs(y) <= g.guard_y * w);
}

struct SnappedVertex {
  int32_t x, y;  // kOffGrid: to be clipped, not finite, or in an image too long for 32 bits
  double depth;  // z/w
};

template <class T>
GLR_FUNC SnappedVertex snap_vertex(const ScreenGrid& g, const T* vertex) {
  const double x = vertex[0], y = vertex[1], z = vertex[2], w = vertex[3], inverse_w = 1. / w;
  const double ndc_x = x * inverse_w, ndc_y = y * inverse_w;
  const bool on_grid = is_unclipped(g, x, y, w) & (fabs(ndc_x) < 2 * g.guard_x) & (fabs(ndc_y) < 2 * g.guard_y) &
                       (fabs(z) < INFINITY) & (w < INFINITY) & (g.W <= kLongestOnGrid) & (g.H <= kLongestOnGrid);
  const double column = on_grid ? grid_position(ndc_x, g.W) : double(kOffGrid);
  const double row = on_grid ? grid_position(ndc_y, g.H) : double(kOffGrid);
  return {int32_t(column), int32_t(row), z / w};
}

// One side of a triangle in counter-clockwise order; a sample is inside where all three are >= 0. In 1/256 of the
// exact value, rounded down, which is exact in its sign: steps from pixel to pixel are multiples of 256. `Int` is
// int32_t for triangles of less than kSmallExtent grid steps, at samples not far from them.
template <class Int>
struct EdgeFunction {
  Int value, step_x, step_y;  // at the walk's first sample, and per pixel

  EdgeFunction() = default;
  GLR_MEMBER EdgeFunction(Int ax, Int ay, Int bx, Int by, Int sample_x, Int sample_y) {
    const Int dx = bx - ax, dy = by - ay;
    // The top-left rule of graphics hardware, which takes row 0 of a framebuffer object for its top: samples exactly
    // on a left (downward) or lower (rightward) side are inside, those on other sides belong to the neighbour.
    const Int owns_samples = (dy < 0) | ((dy == 0) & (dx > 0));
    value = (dx * (sample_y - ay) - dy * (sample_x - ax) + owns_samples - 1) >> kSubpixelBits;
    step_x = -dy, step_y = dx;
  }
};

// The sides of a triangle with corners 0, i and i + 1 of those given, either way round.
template <class Int>
struct PieceEdges {
  EdgeFunction<Int> e0, e1, e2;
};

template <class Int>
GLR_FUNC PieceEdges<Int> piece_edges(Int x0, Int y0, Int xb, Int yb, Int xc, Int yc, Int first_x, Int first_y) {
  const Int x = first_x * kSubpixels + kSubpixels / 2, y = first_y * kSubpixels + kSubpixels / 2;
  return {EdgeFunction<Int>(x0, y0, xb, yb, x, y), EdgeFunction<Int>(xb, yb, xc, yc, x, y),
          EdgeFunction<Int>(xc, yc, x0, y0, x, y)};
}

// Twice the area, positive where the corners run counter-clockwise.
template <class Int>
GLR_FUNC Int grid_area(Int x0, Int y0, Int x1, Int y1, Int x2, Int y2) {
  return (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0);
}
