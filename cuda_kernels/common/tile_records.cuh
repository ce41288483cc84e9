// A triangle, or a piece of one, that is walked by tiles: all that its tiles need to know, computed once.
#pragma once

#include "screen_depth.cuh"

constexpr int64_t kTileWidth = 32, kTileHeight = 8;  // pixels
constexpr int kTileBits = 40;                        // of the counter of records and tiles, for the tiles
constexpr uint64_t kTileMask = (uint64_t(1) << kTileBits) - 1;

GLR_FUNC int64_t tiles_across(int64_t width) { return (width + kTileWidth - 1) / kTileWidth; }
GLR_FUNC int64_t tiles_of(int64_t width, int64_t height) {
  return tiles_across(width) * ((height + kTileHeight - 1) / kTileHeight);
}

struct ExactDepth {
  DepthPlane plane;
  DepthLimits limits;
};

struct TileRecord {
  int64_t first_tile;                      // of all those in the list
  int64_t first_pixel;                     // of its box, in the minibatch
  int64_t value[3], step_x[3], step_y[3];  // edge functions at that pixel
  int64_t x0, y0;                          // that pixel in its image
  int32_t width, height;                   // of the box, in pixels
  int32_t triangle, is_fixed;
  union {
    FixedDepth fixed;
    ExactDepth exact;
  } depth;

  GLR_MEMBER int64_t tiles() const { return tiles_of(width, height); }

  // Whether a tile lies wholly outside of one side.
  GLR_MEMBER bool is_beside(int64_t x, int64_t y) const {
    bool beside = false;
    for (int k = 0; k < 3; ++k) {
      const int64_t most = value[k] + step_x[k] * (step_x[k] > 0 ? x + kTileWidth - 1 : x) +
                           step_y[k] * (step_y[k] > 0 ? y + kTileHeight - 1 : y);
      beside |= most < 0;
    }
    return beside;
  }
};
static_assert(sizeof(TileRecord) == 20 * 8, "what RasterizeParams says");

GLR_FUNC TileRecord record_of(const PieceEdges<int64_t>& e, const PixelBox& box, int64_t image, int64_t W,
                              int32_t triangle) {
  TileRecord r;
  r.first_tile = 0, r.first_pixel = image + box.y0 * W + box.x0;
  r.x0 = box.x0, r.y0 = box.y0, r.width = int32_t(box.width()), r.height = int32_t(box.height());
  r.triangle = triangle;
  const EdgeFunction<int64_t>* sides[3] = {&e.e0, &e.e1, &e.e2};
  for (int k = 0; k < 3; ++k)
    r.value[k] = sides[k]->value, r.step_x[k] = sides[k]->step_x, r.step_y[k] = sides[k]->step_y;
  return r;
}
