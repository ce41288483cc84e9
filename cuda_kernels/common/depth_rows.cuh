// On the host: the pairs of neighbouring pixels that see different triangles, row by row, and which of the two is in
// front. The plane of a triangle is computed once for every run of pixels in a row, those of many runs side by side.
#pragma once

#include "surface_pair.cuh"

#ifndef GLR_WARP_SIZE

#include <utility>
#include <vector>

#include "rast_ids.cuh"

constexpr int32_t kRunBatch = 64;    // planes that are computed together
constexpr int32_t kRowPadding = 16;  // on either side of a row; so many pixels have their ids compared at a time
constexpr int32_t kOutside = -2;     // what pixels outside the image see

// What the pixels of a row see: triangles (-1: none), and of every run of one triangle z/w of its plane at the first
// pixel's centre and its change per pixel, not finite if it is seen edge-on.
struct DepthRow {
  explicit DepthRow(int64_t W)
      : ids(W + 2 * kRowPadding, kOutside), run_at(W + kRowPadding), like(W + 1), begin(W + 1), depth(W + 1) {
    slope[0].resize(W + 1), slope[1].resize(W + 1);
  }
  int32_t* triangle() { return ids.data() + kRowPadding; }
  const int32_t* triangle() const { return ids.data() + kRowPadding; }

  std::vector<int32_t> ids;             // of pixels, with the padding; see triangle()
  std::vector<int32_t> run_at;          // of pixels
  std::vector<uint8_t> like;            // of pixels, a bit for each of those around it that sees the same
  std::vector<int32_t> begin;           // of runs, their first pixels; at last W
  std::vector<double> depth, slope[2];  // of runs
  int32_t num_runs = 0;
};

// Without a branch for every pixel: where runs are short, it would be foretold wrongly.
GLR_STEP void find_runs(int32_t W, DepthRow* row) {
  const int32_t* seen = row->triangle();
  int32_t *run_at = row->run_at.data(), *begin = row->begin.data(), num_runs = 0;
  for (int32_t first = 0; first < W; first += kRowPadding) {
    int32_t differ = 0;
    for (int32_t x = first; x < first + kRowPadding; ++x) differ |= seen[x] ^ seen[x - 1];
    if (differ == 0) {
      for (int32_t x = first; x < first + kRowPadding; ++x) run_at[x] = num_runs - 1;
      continue;
    }
    for (int32_t x = first; x < min(W, first + kRowPadding); ++x) {
      begin[num_runs] = x, num_runs += seen[x] != seen[x - 1];
      run_at[x] = num_runs - 1;
    }
  }
  begin[num_runs] = W;
  row->num_runs = num_runs;
}

struct PlaneBatch {
  double x[3][kRunBatch], y[3][kRunBatch], z[3][kRunBatch], w[3][kRunBatch], fx[kRunBatch];
  double depth[kRunBatch], slope[2][kRunBatch];
};

// The corners of the triangles of some runs, zeros where there is none: what names no vertices becomes no triangle.
template <class Params>
GLR_STEP void load_corners(const Params& p, int64_t image, int32_t first, int32_t count, DepthRow* row,
                           PlaneBatch* batch) {
  for (int32_t j = 0; j < count; ++j) {
    const int32_t run = first + j, begin = row->begin[run];
    int32_t* seen = row->triangle();
    VertexIndices v = {0, 0, 0};
    const bool exists = load_triangle(p.tri, p.num_triangles, p.V, seen[begin], &v);
    const int32_t index[3] = {v.v0, v.v1, v.v2};
    for (int k = 0; k < 3; ++k) {
      const auto* vertex = p.pos + image * p.pos_stride + int64_t(index[k]) * 4;
      batch->x[k][j] = exists ? double(vertex[0]) : 0., batch->y[k][j] = exists ? double(vertex[1]) : 0.;
      batch->z[k][j] = exists ? double(vertex[2]) : 0., batch->w[k][j] = exists ? double(vertex[3]) : 0.;
    }
    batch->fx[j] = sample_at(p, 0, begin);
    if (!exists && seen[begin] >= 0) std::fill(seen + begin, seen + row->begin[run + 1], -1);
  }
}

