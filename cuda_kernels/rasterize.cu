// Software visibility: which triangle each pixel sees.
// On a GPU
//   rasterize_vertices   rounds every vertex to the grid, and clears what the others write to
//   rasterize_triangles  walks the small triangles, and leaves the others, and those it cannot decide about (to be
//                        clipped, at the near or far plane, edge-on to rounding), to
//   rasterize_left       which sets them up and appends them, piece by piece, to a list
//   rasterize_tiles      walks the tiles of the pieces in the list, one work item per (piece, tile)
// A covered pixel takes the minimum of 64-bit keys (depth, triangle id), so the result does not depend on the order.
// On the host one entry, rasterize_cells, which draws cell after cell of the images in a processor's cache: see
// common/image_cells.cuh. What is seen is equal to the last bit.
#include "common/lane_runs.cuh"
#include "common/screen_polygon.cuh"
#include "common/tile_records.cuh"

template <class T>
struct RasterizeParams {
  const T* pos;                   // [N or 1, V, 4] clip space
  const int32_t* tri;             // [T, 3]
  const int64_t* item_start;      // [N + 1] range mode: work items before each image; null: T per image
  const int64_t* first_triangle;  // [N] range mode: first triangle of each image
  const uint64_t* previous;       // [N, H, W] only keys above these count (depth peeling); null: all count
  uint64_t* keys;                 // [N, H, W], all ones where nothing is seen
  int32_t* ids;                   // [N, H, W] in their place, on the host
  int64_t* snapped;               // [N or 1, V, 2] of type SnappedVertex
  int64_t* left;                  // [most_left] items for rasterize_left
  int64_t* records;               // [most_records, 20] of type TileRecord
  uint64_t* counters;             // [2] of items in `left`; of records (upper 24 bits) and their tiles
  int64_t* failed;                // [1] on the host: set where there is not enough memory
  int64_t N, H, W, V, num_triangles, num_items;
  int64_t most_left, most_records;
  int64_t pos_stride;                         // elements from one image's positions to the next; 0: shared
  int64_t cull;                               // sign of the screen-space areas that are dropped; 0: none
  double guard_x, guard_y, pixel_x, pixel_y;  // of ScreenGrid
};

// Triangles whose box has more pixels are walked by tiles: the threads of a warp wait for the one with the largest box.
// The least time in all on an H200, in scenes of 1,000 to 1,000,000 triangles; each of them is within a third of its
// own best, or 10 microseconds.
constexpr int64_t kSmallBox = 256;

template <class T>
GLR_FUNC ScreenGrid grid_of(const RasterizeParams<T>& p) {
  return {p.W, p.H, p.guard_x, p.guard_y, p.pixel_x, p.pixel_y};
}

struct GLR_VECTOR KeyPair {
  uint64_t first, second;
};

struct ItemTarget {
  int64_t image;
  int32_t triangle;
};

