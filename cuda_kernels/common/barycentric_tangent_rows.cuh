// On the host: how rast and rast_db of a row of pixels change along a tangent of the positions. In the way of
// barycentric_rows.cuh: runs are set up four at a time, then their pixels are written four at a time.
#pragma once

#include "barycentric_rows.cuh"
#include "barycentric_tangents.cuh"

#ifndef GLR_WARP_SIZE

constexpr int kTangentColumns = 20;  // the terms of a run, and one place more to make fours of them

// [kRuns, kTangentColumns]
struct RunTangents {
  double terms[kRuns * kTangentColumns];
};

// Four runs that have triangles.
template <class T>
GLR_STEP void set_up_tangents(const BarycentricRow<T>& row, const T* tangent_pos, const SampleAxis& x_axis, double fy,
                              const RowRun* runs, const int32_t* which, RunTangents* out) {
  const int32_t* tri[kNumberLanes];
  DoubleLanes fx;
  for (int32_t j = 0; j < kNumberLanes; ++j)
    tri[j] = row.tri + int64_t(runs[which[j]].triangle) * 3, fx[j] = x_axis(runs[which[j]].begin);
  const CornersOf<DoubleLanes> c = gather_corners(row.pos, tri), tangent = gather_corners(tangent_pos, tri);
  const TangentTerms<DoubleLanes> terms = tangent_terms<T>(c, tangent, fx, fy);
  DoubleLanes columns[kTangentColumns] = {};
  static_assert(sizeof terms < sizeof columns);
  std::memcpy(columns, &terms, sizeof terms);
  for (int k = 0; k < kTangentColumns; k += 4) {
    transpose(columns[k], columns[k + 1], columns[k + 2], columns[k + 3]);
    for (int32_t j = 0; j < kNumberLanes; ++j) store_lanes(out->terms + which[j] * kTangentColumns + k, columns[k + j]);
  }
}

template <class T>
GLR_FUNC void write_tangents(const BarycentricRow<T>& row, const RowRun& run, const double* columns, double step_x,
                             double step_y, int32_t W) {
  using F = typename LanesOf<T>::Type;
  TangentTerms<DoubleLanes> terms;
  DoubleLanes flat[kTangentColumns - 1];
  for (int k = 0; k < kTangentColumns - 1; ++k) flat[k] = all_lanes(columns[k]);
  static_assert(sizeof terms == sizeof flat);
  std::memcpy(&terms, flat, sizeof terms);
  const auto round = [](DoubleLanes value) { return round_lanes(value, T()); };
  for (int32_t x = run.begin; x < run.end; x += kNumberLanes) {
    const DoubleLanes at = all_lanes(double(x - run.begin)) + DoubleLanes{0, 1, 2, 3};
    const PixelTangents<F> b = pixel_jvp<F>(terms, step_x, step_y, at * step_x, round);
    const F values[4] = {b.u, b.v, F{}, F{}}, changes[4] = {b.u_x, b.u_y, b.v_x, b.v_y};
    store_pixels(row.rast, x, W, values);
    if (row.rast_db) store_pixels(row.rast_db, x, W, changes);
  }
}

// Row y of an image: tangents into row.rast and row.rast_db. tangent_pos: [V, 4].
template <class T, class TriangleAt>
GLR_STEP void barycentrics_row_jvp(const BarycentricRow<T>& row, const T* tangent_pos, const SampleAxis& x_axis,
                                   const SampleAxis& y_axis, int64_t y, const TriangleAt& triangle_at) {
  const int32_t W = int32_t(x_axis.size);
  RunTangents tangents;
  fill_row(
      row, W, triangle_at,
      [&](const RowRun* runs, const int32_t* which) {
        set_up_tangents(row, tangent_pos, x_axis, y_axis(y), runs, which, &tangents);
      },
      [&](const RowRun& run, int32_t r) {
        write_tangents(row, run, tangents.terms + r * kTangentColumns, x_axis.step, y_axis.step, W);
      });
}

#endif