// The planes of all runs of row y.
template <class Params>
GLR_STEP void find_planes(const Params& p, int64_t image, int32_t y, DepthRow* row) {
  const double pixel_x = pixel_size(p, 0), pixel_y = pixel_size(p, 1), fy = sample_at(p, 1, y);
  PlaneBatch batch;
  for (int32_t first = 0; first < row->num_runs; first += kRunBatch) {
    const int32_t count = min(kRunBatch, row->num_runs - first);
    load_corners(p, image, first, count, row, &batch);
    for (int32_t j = 0; j < count; ++j) {  // vectorized: nothing is read or written but the batch
      const auto corner = [&](int k) {
        const double w = batch.w[k][j];
        return Vec4<double>{batch.x[k][j] - batch.fx[j] * w, batch.y[k][j] - fy * w, batch.z[k][j], w};
      };
      ScreenPlane plane;
      plane.corner[0] = corner(0), plane.corner[1] = corner(1), plane.corner[2] = corner(2);
      set_plane(pixel_x, pixel_y, &plane);
      batch.depth[j] = plane.depth();
      batch.slope[0][j] = plane.depth_slope(0), batch.slope[1][j] = plane.depth_slope(1);
    }
    std::copy_n(batch.depth, count, row->depth.data() + first);
    for (int axis = 0; axis < 2; ++axis) std::copy_n(batch.slope[axis], count, row->slope[axis].data() + first);
  }
}

// The pixels around one; those beside, below and above it first.
constexpr int kAroundX[8] = {-1, 1, 0, 0, -1, 1, -1, 1}, kAroundY[8] = {0, 0, -1, 1, -1, -1, 1, 1};

GLR_STEP void find_likes(int32_t W, const DepthRow& below, const DepthRow& above, DepthRow* row) {
  const int32_t* rows[3] = {below.triangle(), row->triangle(), above.triangle()};
  uint8_t* like = row->like.data();
  GLR_SIMD
  for (int32_t x = 0; x < W; ++x) {
    const int32_t seen = rows[1][x];
    int32_t bits = 0;
    GLR_UNROLL(8)
    for (int k = 0; k < 8; ++k) bits |= (rows[1 + kAroundY[k]][x + kAroundX[k]] == seen) << k;
    like[x] = seen < 0 ? uint8_t(0) : uint8_t(bits);
  }
}

// The pairs of a row's pixels and their next ones along an axis that see different triangles.
struct RowPairs {
  explicit RowPairs(int64_t W) : x(W + 1), run_a(W + 1), run_b(W + 1), kind(W + 1), chosen(W + 1) {}
  std::vector<int32_t> x, run_a, run_b, kind;
  std::vector<int32_t> chosen;  // room for a list of pairs
  int32_t size = 0;
};

GLR_STEP void pairs_along_x(const DepthRow& row, RowPairs* pairs) {
  pairs->size = max(row.num_runs - 1, 0);
  for (int32_t i = 0; i < pairs->size; ++i)
    pairs->x[i] = row.begin[i + 1] - 1, pairs->run_a[i] = i, pairs->run_b[i] = i + 1;
}

GLR_STEP void pairs_along_y(int32_t W, const DepthRow& row, const DepthRow& above, RowPairs* pairs) {
  const int32_t *a = row.triangle(), *b = above.triangle();
  int32_t size = 0;
  for (int32_t first = 0; first < W; first += kRowPadding) {
    int32_t differ = 0;
    for (int32_t x = first; x < first + kRowPadding; ++x) differ |= a[x] ^ b[x];
    for (int32_t x = first; differ && x < min(W, first + kRowPadding); ++x) pairs->x[size] = x, size += a[x] != b[x];
  }
  for (int32_t i = 0; i < size; ++i)
    pairs->run_a[i] = row.run_at[pairs->x[i]], pairs->run_b[i] = above.run_at[pairs->x[i]];
  pairs->size = size;
}