template <class T>
GLR_FUNC ItemTarget item_target(const RasterizeParams<T>& p, int64_t item) {
  if (!p.item_start && p.num_items <= INT32_MAX) {  // a division of 64 bits is a long call on a GPU
    const uint32_t image = uint32_t(item) / uint32_t(p.num_triangles);
    return {int64_t(image), int32_t(uint32_t(item) - image * uint32_t(p.num_triangles))};
  }
  if (!p.item_start) return {item / p.num_triangles, int32_t(item % p.num_triangles)};
  int64_t low = 0, high = p.N - 1;  // the last image that starts at or before the item
  while (low < high) {
    const int64_t middle = (low + high + 1) / 2;
    if (p.item_start[middle] <= item) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return {low, int32_t(p.first_triangle[low] + item - p.item_start[low])};
}

// Depth in the upper half, in the order of its bits, id in the lower half.
GLR_FUNC uint64_t depth_key(int32_t depth, int32_t triangle) {
  return uint64_t(uint32_t(depth) ^ 0x80000000u) << 32 | uint32_t(triangle);
}

// Offers a triangle to a pixel, to which other threads may write at the same time.
template <class T>
GLR_FUNC void offer(const RasterizeParams<T>& p, int64_t pixel, int32_t depth, int32_t triangle) {
  const uint64_t key = depth_key(depth, triangle);
  if (!p.previous || key > p.previous[pixel]) atomic_min_u64(p.keys + pixel, key);
}

// The loop is over pairs of pixels, or over vertices where these are more.
template <class T>
GLR_KERNEL rasterize_vertices(const RasterizeParams<T>& p) {
  const ScreenGrid g = grid_of(p);
  const int64_t vertices = p.pos_stride ? p.N * p.V : p.V, pixels = p.N * p.H * p.W;
  SnappedVertex* snapped = reinterpret_cast<SnappedVertex*>(p.snapped);
  GLR_FOR_EACH(i, max(vertices, (pixels + 1) / 2)) {
    if (i == 0) p.counters[0] = p.counters[1] = 0;
    if (2 * i + 1 < pixels)
      reinterpret_cast<KeyPair*>(p.keys)[i] = {~uint64_t(0), ~uint64_t(0)};
    else if (2 * i < pixels)
      p.keys[2 * i] = ~uint64_t(0);
    if (i < vertices) snapped[i] = snap_vertex(g, p.pos + i * 4);
  }
}
GLR_EXPORT(rasterize_vertices, RasterizeParams)

// Whether a triangle with all corners in front of the eye, of so much area on the grid, has determinants of both the
// sign of that area and a size that is certain (facing.cuh), so that they need not be computed. S = sum over the sides
// of |dx| + |dy|, in grid steps, tells of both what rounding to the grid has made, 1.02 S + 3, and what is no certain
// size: 2^-22 of (the largest coordinate) (S + 7), in units of the view, which are 128 W or 128 H steps.
GLR_FUNC bool has_certain_sign(int32_t area, int32_t sides, float pixels) {
  return fabsf(float(area)) > (1.25f + 0x1p-13f * pixels) * float(sides + 8);
}

// The longer side of the image, times the largest coordinate of small triangles that are seen.
template <class T>
GLR_FUNC float far_pixels(const RasterizeParams<T>& p) {
  const float longer = float(int32_t(max(p.W, p.H))), shorter = float(int32_t(min(p.W, p.H)));
  return longer + longer * float(2 * kSmallExtent / kSubpixels) / shorter;
}

enum class Found { kUnseen, kSmall, kLeft };

// A small triangle on the grid, with fixed-point depths, that faces one way for certain.
struct SmallTriangle {
  int32_t x0, y0, x1, y1;  // its box
  PieceEdges<int32_t> edges;
  FixedDepth depth;
};

// As `prepare`, for small triangles that need neither clipping nor a second look: others are left.
template <class T>
GLR_FUNC Found find_small(const RasterizeParams<T>& p, const ItemTarget& target, SmallTriangle* out) {
  VertexIndices v;
  if (!load_triangle(p.tri, p.num_triangles, p.V, target.triangle, &v)) return Found::kUnseen;
  const SnappedVertex* snapped = reinterpret_cast<const SnappedVertex*>(p.snapped) + target.image * (p.pos_stride / 4);
  const SnappedVertex a = snapped[v.v0], b = snapped[v.v1], c = snapped[v.v2];
  const int32_t left = min(a.x, min(b.x, c.x)), right = max(a.x, max(b.x, c.x));
  const int32_t low = min(a.y, min(b.y, c.y)), high = max(a.y, max(b.y, c.y));
  if (left == kOffGrid) return Found::kLeft;
  out->x0 = max(first_pixel(left), 0), out->x1 = min(pixel_past(right), int32_t(p.W));
  out->y0 = max(first_pixel(low), 0), out->y1 = min(pixel_past(high), int32_t(p.H));
  if (out->x0 >= out->x1 || out->y0 >= out->y1) return Found::kUnseen;
  if (right - left >= kSmallExtent || high - low >= kSmallExtent) return Found::kLeft;
  if ((out->x1 - out->x0) * (out->y1 - out->y0) > kSmallBox) return Found::kLeft;
  const int32_t area = grid_area(a.x, a.y, b.x, b.y, c.x, c.y);
  if (area == 0) return Found::kUnseen;
  if (sizeof(T) == 4) {  // of float64, determinants may be too small for any certainty
    const int32_t sides =
        abs(b.x - a.x) + abs(c.x - b.x) + abs(a.x - c.x) + abs(b.y - a.y) + abs(c.y - b.y) + abs(a.y - c.y);
    if (!has_certain_sign(area, sides, far_pixels(p))) return Found::kLeft;
    if (p.cull != 0 && (area > 0) == (p.cull > 0)) return Found::kUnseen;
  }
  const SnappedVertex second = area < 0 ? c : b, third = area < 0 ? b : c;
  out->edges = piece_edges(a.x, a.y, second.x, second.y, third.x, third.y, out->x0, out->y0);
  const T* pos = p.pos + target.image * p.pos_stride;
  const Vec4<T> p0 = load4(pos + int64_t(v.v0) * 4), p1 = load4(pos + int64_t(v.v1) * 4);
  const Vec4<T> p2 = load4(pos + int64_t(v.v2) * 4);
  if (p0.z > p0.w && p1.z > p1.w && p2.z > p2.w) return Found::kUnseen;
  if (p0.z < -p0.w && p1.z < -p1.w && p2.z < -p2.w) return Found::kUnseen;
  const double x[3] = {p0.x, p1.x, p2.x}, y[3] = {p0.y, p1.y, p2.y}, z[3] = {p0.z, p1.z, p2.z};
  const double w[3] = {p0.w, p1.w, p2.w};
  const DepthLimits limits = {min(a.depth, min(b.depth, c.depth)), max(a.depth, max(b.depth, c.depth))};
  if (sizeof(T) == 8) {
    const Determinant det = determinant<T>(x, y, w);
    if (!det.is_certain()) return Found::kLeft;
    if (det.value * double(p.cull) > 0) return Found::kUnseen;
  }
  const DepthPlane plane = depth_plane(x, y, z, w, grid_of(p));
  const double first = first_depth(plane, out->x0, out->y0);
  if (!fits_fixed(plane, limits, first, out->x1 - out->x0, out->y1 - out->y0)) return Found::kLeft;
  out->depth = fixed_depth(plane, limits, first);
  return Found::kSmall;
}

// One pixel after the other, in integers that are stepped by addition.
template <class T>
GLR_FUNC void walk_small(const RasterizeParams<T>& p, const ItemTarget& target, const SmallTriangle& t) {
  PieceEdges<int32_t> e = t.edges;
  const int32_t width = t.x1 - t.x0;
  int64_t row = (target.image * p.H + t.y0) * p.W + t.x0;
  uint64_t row_depth = t.depth.first;
  for (int32_t y = t.y0; y < t.y1; ++y) {
    int32_t v0 = e.e0.value, v1 = e.e1.value, v2 = e.e2.value;
    uint64_t depth = row_depth;
    for (int32_t i = 0; i < width; ++i) {
      if ((v0 | v1 | v2) >= 0) offer(p, row + i, t.depth.clamp(depth), target.triangle);
      v0 += e.e0.step_x, v1 += e.e1.step_x, v2 += e.e2.step_x, depth += t.depth.step_x;
    }
    e.e0.value += e.e0.step_y, e.e1.value += e.e1.step_y, e.e2.value += e.e2.step_y;
    row += p.W, row_depth += t.depth.step_y;
  }
}

template <class T>
GLR_KERNEL rasterize_triangles(const RasterizeParams<T>& p) {
  GLR_FOR_EACH(item, p.num_items) {
    const ItemTarget target = item_target(p, item);
    SmallTriangle t = {};
    const Found found = find_small(p, target, &t);
    if (found == Found::kSmall) walk_small(p, target, t);
    if (found != Found::kLeft) continue;
    const int64_t index = int64_t(atomic_add_u64(p.counters, 1));
    if (index < p.most_left) p.left[index] = item;
  }
}
GLR_EXPORT(rasterize_triangles, RasterizeParams)

// Columns x0 to x1 and rows y0 to y1 of a record's box.
template <class T>
GLR_FUNC void walk_record(const RasterizeParams<T>& p, const TileRecord& r, int64_t x0, int64_t y0, int64_t x1,
                          int64_t y1) {
  for (int64_t x = x0; x < x1; ++x) {
    int64_t v0 = r.value[0] + r.step_x[0] * x + r.step_y[0] * y0, v1 = r.value[1] + r.step_x[1] * x + r.step_y[1] * y0;
    int64_t v2 = r.value[2] + r.step_x[2] * x + r.step_y[2] * y0, pixel = r.first_pixel + y0 * p.W + x;
    if (r.is_fixed) {
      const FixedDepth& f = r.depth.fixed;
      uint64_t depth = f.first + f.step_x * uint64_t(x) + f.step_y * uint64_t(y0);
      for (int64_t y = y0; y < y1; ++y) {
        if ((v0 | v1 | v2) >= 0) offer(p, pixel, f.clamp(depth), r.triangle);
        v0 += r.step_y[0], v1 += r.step_y[1], v2 += r.step_y[2], depth += f.step_y, pixel += p.W;
      }
    } else {
      const ExactDepth& d = r.depth.exact;
      for (int64_t y = y0; y < y1; ++y) {
        const double depth =
            d.limits.clamp(d.plane.at + d.plane.y * double(int32_t(r.y0 + y)) + d.plane.x * double(int32_t(r.x0 + x)));
        if ((v0 | v1 | v2) >= 0 && depth >= -1 && depth <= 1) offer(p, pixel, depth_bits(depth), r.triangle);
        v0 += r.step_y[0], v1 += r.step_y[1], v2 += r.step_y[2], pixel += p.W;
      }
    }
  }
}

// Where a thread's next record goes, and which tile of all those in the list is its first.
struct ListPlace {
  int64_t record, tile;
};

// Makes room in the list for a number of records of so many tiles each; on a GPU for all lanes of the warp together.
// What does not fit begins behind the last place.
template <class T>
GLR_FUNC ListPlace make_room(const RasterizeParams<T>& p, int32_t records, int64_t tiles) {
  uint64_t added = uint64_t(records) << kTileBits | uint64_t(records * tiles), before = 0;
#ifdef GLR_WARP_SIZE
  const int lane = threadIdx.x % GLR_WARP_SIZE;
  const uint64_t own = added;
  for (int step = 1; step < GLR_WARP_SIZE; step *= 2) {
    const uint64_t lower = __shfl_up_sync(kAllLanes, static_cast<unsigned long long>(added), step);
    if (lane >= step) added += lower;
  }
  before = added - own;
  added = __shfl_sync(kAllLanes, static_cast<unsigned long long>(added), GLR_WARP_SIZE - 1);
  const bool adds = lane == 0;
#else
  const bool adds = true;
#endif
  uint64_t start = 0;
  if (adds && added > 0) {  // a full list is not even counted: the number must fit its bits
    const bool full = int64_t(p.counters[1] >> kTileBits) >= p.most_records;
    start = full ? uint64_t(p.most_records) << kTileBits : atomic_add_u64(p.counters + 1, added);
  }
#ifdef GLR_WARP_SIZE
  start = __shfl_sync(kAllLanes, static_cast<unsigned long long>(start), 0);
#endif
  return {int64_t((start + before) >> kTileBits), int64_t((start + before) & kTileMask)};
}

// The polygon of an item of the list of those left, or of all items where that is not complete.
template <class T>
GLR_FUNC bool find_left(const RasterizeParams<T>& p, int64_t i, bool complete, ItemTarget* target, ScreenPolygon* s) {
  *target = item_target(p, complete ? p.left[i] : i);
  SmallTriangle small = {};
  if (!complete && find_small(p, *target, &small) != Found::kLeft) return false;
  VertexIndices v;
  return load_triangle(p.tri, p.num_triangles, p.V, target->triangle, &v) &&
         prepare(p.pos + target->image * p.pos_stride, v, grid_of(p), p.cull, s);
}

template <class T>
GLR_KERNEL rasterize_left(const RasterizeParams<T>& p) {
  TileRecord* records = reinterpret_cast<TileRecord*>(p.records);
  const int64_t count = int64_t(p.counters[0]);
  const bool complete = count <= p.most_left;  // else all items are gone through again
  const int64_t items = complete ? count : p.num_items;
  GLR_FOR_EACH_TOGETHER(i, items) {
    ItemTarget target = {};
    ScreenPolygon s = {};
    int32_t pieces = 0;
    const bool found = i < items && find_left(p, i, complete, &target, &s);
    if (found) for_each_piece(s, s.box, [&](const PieceEdges<int64_t>&) { ++pieces; });
    ListPlace place = make_room(p, pieces, found ? tiles_of(s.box.width(), s.box.height()) : 0);
    if (pieces == 0) continue;
    for_each_piece(s, s.box, [&](const PieceEdges<int64_t>& e) {
      TileRecord r = record_of(e, s.box, target.image * p.H * p.W, p.W, target.triangle);
      r.is_fixed = s.has_fixed_depth;
      if (r.is_fixed) {
        r.depth.fixed = fixed_depth(s);
      } else {
        r.depth.exact = {s.plane, s.limits};
      }
      if (place.record < p.most_records) {
        r.first_tile = place.tile;
        records[place.record] = r;
      } else {  // there is no room
        walk_record(p, r, 0, 0, r.width, r.height);
      }
      ++place.record, place.tile += r.tiles();
    });
  }
}
GLR_EXPORT(rasterize_left, RasterizeParams)

// The record to which a tile belongs: the last that starts at or before it.
GLR_FUNC int64_t record_of_tile(const TileRecord* records, int64_t count, int64_t tile) {
  int64_t low = 0, high = count - 1;
  while (low < high) {
    const int64_t middle = (low + high + 1) / 2;
    if (records[middle].first_tile <= tile) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

// On a GPU a warp shares a tile, each thread with its own columns: neighbouring threads touch neighbouring keys. A warp
// takes several tiles in a row, and searches for the first one's record only: a search waits for memory at each step.
template <class T>
GLR_KERNEL rasterize_tiles(const RasterizeParams<T>& p) {
  constexpr int64_t columns = kTileWidth / kWarpSize, enough_rows = 8192, most_in_row = 16;
  const TileRecord* records = reinterpret_cast<const TileRecord*>(p.records);
  const int64_t count = min(int64_t(p.counters[1] >> kTileBits), p.most_records);
  const int64_t tiles = count > 0 ? records[count - 1].first_tile + records[count - 1].tiles() : 0;
  const int64_t in_row = min(max(tiles / enough_rows, int64_t(1)), most_in_row);
  GLR_FOR_EACH(slot, (tiles + in_row - 1) / in_row * kWarpSize) {
    const int64_t first = slot / kWarpSize * in_row, lane = slot % kWarpSize;
    int64_t record = record_of_tile(records, count, first);
    for (int64_t work = first; work < min(first + in_row, tiles); ++work) {
      while (record + 1 < count && records[record + 1].first_tile <= work) ++record;
      const TileRecord& r = records[record];
      const int64_t across = tiles_across(r.width), tile = work - r.first_tile;
      const int64_t row = tile <= INT32_MAX ? int64_t(uint32_t(tile) / uint32_t(across)) : tile / across;
      const int64_t x0 = (tile - row * across) * kTileWidth, y0 = row * kTileHeight;
      if (r.is_beside(x0, y0)) continue;
      walk_record(p, r, x0 + lane * columns, y0, min(x0 + (lane + 1) * columns, int64_t(r.width)),
                  min(y0 + kTileHeight, int64_t(r.height)));
    }
  }
}
GLR_EXPORT(rasterize_tiles, RasterizeParams)

#ifndef GLR_WARP_SIZE

#include "common/image_cells.cuh"

template <class T>
GLR_KERNEL rasterize_cells(const RasterizeParams<T>& p) {
  try {
    draw_images(p);
  } catch (const std::bad_alloc&) {
    *p.failed = 1;
  }
}
GLR_EXPORT(rasterize_cells, RasterizeParams)

GLR_HOST_ENTRY void glr_release_scratch() { Scratch::release(); }

#endif
