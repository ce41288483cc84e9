// Software visibility: which triangle each pixel sees. Two passes over the triangles.
//   rasterize_triangles  clips and snaps every triangle, walks the small ones, counts the tiles of the large ones
//   rasterize_images     the same on the CPU where every thread can have images to itself: it needs no atomics
//   rasterize_tiles      walks the tiles of the large triangles, one work item per (triangle, tile)
//   rasterize_bands      the second pass on the CPU: one work item per band of image rows, all large triangles in it
// A covered pixel takes the minimum of 64-bit keys (depth, triangle id), so the result does not depend on the order.
// A band has its pixels to itself and needs no atomics: on two CPU cores three to eight times as fast as tiles.
// Source: edge functions on a fixed-point grid (Pineda 1988), homogeneous clipping (Sutherland and Hodgman 1974).
#include "common/depth_limits.cuh"
#include "common/facing.cuh"
#include "common/triangle_id.cuh"

template <class T>
struct RasterizeParams {
  const T* pos;                   // [N or 1, V, 4] clip space
  const int32_t* tri;             // [T, 3]
  const int64_t* item_start;      // [N + 1] range mode: work items before each image; null: T per image
  const int64_t* first_triangle;  // [N] range mode: first triangle of each image
  const uint64_t* previous;       // [N, H, W] only keys above these count (depth peeling); null: all count
  uint64_t* keys;                 // [N, H, W], all ones where nothing was drawn yet
  int64_t* tiles;                 // [num_items] tiles of each large triangle, 0 for others; later their running sum
  const int64_t* large;           // [num_large] the items that are left to rasterize_bands, in ascending order
  int64_t N, H, W, V, num_triangles, num_items, num_large;
  int64_t pos_stride;  // elements from one image's positions to the next; 0: shared
  int64_t cull;        // sign of the screen-space areas that are dropped; 0: none
};

constexpr int64_t kSubpixels = 256;        // grid steps per pixel
constexpr int64_t kGuardPixels = 1 << 20;  // coordinates up to here stay unclipped; beyond, x and y are clipped
// In images longer than 2^22 pixels the other axis is clipped nearer, so that edge functions stay below 2^63.
constexpr int64_t kGuardArea = int64_t(1) << 42;
constexpr int64_t kTileWidth = 32, kTileHeight = 8;  // pixels
// Triangles whose box has more pixels are left to the second pass. On a GPU the threads of a warp wait for the one
// with the largest box.
constexpr int64_t kSmallBox = kWarpSize > 1 ? 128 : 32 * 32;
constexpr int64_t kBandRows = 64;
constexpr int kMaxCorners = 7;  // three corners, and one more for each of the four guard planes

struct PixelBox {
  int64_t x0, y0, x1, y1;  // x0 <= x < x1
  GLR_MEMBER int64_t width() const { return x1 - x0; }
  GLR_MEMBER int64_t height() const { return y1 - y0; }
};

// What is left of one triangle after clipping, on the grid.
struct ScreenPolygon {
  int num_corners;
  int64_t x[kMaxCorners], y[kMaxCorners];  // 1/256 pixel, (0, 0) at the image's lower left corner
  PixelBox box;                            // of the pixels whose centres may be covered
  double depth, depth_x, depth_y;          // z/w at the centre of pixel (0, 0), and its change per pixel
  DepthLimits limits;                      // a sample just outside of a sliver must not shoot off along its plane
};

struct HomogeneousPoint {
  double x, y, w;
};

// Distance (scaled by w) from one of the four guard planes; positive inside.
GLR_FUNC double guard_distance(const HomogeneousPoint& v, int plane, double guard_x, double guard_y) {
  switch (plane) {
    case 0:
      return guard_x * v.w + v.x;
    case 1:
      return guard_x * v.w - v.x;
    case 2:
      return guard_y * v.w + v.y;
    default:
      return guard_y * v.w - v.y;
  }
}