// What compare_pair finds.
GLR_STEP void compare_pairs(const DepthRow& row, const DepthRow& next, int axis, RowPairs* pairs) {
  const int32_t *x = pairs->x.data(), *run_a = pairs->run_a.data(), *run_b = pairs->run_b.data();
  const int32_t *begin_a = row.begin.data(), *begin_b = next.begin.data();
  const double *depth_a = row.depth.data(), *depth_b = next.depth.data();
  const double *slope_a = row.slope[0].data(), *slope_b = next.slope[0].data();
  const double *along_a = row.slope[axis].data(), *along_b = next.slope[axis].data();
  int32_t* kind = pairs->kind.data();
  GLR_SIMD
  for (int32_t i = 0; i < pairs->size; ++i) {
    const int32_t a = run_a[i], b = run_b[i];
    const double za = depth_a[a] + double(x[i] - begin_a[a]) * slope_a[a];
    const double zb = depth_b[b] + double(x[i] + !axis - begin_b[b]) * slope_b[b];
    kind[i] = compare_depths(za, along_a[a], zb, along_b[b]);
  }
  const int32_t *triangle_a = row.triangle(), *triangle_b = next.triangle() + !axis;
  for (int32_t i = 0; i < pairs->size; ++i) {
    const int32_t a = triangle_a[x[i]], b = triangle_b[x[i]];
    const int outline = a == b ? kOneSurface : outline_kind(a);
    kind[i] = (a < 0) | (b < 0) ? outline : kind[i];
  }
}

// The rows y - 1, y, y + 1, y + 2 of an image. `like` is known of the middle two, if it is wanted.
template <class Params>
class FourRows {
 public:
  FourRows(const Params& p, int64_t image, int32_t y, bool find_like)
      : p(p), image(image), find_like(find_like), rows(4, DepthRow(p.W)) {
    for (int32_t i = 0; i < 4; ++i) load(y - 1 + i, &rows[i]);
    for (int i = 1; find_like && i < 3; ++i) find_likes(int32_t(p.W), rows[i - 1], rows[i + 1], &rows[i]);
  }
  const DepthRow& operator[](int i) const { return rows[i]; }

  // From those around row y to those around the next.
  void advance(int32_t y) {
    for (int i = 0; i < 3; ++i) std::swap(rows[i], rows[i + 1]);
    load(y + 3, &rows[3]);
    if (find_like) find_likes(int32_t(p.W), rows[1], rows[3], &rows[2]);
  }

 private:
  void load(int32_t y, DepthRow* row) {
    const int32_t W = int32_t(p.W), num_triangles = p.V > 0 ? int32_t(p.num_triangles) : 0;
    std::fill_n(row->triangle(), W, kOutside);
    if (y < 0 || y >= p.H) return;
    load_ids(p.rast + (image * p.H + y) * p.W * 4, W, num_triangles, row->triangle());
    find_runs(W, row);
    find_planes(p, image, y, row);
  }

  const Params& p;
  int64_t image;
  bool find_like;
  std::vector<DepthRow> rows;
};

// Calls visit(image, y, axis, row, next, pairs) for every row, along x (axis 0; next is the row itself) and y (axis 1;
// next is the one above). Threads take bands of rows.
template <class Params, class Visit>
GLR_FUNC void for_each_row_pairs(const Params& p, bool find_like, const Visit& visit) {
  const int64_t H = p.H, rows = min(H, max<int64_t>(16, p.N * H / (16 * omp_get_max_threads())));
  const int64_t num_bands = H > 0 ? (H + rows - 1) / rows : 0;
  const int32_t W = int32_t(p.W);
  GLR_FOR_EACH(band, p.N * num_bands) {
    const int64_t image = band / num_bands, begin = band % num_bands * rows, end = min(H, begin + rows);
    FourRows<Params> around(p, image, int32_t(begin), find_like);
    RowPairs pairs(W);
    for (int32_t y = int32_t(begin); y < end; ++y) {
      pairs_along_x(around[1], &pairs);
      compare_pairs(around[1], around[1], 0, &pairs);
      visit(image, y, 0, around[1], around[1], &pairs);
      if (y + 1 < H) {
        pairs_along_y(W, around[1], around[2], &pairs);
        compare_pairs(around[1], around[2], 1, &pairs);
        visit(image, y, 1, around[1], around[2], &pairs);
      }
      if (y + 1 < end) around.advance(y);
    }
  }
}

#endif
