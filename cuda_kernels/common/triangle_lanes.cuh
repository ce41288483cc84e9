// On the host: small triangles, set up 16 at a time, each in a lane of its own, and walked with 32-bit edge functions.
#pragma once

#include "depth_cell.cuh"

constexpr int32_t kTriangleLanes = 16;

// What the set-up starts from: a triangle per lane.
template <class T>
struct LaneCorners {
  int32_t x[3][kTriangleLanes], y[3][kTriangleLanes];
  double depth[3][kTriangleLanes];
  T pos[3][4][kTriangleLanes];

  GLR_MEMBER void load(int32_t lane, const T* all_pos, const SnappedVertex* snapped, const int32_t* tri) {
    for (int k = 0; k < 3; ++k) {
      const SnappedVertex s = snapped[tri[k]];
      x[k][lane] = s.x, y[k][lane] = s.y, depth[k][lane] = s.depth;
      for (int c = 0; c < 4; ++c) pos[k][c][lane] = all_pos[int64_t(tri[k]) * 4 + c];
    }
  }
};

enum LaneState : int32_t { kUnseen, kWalked, kNeedsPrecision };

struct TriangleLanes {
  int32_t id[kTriangleLanes], state[kTriangleLanes];
  int32_t x0[kTriangleLanes], y0[kTriangleLanes], x1[kTriangleLanes], y1[kTriangleLanes];  // box, within the cell
  int32_t edge[3][kTriangleLanes], step_x[3][kTriangleLanes], step_y[3][kTriangleLanes];   // at (x0, y0)
  double plane_at[kTriangleLanes], plane_x[kTriangleLanes], plane_y[kTriangleLanes];       // times kFixedScale
  int32_t nearest[kTriangleLanes], farthest[kTriangleLanes], first_row[kTriangleLanes];
};

GLR_FUNC void set_edge(const EdgeFunction<int32_t>& e, int32_t side, int32_t lane, TriangleLanes* t) {
  t->edge[side][lane] = e.value, t->step_x[side][lane] = e.step_x, t->step_y[side][lane] = e.step_y;
}

// Boxes and edge functions: the corners as for_each_piece orders them, in 32 bits.
template <class T>
GLR_STEP void set_up_edges(const LaneCorners<T>& in, const DepthCell& cell, const ScreenGrid& g, TriangleLanes* out) {
  const int32_t W = int32_t(g.W), H = int32_t(g.H), cell_y0 = cell.y0, cell_y1 = cell.y1;
  GLR_PRAGMA(GCC ivdep) for (int32_t j = 0; j < kTriangleLanes; ++j) {
    const int32_t x0 = in.x[0][j], y0 = in.y[0][j], x1 = in.x[1][j], y1 = in.y[1][j], x2 = in.x[2][j], y2 = in.y[2][j];
    const int32_t area = grid_area(x0, y0, x1, y1, x2, y2);
    const int32_t xb = area < 0 ? x2 : x1, yb = area < 0 ? y2 : y1, xc = area < 0 ? x1 : x2, yc = area < 0 ? y1 : y2;
    const int32_t left = max(first_pixel(min(x0, min(x1, x2))), 0), right = min(pixel_past(max(x0, max(x1, x2))), W);
    const int32_t low = max(first_pixel(min(y0, min(y1, y2))), 0), high = min(pixel_past(max(y0, max(y1, y2))), H);
    const int32_t first = max(low, cell_y0);
    const PieceEdges<int32_t> e = piece_edges(x0, y0, xb, yb, xc, yc, left, first);
    set_edge(e.e0, 0, j, out), set_edge(e.e1, 1, j, out), set_edge(e.e2, 2, j, out);
    out->x0[j] = left, out->x1[j] = right, out->y0[j] = first, out->y1[j] = min(high, cell_y1);
    out->first_row[j] = low;
    out->state[j] = area != 0 ? kWalked : kUnseen;
  }
}