// Sutherland-Hodgman against one plane. A cut is always computed from the inner towards the outer point, so that two
// triangles that share an edge cut it at the same place.
GLR_FUNC int clip_to_plane(const HomogeneousPoint* in, int count, int plane, double gx, double gy,
                           HomogeneousPoint* out) {
  int kept = 0;
  for (int i = 0; i < count && kept < kMaxCorners; ++i) {  // rounding may bend a polygon: never past the array's end
    const HomogeneousPoint &a = in[i], &b = in[i + 1 < count ? i + 1 : 0];
    const double da = guard_distance(a, plane, gx, gy), db = guard_distance(b, plane, gx, gy);
    if (da >= 0) out[kept++] = a;
    if ((da >= 0) != (db >= 0)) {
      const HomogeneousPoint &inner = da >= 0 ? a : b, &outer = da >= 0 ? b : a;
      const double di = da >= 0 ? da : db, t = di / (di - (da >= 0 ? db : da));
      out[kept++] = {inner.x + t * (outer.x - inner.x), inner.y + t * (outer.y - inner.y),
                     inner.w + t * (outer.w - inner.w)};
    }
  }
  return kept;
}

// The triangle on the grid: its corners, or the corners of its part with w > 0 near the view. The four guard planes
// together imply w >= 0. False if nothing is left.
GLR_FUNC bool snap_to_grid(const HomogeneousPoint* corners, int64_t W, int64_t H, ScreenPolygon* out) {
  const double guard_x = max(1., 2. * min(kGuardPixels, kGuardArea / H) / W);
  const double guard_y = max(1., 2. * min(kGuardPixels, kGuardArea / W) / H);
  HomogeneousPoint a[kMaxCorners + 1], b[kMaxCorners + 1];
  bool inside = true;
  for (int i = 0; i < 3; ++i) {
    a[i] = corners[i];
    inside &= a[i].w > 0 && fabs(a[i].x) <= guard_x * a[i].w && fabs(a[i].y) <= guard_y * a[i].w;
  }
  int count = 3;
  if (!inside) {
    count = clip_to_plane(a, count, 0, guard_x, guard_y, b);
    count = clip_to_plane(b, count, 1, guard_x, guard_y, a);
    count = clip_to_plane(a, count, 2, guard_x, guard_y, b);
    count = clip_to_plane(b, count, 3, guard_x, guard_y, a);
  }
  if (count < 3 || count > kMaxCorners) return false;
  const double scale_x = double(kSubpixels / 2) * W, scale_y = double(kSubpixels / 2) * H;
  int64_t x0 = INT64_MAX, y0 = INT64_MAX, x1 = INT64_MIN, y1 = INT64_MIN;
  for (int i = 0; i < count; ++i) {
    const double inverse_w = 1. / a[i].w, ndc_x = a[i].x * inverse_w, ndc_y = a[i].y * inverse_w;
    if (!(a[i].w > 0 && fabs(ndc_x) < 2 * guard_x && fabs(ndc_y) < 2 * guard_y)) return false;  // the eye itself
    const int64_t x = llrint(ndc_x * scale_x) + kSubpixels / 2 * W;
    const int64_t y = llrint(ndc_y * scale_y) + kSubpixels / 2 * H;
    out->x[i] = x, out->y[i] = y;
    x0 = min(x0, x), x1 = max(x1, x), y0 = min(y0, y), y1 = max(y1, y);
  }
  out->num_corners = count;
  // Pixel p has its centre at 256 p + 128.
  out->box = {max((x0 + 127) >> 8, int64_t(0)), max((y0 + 127) >> 8, int64_t(0)), min((x1 + 128) >> 8, W),
              min((y1 + 128) >> 8, H)};
  return out->box.width() > 0 && out->box.height() > 0;
}

// z/w is linear on the screen: (sum a_i z_i) / (sum a_i w_i), whose denominator is constant. False if it is zero.
GLR_FUNC bool depth_plane(const double* x, const double* y, const double* z, const double* w, int64_t W, int64_t H,
                          ScreenPolygon* out) {
  double c = 0, cx = 0, cy = 0, det = 0;
  for (int i = 0; i < 3; ++i) {
    const int j = i == 2 ? 0 : i + 1, k = i == 0 ? 2 : i - 1;
    const double a = x[j] * y[k] - x[k] * y[j];
    c += z[i] * a, det += w[i] * a;
    cx += z[i] * (w[k] * y[j] - w[j] * y[k]);
    cy += z[i] * (x[k] * w[j] - x[j] * w[k]);
  }
  const double pixel_x = 1. / W, pixel_y = 1. / H, inverse = 1. / det;
  out->depth = (c + cx * (pixel_x - 1.) + cy * (pixel_y - 1.)) * inverse;
  out->depth_x = cx * inverse * 2. * pixel_x, out->depth_y = cy * inverse * 2. * pixel_y;
  return det != 0 && isfinite(out->depth) && isfinite(out->depth_x) && isfinite(out->depth_y);
}

