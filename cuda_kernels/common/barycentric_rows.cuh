// On the host: rast and rast_db of a row of pixels. The triangles of its runs are set up four at a time, then each
// run's pixels are written four at a time; what a run writes past its end the next run writes again.
#pragma once

#include "barycentric_terms.cuh"

#ifndef GLR_WARP_SIZE

constexpr int32_t kRuns = 64;  // that are set up before any of them is written

template <class T>
struct BarycentricRow {
  const T* pos;        // [V, 4]
  const int32_t* tri;  // [T, 3]
  int64_t num_triangles, V;
  T *rast, *rast_db;  // [W, 4], the latter null if not wanted
};

// Neighbouring pixels of one triangle; -1: of none.
struct RowRun {
  int32_t begin, end, triangle;
};

// The terms of up to kRuns runs.
struct RunTerms {
  RowTerms<double> terms[kRuns];
  DepthLimits limits[kRuns];
};

// The corners of four triangles.
template <class T>
GLR_FUNC CornersOf<DoubleLanes> gather_corners(const T* pos, const int32_t* const* tri) {
  using F = typename LanesOf<T>::Type;
  CornersOf<DoubleLanes> c;
  for (int k = 0; k < 3; ++k) {
    F v[kNumberLanes];
    for (int32_t j = 0; j < kNumberLanes; ++j) v[j] = load_lanes<F>(pos + int64_t(tri[j][k]) * 4);
    transpose(v[0], v[1], v[2], v[3]);
    c.x[k] = widen_lanes(v[0]), c.y[k] = widen_lanes(v[1]), c.z[k] = widen_lanes(v[2]), c.w[k] = widen_lanes(v[3]);
  }
  return c;
}

// Four runs that have triangles.
template <class T>
GLR_STEP void set_up_runs(const BarycentricRow<T>& row, const SampleAxis& x_axis, const SampleAxis& y_axis, int64_t y,
                          const RowRun* runs, const int32_t* which, RunTerms* out) {
  const int32_t* tri[kNumberLanes];
  DoubleLanes begin, end;
  for (int32_t j = 0; j < kNumberLanes; ++j) {
    const RowRun& run = runs[which[j]];
    tri[j] = row.tri + int64_t(run.triangle) * 3, begin[j] = double(run.begin), end[j] = double(run.end);
  }
  const CornersOf<DoubleLanes> c = gather_corners(row.pos, tri);
  const EdgeTermsOf<DoubleLanes> e = edge_terms(c, x_axis(0), y_axis(y));
  const RowTerms<DoubleLanes> terms = row_terms(c, e, x_axis.step, y_axis.step);
  const auto beside = lies_beside(c, e, x_axis.step, begin, end);
  DoubleLanes columns[12] = {terms.a0,   terms.a1,   terms.S,   terms.a0_x,  terms.a1_x,    terms.S_x,
                             terms.a0_y, terms.a1_y, terms.S_y, terms.depth, terms.depth_x, {}};
  for (int k = 0; k < 12; k += 4) transpose(columns[k], columns[k + 1], columns[k + 2], columns[k + 3]);
  for (int32_t j = 0; j < kNumberLanes; ++j) {
    double flat[12];
    for (int k = 0; k < 12; k += 4) store_lanes(flat + k, columns[k + j]);
    std::memcpy(&out->terms[which[j]], flat, sizeof(RowTerms<double>));
    const double z[3] = {c.z[0][j], c.z[1][j], c.z[2][j]}, w[3] = {c.w[0][j], c.w[1][j], c.w[2][j]};
    out->limits[which[j]] = row_depth_limits(z, w, beside[j] != 0);
  }
}

// Four channels of the pixels x to x + 3, as far as the row goes: the next one may be another thread's.
template <class T, class F>
GLR_FUNC void store_pixels(T* out, int32_t x, int32_t W, const F channels[4]) {
  F pixels[4] = {channels[0], channels[1], channels[2], channels[3]};
  transpose(pixels[0], pixels[1], pixels[2], pixels[3]);
  const int32_t count = min(kNumberLanes, W - x);
  for (int j = 0; j < kNumberLanes; ++j)
    if (j < count) store_lanes(out + (x + j) * 4, pixels[j]);
}

