// On the host: a part of an image that one thread has to itself and keeps in its cache while all of its triangles are
// drawn, and how rows of pixels are covered in it.
#pragma once

#include "screen_polygon.cuh"

constexpr int32_t kPixelLanes = 8;            // neighbouring pixels that a small triangle covers at once
constexpr int32_t kSegment = 64;              // neighbouring pixels with one farthest depth
constexpr int32_t kNearest = -INT32_MAX - 1;  // comes before all depths
constexpr int32_t kNoTriangle = INT32_MAX;    // comes after all triangles

struct CellPixels {
  int32_t *depth, *id;
  const int32_t *previous_depth, *previous_id;  // where layers are peeled, only what comes after these counts
  GLR_MEMBER CellPixels at(int64_t i) const { return {depth + i, id + i, previous_depth + i, previous_id + i}; }
};

struct DepthCell {
  int64_t image;
  int32_t x0, y0, x1, y1;  // its pixels
  int32_t stride;          // of rows: segments, with room for lanes past the last pixel
  CellPixels pixels;       // [rows, stride]
  int32_t* farthest;       // [rows, stride / kSegment] of the depths

  int64_t at(int32_t x, int32_t y) const { return int64_t(y - y0) * stride + (x - x0); }

  static int32_t stride_for(int32_t width) { return (width + kPixelLanes - 1) / kSegment * kSegment + kSegment; }

  void clear() {
    const int32_t width = x1 - x0, segments = stride / kSegment;
    for (int32_t row = 0; row < y1 - y0; ++row) {  // past the last pixel nothing is drawn, and nothing is far
      int32_t *depth = pixels.depth + int64_t(row) * stride, *id = pixels.id + int64_t(row) * stride;
      std::fill(depth, depth + width, INT32_MAX), std::fill(depth + width, depth + stride, kNearest);
      std::fill(id, id + width, kNoTriangle), std::fill(id + width, id + stride, -1);
      for (int32_t i = 0; i < segments; ++i) farthest[row * segments + i] = i * kSegment < width ? INT32_MAX : kNearest;
    }
  }

  int32_t farthest_of_all() const {
    int32_t most = kNearest;
    for (int32_t i = 0; i < (y1 - y0) * (stride / kSegment); ++i) most = max(most, farthest[i]);  // vectorized
    return most;
  }
};

// Offers a triangle to a pixel, and tells whether it is seen there. Without a branch, for loops that are vectorized.
template <bool Peel>
GLR_FUNC bool cover(bool inside, int32_t depth, int32_t id, const CellPixels& p, int32_t i) {
  const int32_t d = p.depth[i], t = p.id[i];
  bool wins = inside & ((depth < d) | ((depth == d) & (id < t)));
  if (Peel) {
    const int32_t pd = p.previous_depth[i], pt = p.previous_id[i];
    wins &= (depth > pd) | ((depth == pd) & (id > pt));
  }
  p.depth[i] = wins ? depth : d;
  p.id[i] = wins ? id : t;
  return wins;
}

// `count` neighbouring pixels, all inside, with the depth at the first one. Whether any of them changes.
template <bool Peel>
GLR_STEP bool cover_fixed(const FixedDepth& f, uint64_t fixed, int32_t id, const CellPixels& p, int32_t count) {
  const uint64_t step = f.step_x;
  const int32_t nearest = f.nearest, farthest = f.farthest;
  int32_t changes = 0;
  GLR_PRAGMA(GCC ivdep) for (int32_t i = 0; i < count; ++i) {
    const int32_t depth = min(max(depth_bits(fixed + step * uint64_t(i)), nearest), farthest);
    changes |= cover<Peel>(true, depth, id, p, i);
  }
  return changes != 0;
}

// The same in double precision, from pixel x of the image on; `row` is the depth at the row's first pixel.
template <bool Peel>
GLR_STEP bool cover_exact(double row, double step, const DepthLimits& limits, int32_t x, int32_t id,
                          const CellPixels& p, int32_t count) {
  int32_t changes = 0;
  GLR_PRAGMA(GCC ivdep) for (int32_t i = 0; i < count; ++i) {
    const double depth = limits.clamp(row + step * double(x + i)), within = min(max(depth, -1.), 1.);
    changes |= cover<Peel>(depth == within, depth_bits(within), id, p, i);
  }
  return changes != 0;
}

// A triangle of which nothing is known to be small or simple.
struct LargeTriangle {
  ScreenPolygon polygon;
  FixedDepth depth;  // where it has one
  int32_t id;
  int32_t nearest;  // bits of the depth before which it has no pixel
};