struct ItemTarget {
  int64_t image;
  int32_t triangle;
};

template <class T>
GLR_FUNC ItemTarget item_target(const RasterizeParams<T>& p, int64_t item) {
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

// Everything that the walk needs about a triangle; false if it cannot be seen: a bad index, a position that is not
// finite, no area, edge-on, the culled side, or outside of the view volume.
template <class T>
GLR_FUNC bool prepare(const RasterizeParams<T>& p, const ItemTarget& target, ScreenPolygon* out) {
  VertexIndices v;
  if (!load_triangle(p.tri, p.num_triangles, p.V, target.triangle, &v)) return false;
  const T* pos = p.pos + target.image * p.pos_stride;
  const int64_t index[3] = {v.v0, v.v1, v.v2};
  double x[3], y[3], z[3], w[3];
  bool none_nearer = true, none_farther = true, any_w_positive = false, finite = true;
  for (int i = 0; i < 3; ++i) {
    const T* corner = pos + index[i] * 4;
    x[i] = corner[0], y[i] = corner[1], z[i] = corner[2], w[i] = corner[3];
    finite &= isfinite(x[i]) && isfinite(y[i]) && isfinite(z[i]) && isfinite(w[i]);
    any_w_positive |= w[i] > 0;
    none_nearer &= z[i] > w[i], none_farther &= z[i] < -w[i];
  }
  if (!finite || !any_w_positive || none_nearer || none_farther) return false;
  const HomogeneousPoint corners[3] = {{x[0], y[0], w[0]}, {x[1], y[1], w[1]}, {x[2], y[2], w[2]}};
  if (!snap_to_grid(corners, p.W, p.H, out) || !depth_plane(x, y, z, w, p.W, p.H, out)) return false;
  const Facing facing = facing_of<T>(x, y, z, w);
  out->limits = depth_limits(z, w);
  return can_be_seen(facing) && (p.cull == 0 || (p.cull > 0) != (facing == Facing::kCounterClockwise));
}

// One side of a triangle in counter-clockwise order; a sample is inside where all three are >= 0.
struct EdgeFunction {
  int64_t value, step_x, step_y;  // at the walk's first sample, and per pixel

  GLR_MEMBER EdgeFunction(int64_t ax, int64_t ay, int64_t bx, int64_t by, int64_t sample_x, int64_t sample_y) {
    const int64_t dx = bx - ax, dy = by - ay;
    value = dx * (sample_y - ay) - dy * (sample_x - ax);
    step_x = -dy * kSubpixels, step_y = dx * kSubpixels;
    // The top-left rule of graphics hardware, which takes row 0 of a framebuffer object for its top: samples exactly
    // on a left (downward) or lower (rightward) side are inside, those on other sides belong to the neighbour.
    const bool owns_samples = dy < 0 || (dy == 0 && dx > 0);
    if (!owns_samples) value -= 1;
  }
};

// Depth in the upper half as a fixed-point number, id in the lower half.
GLR_FUNC uint64_t depth_key(double depth, int32_t triangle) {
  return uint64_t(uint32_t(int32_t(depth * 2147483647.)) ^ 0x80000000u) << 32 | uint32_t(triangle);
}

// Offers a triangle's depth to one pixel, which other threads may write at the same time if it is `Shared`.
template <bool Shared>
GLR_FUNC void cover_pixel(double depth, int32_t triangle, const uint64_t* previous, uint64_t* key) {
  if (!(depth >= -1 && depth <= 1)) return;
  const uint64_t mine = depth_key(depth, triangle);
  if (previous && mine <= *previous) return;
  if (Shared) {
    atomic_min_u64(key, mine);
  } else {
    *key = min(*key, mine);
  }
}

// The sides of the piece of a polygon with corners 0, i and i + 1.
struct PieceEdges {
  EdgeFunction e0, e1, e2;
};

GLR_FUNC PieceEdges piece_edges(const ScreenPolygon& s, int i, bool clockwise, const PixelBox& box) {
  const int b = clockwise ? i + 1 : i, c = clockwise ? i : i + 1;
  const int64_t x = box.x0 * kSubpixels + kSubpixels / 2, y = box.y0 * kSubpixels + kSubpixels / 2;
  return {EdgeFunction(s.x[0], s.y[0], s.x[b], s.y[b], x, y), EdgeFunction(s.x[b], s.y[b], s.x[c], s.y[c], x, y),
          EdgeFunction(s.x[c], s.y[c], s.x[0], s.y[0], x, y)};
}

// Calls visit(edges) for every piece of a polygon that has an area.
template <class Visit>
GLR_FUNC void for_each_piece(const ScreenPolygon& s, const PixelBox& box, const Visit& visit) {
  for (int i = 1; i + 1 < s.num_corners; ++i) {
    const int64_t area = (s.x[i] - s.x[0]) * (s.y[i + 1] - s.y[0]) - (s.y[i] - s.y[0]) * (s.x[i + 1] - s.x[0]);
    if (area != 0) visit(piece_edges(s, i, area < 0, box));
  }
}

// Covers the pixels of `box` whose centres lie in the polygon, testing each one.
template <bool Shared, class T>
GLR_FUNC void walk(const RasterizeParams<T>& p, const ScreenPolygon& s, const ItemTarget& target, const PixelBox& box) {
  const double depth_x = s.depth_x;
  const DepthLimits limits = s.limits;
  for_each_piece(s, box, [&](PieceEdges e) {
    for (int64_t py = box.y0; py < box.y1; ++py) {
      const int64_t row = (target.image * p.H + py) * p.W;
      uint64_t* keys = p.keys + row;
      const uint64_t* previous = p.previous ? p.previous + row : nullptr;
      const double depth = s.depth + s.depth_y * py;
      int64_t v0 = e.e0.value, v1 = e.e1.value, v2 = e.e2.value;
      for (int64_t px = box.x0; px < box.x1; ++px) {
        if ((v0 | v1 | v2) >= 0)
          cover_pixel<Shared>(limits.clamp(depth + depth_x * px), target.triangle, previous ? previous + px : nullptr,
                              keys + px);
        v0 += e.e0.step_x, v1 += e.e1.step_x, v2 += e.e2.step_x;
      }
      e.e0.value += e.e0.step_y, e.e1.value += e.e1.step_y, e.e2.value += e.e2.step_y;
    }
  });
}

// Narrows the pixels [begin, end), counted from the walk's first, to those inside of one side.
GLR_FUNC void narrow_span(const EdgeFunction& e, int64_t* begin, int64_t* end) {
  if (e.step_x > 0) {
    if (e.value < 0) *begin = max(*begin, (e.step_x - 1 - e.value) / e.step_x);
  } else if (e.value < 0) {
    *end = *begin;
  } else if (e.step_x < 0) {
    *end = min(*end, e.value / -e.step_x + 1);
  }
}

// Covers `count` neighbouring pixels, `depth` and `depth_x` at the first one, that no other thread writes.
GLR_FUNC void cover_span(double depth, double depth_x, const DepthLimits& limits, int32_t triangle,
                         const uint64_t* previous, uint64_t* keys, int32_t count) {
  if (previous) {
    for (int32_t i = 0; i < count; ++i)
      cover_pixel<false>(limits.clamp(depth + depth_x * i), triangle, previous + i, keys + i);
    return;
  }
  for (int32_t i = 0; i < count; ++i) {  // vectorized
    const double d = limits.clamp(depth + depth_x * i), inside = min(max(d, -1.), 1.);
    const uint64_t mine = d == inside ? depth_key(inside, triangle) : ~0ull;
    keys[i] = mine < keys[i] ? mine : keys[i];
  }
}

// As walk, for a box that no other thread touches: finds the covered part of each row at once.
template <class T>
GLR_FUNC void walk_alone(const RasterizeParams<T>& p, const ScreenPolygon& s, const ItemTarget& target,
                         const PixelBox& box) {
  for_each_piece(s, box, [&](PieceEdges e) {
    for (int64_t py = box.y0; py < box.y1; ++py) {
      int64_t begin = 0, end = box.width();
      narrow_span(e.e0, &begin, &end);
      narrow_span(e.e1, &begin, &end);
      narrow_span(e.e2, &begin, &end);
      const int64_t px = box.x0 + begin, pixel = (target.image * p.H + py) * p.W + px;
      const double depth = s.depth + s.depth_y * py + s.depth_x * px;
      cover_span(depth, s.depth_x, s.limits, target.triangle, p.previous ? p.previous + pixel : nullptr, p.keys + pixel,
                 int32_t(end - begin));
      e.e0.value += e.e0.step_y, e.e1.value += e.e1.step_y, e.e2.value += e.e2.step_y;
    }
  });
}

GLR_FUNC int64_t tiles_across(const PixelBox& box) { return (box.width() + kTileWidth - 1) / kTileWidth; }
GLR_FUNC int64_t tiles_of(const PixelBox& box) {
  return tiles_across(box) * ((box.height() + kTileHeight - 1) / kTileHeight);
}

// The work items of one image are neighbours.
struct ItemRange {
  int64_t begin, end;
};

template <class T>
GLR_FUNC ItemRange items_of(const RasterizeParams<T>& p, int64_t image) {
  if (p.item_start) return {p.item_start[image], p.item_start[image + 1]};
  return {image * p.num_triangles, (image + 1) * p.num_triangles};
}

template <bool Shared, class T>
GLR_FUNC void rasterize_triangle(const RasterizeParams<T>& p, int64_t item, const ItemTarget& target) {
  ScreenPolygon s;
  int64_t tiles = 0;
  if (prepare(p, target, &s)) {
    if (s.box.width() * s.box.height() <= kSmallBox) {
      walk<Shared>(p, s, target, s.box);
    } else {
      tiles = tiles_of(s.box);
    }
  }
  p.tiles[item] = tiles;
}

template <class T>
GLR_KERNEL rasterize_triangles(const RasterizeParams<T>& p) {
  GLR_FOR_EACH(item, p.num_items) rasterize_triangle<true>(p, item, item_target(p, item));
}
GLR_EXPORT(rasterize_triangles, RasterizeParams)

template <class T>
GLR_KERNEL rasterize_images(const RasterizeParams<T>& p) {
  GLR_FOR_EACH(image, p.N) {
    const ItemRange items = items_of(p, image);
    const int64_t first = p.item_start ? p.first_triangle[image] : 0;
    for (int64_t item = items.begin; item < items.end; ++item)
      rasterize_triangle<false>(p, item, {image, int32_t(first + item - items.begin)});
  }
}
GLR_EXPORT(rasterize_images, RasterizeParams)

// On a GPU a warp shares a tile, each thread with its own columns: neighbouring threads touch neighbouring keys.
template <class T>
GLR_KERNEL rasterize_tiles(const RasterizeParams<T>& p) {
  constexpr int64_t columns = kTileWidth / kWarpSize;
  GLR_FOR_EACH(slot, p.tiles[p.num_items - 1] * kWarpSize) {
    const int64_t work = slot / kWarpSize, lane = slot % kWarpSize;
    int64_t low = 0, high = p.num_items - 1;  // the first triangle whose running sum exceeds the work index
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (p.tiles[middle] > work) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    const int64_t tile = work - (low > 0 ? p.tiles[low - 1] : 0);
    const ItemTarget target = item_target(p, low);
    ScreenPolygon s;
    if (!prepare(p, target, &s)) continue;
    const int64_t across = tiles_across(s.box), row = tile / across;
    const int64_t x0 = s.box.x0 + (tile - row * across) * kTileWidth + lane * columns;
    const int64_t y0 = s.box.y0 + row * kTileHeight;
    walk<true>(p, s, target, {x0, y0, min(x0 + columns, s.box.x1), min(y0 + kTileHeight, s.box.y1)});
  }
}
GLR_EXPORT(rasterize_tiles, RasterizeParams)

template <class T>
GLR_KERNEL rasterize_bands(const RasterizeParams<T>& p) {
  const int64_t bands = (p.H + kBandRows - 1) / kBandRows;
  GLR_FOR_EACH(work, p.N * bands) {
    const int64_t image = work / bands, y0 = work % bands * kBandRows, y1 = min(y0 + kBandRows, p.H);
    const ItemRange items = items_of(p, image);
    int64_t low = 0, high = p.num_large;  // the first large item of this image
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (p.large[middle] < items.begin) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    for (; low < p.num_large && p.large[low] < items.end; ++low) {
      const ItemTarget target = item_target(p, p.large[low]);
      ScreenPolygon s;
      if (!prepare(p, target, &s)) continue;
      const PixelBox box = {s.box.x0, max(s.box.y0, y0), s.box.x1, min(s.box.y1, y1)};
      if (box.height() > 0) walk_alone(p, s, target, box);
    }
  }
}
GLR_EXPORT(rasterize_bands, RasterizeParams)