// Depths, and which way the triangles face: as in `prepare`.
template <class T>
GLR_STEP void set_up_depths(const LaneCorners<T>& in, const ScreenGrid& g, int64_t cull, TriangleLanes* out) {
  const double dropped = double(cull);  // the sign of areas that are; numbers, since masks of flags are not vectorized
  GLR_PRAGMA(GCC ivdep) for (int32_t j = 0; j < kTriangleLanes; ++j) {
    double x[3], y[3], z[3], w[3];
    bool none_nearer = true, none_farther = true;
    for (int k = 0; k < 3; ++k) {
      x[k] = in.pos[k][0][j], y[k] = in.pos[k][1][j], z[k] = in.pos[k][2][j], w[k] = in.pos[k][3][j];
      none_nearer &= z[k] > w[k], none_farther &= z[k] < -w[k];
    }
    const double d0 = in.depth[0][j], d1 = in.depth[1][j], d2 = in.depth[2][j];
    const DepthLimits limits = {min(d0, min(d1, d2)), max(d0, max(d1, d2))};
    const DepthPlane plane = depth_plane(x, y, z, w, g);
    const double first = first_depth(plane, out->x0[j], out->first_row[j]);
    const bool fixed = fits_fixed(plane, limits, first, 1, 1);
    const Determinant det = determinant<T>(x, y, w);
    const bool certain = (fabs(det.value) > det.noise) & (det.noise > kSmallestSafe);
    const bool unseen = none_nearer | none_farther | (certain & (det.value * dropped > 0)) | (out->state[j] == kUnseen);
    out->state[j] = unseen ? kUnseen : certain & fixed ? kWalked : kNeedsPrecision;
    out->plane_at[j] = fixed ? first * kFixedScale : 0., out->plane_x[j] = fixed ? plane.x * kFixedScale : 0.;
    out->plane_y[j] = fixed ? plane.y * kFixedScale : 0.;
    out->nearest[j] = depth_bits(max(limits.nearest, -1.)), out->farthest[j] = depth_bits(min(limits.farthest, 1.));
  }
}

// One row of a small triangle: whole lanes of pixels, of which edge functions leave those inside.
template <bool Peel>
GLR_FUNC void cover_lanes(const int32_t* edge, const int32_t* step, uint64_t fixed, uint64_t step_depth,
                          int32_t nearest, int32_t farthest, int32_t id, const CellPixels& p) {
  GLR_SIMD for (int32_t i = 0; i < kPixelLanes; ++i) {
    const int32_t inside = (edge[0] + step[0] * i) | (edge[1] + step[1] * i) | (edge[2] + step[2] * i);
    const int32_t depth = min(max(depth_bits(fixed + step_depth * uint64_t(i)), nearest), farthest);
    cover<Peel>(inside >= 0, depth, id, p, i);
  }
}

template <bool Peel>
GLR_FUNC void walk_lane(const DepthCell& cell, const TriangleLanes& t, int32_t j) {
  const int32_t step[3] = {t.step_x[0][j], t.step_x[1][j], t.step_x[2][j]};
  int32_t row_edge[3] = {t.edge[0][j], t.edge[1][j], t.edge[2][j]};
  const int32_t x0 = t.x0[j], x1 = t.x1[j], id = t.id[j], nearest = t.nearest[j], farthest = t.farthest[j];
  const uint64_t step_x = uint64_t(int64_t(t.plane_x[j])), step_y = uint64_t(int64_t(t.plane_y[j]));
  uint64_t row = uint64_t(int64_t(t.plane_at[j])) + step_y * uint64_t(t.y0[j] - t.first_row[j]);
  CellPixels pixels = cell.pixels.at(cell.at(x0, t.y0[j]));
  for (int32_t y = t.y0[j]; y < t.y1[j]; ++y) {
    int32_t edge[3] = {row_edge[0], row_edge[1], row_edge[2]};
    uint64_t fixed = row;
    int32_t x = 0;
    do {
      cover_lanes<Peel>(edge, step, fixed, step_x, nearest, farthest, id, pixels.at(x));
      for (int k = 0; k < 3; ++k) edge[k] += kPixelLanes * step[k];
      fixed += kPixelLanes * step_x, x += kPixelLanes;
    } while (x < x1 - x0);
    for (int k = 0; k < 3; ++k) row_edge[k] += t.step_y[k][j];
    row += step_y, pixels = pixels.at(cell.stride);
  }
}

// A triangle that lanes cannot decide about.
template <bool Peel, class T>
GLR_RARE void draw_alone(const DepthCell& cell, const ScreenGrid& g, int64_t cull, const T* pos, const int32_t* v,
                         int32_t id) {
  LargeTriangle alone;
  if (prepare_large(pos, {v[0], v[1], v[2]}, g, cull, id, &alone)) cover_large<Peel>(cell, alone);
}

// Draws up to 16 small triangles into a cell.
template <bool Peel, class T>
GLR_STEP void draw_lanes(const DepthCell& cell, const LaneCorners<T>& corners, const ScreenGrid& g, int64_t cull,
                         const T* pos, const int32_t* tri, int32_t count, TriangleLanes* lanes) {
  set_up_edges(corners, cell, g, lanes);
  set_up_depths(corners, g, cull, lanes);
  for (int32_t j = 0; j < count; ++j) {
    const int32_t id = lanes->id[j];
    if (lanes->state[j] == kWalked) walk_lane<Peel>(cell, *lanes, j);
    if (lanes->state[j] == kNeedsPrecision) draw_alone<Peel>(cell, g, cull, pos, tri + int64_t(id) * 3, id);
  }
}