// Narrows the pixels [begin, end), counted from the walk's first, to those inside of one side.
GLR_FUNC void narrow_span(const EdgeFunction<int64_t>& e, int64_t* begin, int64_t* end) {
  if (e.step_x > 0) {
    if (e.value < 0) *begin = max(*begin, (e.step_x - 1 - e.value) / e.step_x);
  } else if (e.value < 0) {
    *end = *begin;
  } else if (e.step_x < 0) {
    *end = min(*end, e.value / -e.step_x + 1);
  }
}

// Pixels x0 <= x < x1 of row y, within one segment, in which nothing is farther than `farthest`. Whether any changes.
template <bool Peel>
GLR_FUNC bool cover_segment(const LargeTriangle& t, const CellPixels& p, int32_t x0, int32_t x1, int32_t y,
                            int32_t farthest) {
  const ScreenPolygon& s = t.polygon;
  if (!s.has_fixed_depth)
    return cover_exact<Peel>(s.plane.at + s.plane.y * double(y), s.plane.x, s.limits, x0, t.id, p, x1 - x0);
  const FixedDepth& f = t.depth;
  const uint64_t row = f.first + f.step_y * uint64_t(y - s.box.y0) - f.step_x * uint64_t(s.box.x0);
  const uint64_t first = row + f.step_x * uint64_t(x0), last = row + f.step_x * uint64_t(x1 - 1);
  if (min(f.clamp(first), f.clamp(last)) > farthest) return false;
  return cover_fixed<Peel>(f, first, t.id, p, x1 - x0);
}

// Pixels x0 <= x < x1 of row y, all inside.
template <bool Peel>
GLR_FUNC void cover_span(const DepthCell& cell, const LargeTriangle& t, int32_t x0, int32_t x1, int32_t y) {
  const int32_t cell_x0 = cell.x0, nearest = t.nearest, row = y - cell.y0;
  const CellPixels pixels = cell.pixels.at(int64_t(row) * cell.stride);
  int32_t* farthest = cell.farthest + row * (cell.stride / kSegment);
  const int32_t last = (x1 - 1 - cell_x0) / kSegment;
  for (int32_t segment = (x0 - cell_x0) / kSegment; segment <= last; ++segment) {
    if (nearest > farthest[segment]) continue;
    const int32_t begin = max(x0, cell_x0 + segment * kSegment), end = min(x1, cell_x0 + (segment + 1) * kSegment);
    if (!cover_segment<Peel>(t, pixels.at(begin - cell_x0), begin, end, y, farthest[segment])) continue;
    const int32_t* depth = pixels.depth + segment * kSegment;
    int32_t most = kNearest;
    for (int32_t i = 0; i < kSegment; ++i) most = max(most, depth[i]);  // vectorized
    farthest[segment] = most;
  }
}

template <bool Peel>
GLR_FUNC void cover_large(const DepthCell& cell, const LargeTriangle& t) {
  const PixelBox& whole = t.polygon.box;
  const PixelBox box = {max(whole.x0, int64_t(cell.x0)), max(whole.y0, int64_t(cell.y0)),
                        min(whole.x1, int64_t(cell.x1)), min(whole.y1, int64_t(cell.y1))};
  if (box.width() <= 0 || box.height() <= 0) return;
  for_each_piece(t.polygon, box, [&](PieceEdges<int64_t> e) {
    for (int32_t y = int32_t(box.y0); y < int32_t(box.y1); ++y) {
      int64_t begin = 0, end = box.width();
      narrow_span(e.e0, &begin, &end);
      narrow_span(e.e1, &begin, &end);
      narrow_span(e.e2, &begin, &end);
      e.e0.value += e.e0.step_y, e.e1.value += e.e1.step_y, e.e2.value += e.e2.step_y;
      if (begin < end) cover_span<Peel>(cell, t, int32_t(box.x0 + begin), int32_t(box.x0 + end), y);
    }
  });
}

template <class T>
GLR_FUNC bool prepare_large(const T* pos, const VertexIndices& v, const ScreenGrid& g, int64_t cull, int32_t id,
                            LargeTriangle* out) {
  if (!prepare(pos, v, g, cull, &out->polygon)) return false;
  out->id = id;
  out->nearest = depth_bits(min(max(out->polygon.limits.nearest, -1.), 1.));
  if (out->polygon.has_fixed_depth) out->depth = fixed_depth(out->polygon);
  return true;
}
