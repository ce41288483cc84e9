// On the host: which triangles each cell of an image has to draw. Chunks of triangles are sorted into the cells
// independently of one another, each by counting, with ids ascending.
#pragma once

#include <vector>

#include "triangle_lanes.cuh"

constexpr int64_t kChunk = 4096;          // triangles
constexpr int64_t kCellPixels = 1 << 15;  // of a cell: depths and ids fit a processor's second cache
constexpr int32_t kWidestCell = 1 << 13;  // pixels
constexpr int32_t kHighestCell = 64;      // pixels

// Cells of equal size, row by row.
struct CellGrid {
  int32_t width, height, columns, rows;

  CellGrid(int64_t W, int64_t H, int64_t num_images, int threads) {
    width = int32_t(min<int64_t>(W, kWidestCell));
    height = int32_t(min<int64_t>(kHighestCell, kCellPixels / width));
    while (height > 8 && num_images * ((H + height - 1) / height) < 4 * threads) height /= 2;  // something for each
    columns = int32_t((W + width - 1) / width), rows = int32_t((H + height - 1) / height);
  }
  int32_t count() const { return columns * rows; }
};

// The triangles of one chunk, by cell.
struct TriangleBin {
  int32_t* items;  // [2 * triangles] of all cells, one after the other
  int32_t* start;  // [cells + 1] where each cell's begin
  int32_t* large;  // [triangles] those that cells do not list
  int32_t num_large;
};

// Where a triangle is listed: a cell and the one above it; `large`; or, outside of the view, nowhere.
struct BinPlace {
  int32_t first, last;
  bool large;
};

GLR_FUNC BinPlace bin_place(const SnappedVertex& a, const SnappedVertex& b, const SnappedVertex& c,
                            const CellGrid& cells, int32_t W, int32_t H) {
  const int32_t left = min(a.x, min(b.x, c.x)), right = max(a.x, max(b.x, c.x));
  const int32_t low = min(a.y, min(b.y, c.y)), high = max(a.y, max(b.y, c.y));
  if (left == kOffGrid) return {0, -1, true};
  const int32_t x0 = max(first_pixel(left), 0), x1 = min(pixel_past(right), W);
  const int32_t y0 = max(first_pixel(low), 0), y1 = min(pixel_past(high), H);
  if (x0 >= x1 || y0 >= y1) return {0, -1, false};
  const int32_t row = y0 / cells.height, last_row = (y1 - 1) / cells.height;
  const int32_t column = cells.columns == 1 ? 0 : x0 / cells.width;
  const bool one_column = cells.columns == 1 || column == (x1 - 1) / cells.width;
  if (!one_column || last_row > row + 1 || right - left >= kSmallExtent || high - low >= kSmallExtent)
    return {0, -1, true};
  return {row * cells.columns + column, last_row * cells.columns + column, false};
}

// Sorts the triangles `begin` to `end`. `place` has room for two numbers per triangle.
GLR_STEP void fill_bin(const SnappedVertex* snapped, int64_t V, const int32_t* tri, int64_t num_triangles,
                       int64_t begin, int64_t end, const CellGrid& cells, int32_t W, int32_t H, int32_t* place,
                       TriangleBin* bin) {
  int32_t* start = bin->start;
  std::fill_n(start, cells.count() + 1, 0);
  bin->num_large = 0;
  for (int64_t t = begin; t < end; ++t) {
    BinPlace found = {0, -1, false};
    VertexIndices v;
    if (load_triangle(tri, num_triangles, V, int32_t(t), &v))
      found = bin_place(snapped[v.v0], snapped[v.v1], snapped[v.v2], cells, W, H);
    if (found.large) bin->large[bin->num_large++] = int32_t(t);
    place[2 * (t - begin)] = found.first, place[2 * (t - begin) + 1] = found.last;
    if (found.last < 0) continue;
    ++start[found.first];
    if (found.last != found.first) ++start[found.last];
  }
  int32_t sum = 0;  // start: where each cell ends, from which its triangles are then filled in, the last one first
  for (int32_t c = 0; c <= cells.count(); ++c) start[c] = sum += start[c];
  for (int64_t t = end - 1; t >= begin; --t) {
    const int32_t first = place[2 * (t - begin)], last = place[2 * (t - begin) + 1];
    if (last < 0) continue;
    bin->items[--start[first]] = int32_t(t);
    if (last != first) bin->items[--start[last]] = int32_t(t);
  }
}
