// A triangle of any size and position, ready to be walked: what clipping leaves of it, and its depth.
// Source: homogeneous clipping (Sutherland and Hodgman 1974).
#pragma once

#include "facing.cuh"
#include "screen_depth.cuh"
#include "triangle_id.cuh"

constexpr int kMaxCorners = 7;  // three corners, and one more for each of the four guard planes

// What is left of one triangle after clipping, on the grid.
struct ScreenPolygon {
  int num_corners;
  int64_t x[kMaxCorners], y[kMaxCorners];
  PixelBox box;  // of the pixels whose centres may be covered
  DepthPlane plane;
  DepthLimits limits;  // a sample just outside of a sliver must not shoot off along its plane
  bool unclipped, has_fixed_depth;
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
GLR_FUNC bool snap_to_grid(const HomogeneousPoint* corners, const ScreenGrid& g, ScreenPolygon* out) {
  HomogeneousPoint a[kMaxCorners + 1], b[kMaxCorners + 1];
  out->unclipped = true;
  for (int i = 0; i < 3; ++i) {
    a[i] = corners[i];
    out->unclipped &= is_unclipped(g, a[i].x, a[i].y, a[i].w);
  }
  int count = 3;
  if (!out->unclipped) {
    count = clip_to_plane(a, count, 0, g.guard_x, g.guard_y, b);
    count = clip_to_plane(b, count, 1, g.guard_x, g.guard_y, a);
    count = clip_to_plane(a, count, 2, g.guard_x, g.guard_y, b);
    count = clip_to_plane(b, count, 3, g.guard_x, g.guard_y, a);
  }
  if (count < 3 || count > kMaxCorners) return false;
  int64_t x0 = INT64_MAX, y0 = INT64_MAX, x1 = INT64_MIN, y1 = INT64_MIN;
  for (int i = 0; i < count; ++i) {
    const double inverse_w = 1. / a[i].w, ndc_x = a[i].x * inverse_w, ndc_y = a[i].y * inverse_w;
    if (!(a[i].w > 0 && fabs(ndc_x) < 2 * g.guard_x && fabs(ndc_y) < 2 * g.guard_y)) return false;  // the eye itself
    const int64_t x = int64_t(grid_position(ndc_x, g.W)), y = int64_t(grid_position(ndc_y, g.H));
    out->x[i] = x, out->y[i] = y;
    x0 = min(x0, x), x1 = max(x1, x), y0 = min(y0, y), y1 = max(y1, y);
  }
  out->num_corners = count;
  out->box = {max(first_pixel(x0), int64_t(0)), max(first_pixel(y0), int64_t(0)), min(pixel_past(x1), g.W),
              min(pixel_past(y1), g.H)};
  return out->box.width() > 0 && out->box.height() > 0;
}

// Everything that a walk needs about a triangle; false if it cannot be seen: a bad index, a position that is not
// finite, no area, edge-on, the culled side, or outside of the view volume.
template <class T>
GLR_FUNC bool prepare(const T* pos, const VertexIndices& v, const ScreenGrid& g, int64_t cull, ScreenPolygon* out) {
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
  if (!snap_to_grid(corners, g, out)) return false;
  out->plane = depth_plane(x, y, z, w, g);
  if (!out->plane.is_finite()) return false;
  out->limits = depth_limits(z, w);
  const double first = first_depth(out->plane, out->box.x0, out->box.y0);
  out->has_fixed_depth =
      out->unclipped && fits_fixed(out->plane, out->limits, first, out->box.width(), out->box.height());
  const Facing facing = facing_of<T>(x, y, z, w);
  return can_be_seen(facing) && (cull == 0 || (cull > 0) != (facing == Facing::kCounterClockwise));
}

GLR_FUNC FixedDepth fixed_depth(const ScreenPolygon& s) {
  return fixed_depth(s.plane, s.limits, first_depth(s.plane, s.box.x0, s.box.y0));
}

// Calls visit(edges) for every piece of a polygon that has an area; the edges start at the first pixel of `box`.
template <class Visit>
GLR_FUNC void for_each_piece(const ScreenPolygon& s, const PixelBox& box, const Visit& visit) {
  for (int i = 1; i + 1 < s.num_corners; ++i) {
    const int64_t area = grid_area(s.x[0], s.y[0], s.x[i], s.y[i], s.x[i + 1], s.y[i + 1]);
    const int b = area < 0 ? i + 1 : i, c = area < 0 ? i : i + 1;
    if (area != 0) visit(piece_edges(s.x[0], s.y[0], s.x[b], s.y[b], s.x[c], s.y[c], box.x0, box.y0));
  }
}