template <class T>
GLR_FUNC void write_run(const BarycentricRow<T>& row, const RowRun& run, const RowTerms<double>& t,
                        const DepthLimits& limits, int32_t W) {
  using F = typename LanesOf<T>::Type;
  const RowTerms<DoubleLanes> terms = {all_lanes(t.a0),   all_lanes(t.a1),    all_lanes(t.S),      all_lanes(t.a0_x),
                                       all_lanes(t.a1_x), all_lanes(t.S_x),   all_lanes(t.a0_y),   all_lanes(t.a1_y),
                                       all_lanes(t.S_y),  all_lanes(t.depth), all_lanes(t.depth_x)};
  const DoubleLanes nearest = all_lanes(limits.nearest), farthest = all_lanes(limits.farthest);
  T id;
  encode_triangle(run.triangle, &id);
  const auto round = [](DoubleLanes value) { return round_lanes(value, T()); };
  const auto widen = [](F value) { return widen_lanes(value); };
  for (int32_t x = run.begin; x < run.end; x += kNumberLanes) {
    const DoubleLanes at = all_lanes(double(x)) + DoubleLanes{0, 1, 2, 3};
    const PixelValues<F> b = pixel_values<F>(terms, nearest, farthest, at, round, widen);
    const F values[4] = {b.u, b.v, b.depth, all_lanes(id)}, changes[4] = {b.u_x, b.u_y, b.v_x, b.v_y};
    store_pixels(row.rast, x, W, values);
    if (row.rast_db) store_pixels(row.rast_db, x, W, changes);
  }
}

// The first pixel after `begin` that does not show its triangle. Most runs are short, and the others often long.
template <class TriangleAt>
GLR_FUNC int32_t end_of_run(int32_t begin, int32_t W, int32_t triangle, const TriangleAt& triangle_at) {
  const int32_t nearby = min(W, begin + 8);
  int32_t end = begin + 1, differ = 0;
  while (end < nearby && triangle_at(end) == triangle) ++end;
  if (end < nearby) return end;
  for (; end + 16 <= W; end += 16) {
    for (int32_t i = 0; i < 16; ++i) differ |= triangle_at(end + i) ^ triangle;  // vectorized
    if (differ != 0) break;
  }
  while (end < W && triangle_at(end) == triangle) ++end;
  return end;
}

// The runs from pixel `begin` on, kRuns at most. Triangles that do not exist are none.
template <class T, class TriangleAt>
GLR_FUNC int32_t find_runs(const BarycentricRow<T>& row, int32_t begin, int32_t W, const TriangleAt& triangle_at,
                           RowRun* runs) {
  int32_t count = 0;
  while (begin < W && count < kRuns) {
    const int32_t triangle = triangle_at(begin), end = end_of_run(begin, W, triangle, triangle_at);
    VertexIndices v;
    const bool exists = load_triangle(row.tri, row.num_triangles, row.V, triangle, &v);
    runs[count++] = {begin, end, exists ? triangle : -1};
    begin = end;
  }
  return count;
}

// Fills a row: set_up(runs, which) for four runs that have triangles, then write(run, r) for each of them, and zeros
// where there is none. `triangle_at` tells the id at each of the row's pixels.
template <class T, class TriangleAt, class SetUp, class Write>
GLR_FUNC void fill_row(const BarycentricRow<T>& row, int32_t W, const TriangleAt& triangle_at, const SetUp& set_up,
                       const Write& write) {
  RowRun runs[kRuns];
  for (int32_t begin = 0; begin < W;) {
    const int32_t count = find_runs(row, begin, W, triangle_at, runs);
    int32_t which[kRuns + kNumberLanes], shown = 0;
    for (int32_t r = 0; r < count; ++r)
      if (runs[r].triangle >= 0) which[shown++] = r;
    for (int32_t r = shown; shown > 0 && r < shown + kNumberLanes - 1; ++r) which[r] = which[shown - 1];
    for (int32_t r = 0; r < shown; r += kNumberLanes) set_up(runs, which + r);
    for (int32_t r = 0; r < count; ++r) {
      if (runs[r].triangle >= 0) {
        write(runs[r], r);
        continue;
      }
      const size_t first = size_t(runs[r].begin) * 4, bytes = size_t(runs[r].end - runs[r].begin) * 4 * sizeof(T);
      std::memset(row.rast + first, 0, bytes);
      if (row.rast_db) std::memset(row.rast_db + first, 0, bytes);
    }
    begin = runs[count - 1].end;
  }
}

// Row y of an image.
template <class T, class TriangleAt>
GLR_STEP void barycentrics_row(const BarycentricRow<T>& row, const SampleAxis& x_axis, const SampleAxis& y_axis,
                               int64_t y, const TriangleAt& triangle_at) {
  const int32_t W = int32_t(x_axis.size);
  RunTerms terms;
  fill_row(
      row, W, triangle_at,
      [&](const RowRun* runs, const int32_t* which) { set_up_runs(row, x_axis, y_axis, y, runs, which, &terms); },
      [&](const RowRun& run, int32_t r) { write_run(row, run, terms.terms[r], terms.limits[r], W); });
}

#endif
