// The pairs of neighbouring pixels on the host: images row by row, every pair once. Inner edges of a mesh part nearly
// all pairs that see different triangles; they are left out by what is known of a triangle, before a pair is looked at.
#pragma once

#include <vector>

#include "pixel_pairs.cuh"
#include "rast_ids.cuh"

constexpr int32_t kBlock = 16;  // pixels whose ids are compared at a time
constexpr int32_t kBatch = 64;  // triangles that are looked at together: their loads wait at the same time

// The corners of triangles and, for each side, the vertex opposite to it in the neighbour.
template <class T>
struct OutlineBatch {
  int32_t index[6][kBatch];
  T x[6][kBatch], y[6][kBatch];  // on the screen, in pixels from its middle
  int32_t may[kBatch];           // whether an edge may be a silhouette
};

template <class T, class Params>
GLR_FUNC void load_batch(const Params& p, int64_t image, const int32_t* triangles, int32_t count,
                         OutlineBatch<T>* batch) {
  for (int32_t j = 0; j < count; ++j) {
    VertexIndices v = {0, 0, 0};
    const bool exists = load_triangle(p.tri, p.num_triangles, p.V, triangles[j], &v);
    batch->index[0][j] = exists ? v.v0 : 0, batch->index[1][j] = exists ? v.v1 : 0;
    batch->index[2][j] = exists ? v.v2 : 0, batch->may[j] = !exists;  // which load_pair refuses
  }
  for (int i = 0; i < 3; ++i) {
    for (int32_t j = 0; j < count; ++j) {
      const int32_t other = other_opposite(p.tri, p.neighbours, triangles[j] * 3 + i);
      const bool closed = other >= 0 && other < p.V;
      batch->index[3 + i][j] = closed ? other : batch->index[i][j], batch->may[j] |= !closed;
    }
  }
  const T *pos = p.pos + image * p.pos_stride, half_w = T(p.W) * T(0.5), half_h = T(p.H) * T(0.5);
  for (int i = 0; i < 6; ++i) {
    for (int32_t j = 0; j < count; ++j) {
      const T *vertex = pos + int64_t(batch->index[i][j]) * 4, inverse_w = T(1) / vertex[3];
      batch->x[i][j] = vertex[0] * inverse_w * half_w, batch->y[i][j] = vertex[1] * inverse_w * half_h;
      batch->may[j] |= !(vertex[3] > 0);
    }
  }
}

// Whether an edge of a triangle may be a silhouette: false only if `is_silhouette` is false for each of its edges, of
// any pair. Both triangles at an edge lie surely on different sides of it where these exceed what rounding may do to
// them: coordinates, which are computed from numbers up to M, have errors of 8 units of M, and a side twice the square
// of that and its product with the lengths; doubled, because the sides here are computed with such errors themselves.
template <class T, class Params>
GLR_STEP void find_outlines(const Params& p, int64_t image, const int32_t* triangles, int32_t count,
                            OutlineBatch<T>* batch) {
  load_batch(p, image, triangles, count, batch);
  const T epsilon = sizeof(T) == 4 ? T(0x1p-24) : T(0x1p-53), size = T(max(p.W, p.H));
  T unit[kBatch];
  for (int32_t j = 0; j < kBatch; ++j) unit[j] = T(0);
  for (int i = 0; i < 6; ++i) {
    const T *x = batch->x[i], *y = batch->y[i];
    for (int32_t j = 0; j < count; ++j) unit[j] = max(unit[j], max(std::abs(x[j]), std::abs(y[j])));
  }
  for (int32_t j = 0; j < kBatch; ++j) unit[j] = T(64) * epsilon * (unit[j] + size);
  for (int i = 0; i < 3; ++i) {
    const int next = i == 2 ? 0 : i + 1, last = i == 0 ? 2 : i - 1;
    const T *x = batch->x[i], *next_x = batch->x[next], *last_x = batch->x[last], *other_x = batch->x[3 + i];
    const T *y = batch->y[i], *next_y = batch->y[next], *last_y = batch->y[last], *other_y = batch->y[3 + i];
    GLR_SIMD
    for (int32_t j = 0; j < count; ++j) {
      const T ex = next_x[j] - x[j], ey = next_y[j] - y[j], ax = last_x[j] - x[j], ay = last_y[j] - y[j];
      const T bx = other_x[j] - x[j], by = other_y[j] - y[j], own = ex * ay - ey * ax, other = ex * by - ey * bx;
      const T noise = unit[j] * (std::abs(ex) + std::abs(ey) + unit[j]);
      const T own_noise = noise + unit[j] * (std::abs(ax) + std::abs(ay));
      const T other_noise = noise + unit[j] * (std::abs(bx) + std::abs(by));
      const bool apart = (own > own_noise && other < -other_noise) || (own < -own_noise && other > other_noise);
      batch->may[j] = apart ? batch->may[j] : 1;
    }
  }
}

// Rows of one image, and what is known of the triangles seen lately in it.
template <class T, class Params>
class RowOutlines {
 public:
  RowOutlines(const Params& p, int64_t image)
      : p(p), image(image), known(1 << kBits, -1), starts(p.W + kBlock), runs(p.W + 1), unknown(p.W) {}

  // Which triangle each pixel of row y sees, as far as it may have a silhouette; -1 for all others. A pair can blend
  // only if these differ. Behind the row come kBlock more of the last pixel's.
  void load(int64_t y, int32_t* seen) {
    load_ids(p.rast + (image * p.H + y) * p.W * 4, int32_t(p.W), p.V > 0 ? int32_t(p.num_triangles) : 0, seen);
    std::fill(seen + p.W, seen + p.W + kBlock, -1);
    const int32_t num_runs = find_runs(seen), num_unknown = find_unknown(num_runs);
    for (int32_t begin = 0; begin < num_unknown; begin += kBatch)
      look_at(unknown.data() + begin, min(kBatch, num_unknown - begin));
    for (int32_t i = 0; i < num_runs; ++i) {
      const Run& run = runs[i];
      if (slot_of(run.triangle) >> 1 != run.triangle) look_at(&run.triangle, 1);  // another one took its place
      if (!(slot_of(run.triangle) & 1)) std::fill(seen + run.begin, seen + run.end, -1);
    }
    std::fill(seen + p.W, seen + p.W + kBlock, seen[p.W - 1]);
  }

 private:
  struct Run {
    int32_t triangle, begin, end;
  };

  // Neighbours may lie any power of two apart in the list: multiplicative hashing (Knuth) parts them.
  int32_t& slot_of(int32_t triangle) { return known[uint32_t(triangle) * 2654435769u >> (32 - kBits)]; }

  // Without a branch for every pixel: where runs are short, it would be foretold wrongly.
  int32_t find_runs(const int32_t* seen) {
    int32_t num_starts = 0, last = -1;
    for (int32_t begin = 0; begin < p.W; begin += kBlock) {
      int32_t all = last;
      for (int32_t i = 0; i < kBlock; ++i) all &= seen[begin + i];
      if (all == -1) continue;
      for (int32_t x = begin; x < begin + kBlock; ++x) {
        starts[num_starts] = x, num_starts += seen[x] != last;
        last = seen[x];
      }
    }
    starts[num_starts] = int32_t(p.W);
    int32_t num_runs = 0;
    for (int32_t i = 0; i < num_starts; ++i) {
      runs[num_runs] = {seen[starts[i]], starts[i], starts[i + 1]};
      num_runs += seen[starts[i]] >= 0;
    }
    return num_runs;
  }

  int32_t find_unknown(int32_t num_runs) {
    int32_t num_unknown = 0;
    for (int32_t i = 0; i < num_runs; ++i) {
      const int32_t triangle = runs[i].triangle;
      int32_t& slot = slot_of(triangle);
      if (slot >> 1 != triangle) unknown[num_unknown++] = triangle, slot = triangle << 1;
    }
    return num_unknown;
  }

  void look_at(const int32_t* triangles, int32_t count) {
    find_outlines(p, image, triangles, count, &batch);
    for (int32_t j = 0; j < count; ++j) slot_of(triangles[j]) = triangles[j] << 1 | batch.may[j];
  }

  static constexpr int32_t kBits = 13;
  const Params& p;
  int64_t image;
  std::vector<int32_t> known;   // 2 triangle + whether it may have a silhouette; -1: nothing
  std::vector<int32_t> starts;  // of runs of equal ids, empty ones too
  std::vector<Run> runs;
  std::vector<int32_t> unknown;
  OutlineBatch<T> batch;
};

template <class T>
struct BlendedPair {
  PixelPair<T> pair;
  PairBlend<T> blend;
};

// The pairs that blend of a row's pixels and their neighbours to the right, above and below.
template <class T>
struct RowBlends {
  std::vector<BlendedPair<T>> right, up, down;

  // Calls visit(pair, blend, pixel is p0) for every pixel and pair of it, each pixel's in the order right, up, left,
  // down.
  template <class Visit>
  void for_each(const Visit& visit) const {
    for (const auto& b : right) visit(b.pair, b.blend, true);
    for (const auto& b : up) visit(b.pair, b.blend, true);
    for (const auto& b : right) visit(b.pair, b.blend, false);
    for (const auto& b : down) visit(b.pair, b.blend, false);
  }
};

// The pairs that blend among those of a row; `above` is the next row, or the same one at the top of the image.
template <class T, class Params>
GLR_STEP void find_blends(const Params& p, int64_t image, int32_t y, const int32_t* seen, const int32_t* above,
                          RowBlends<T>* blends) {
  const int32_t W = int32_t(p.W);
  blends->right.clear(), blends->up.clear();
  for (int32_t begin = 0; begin < W; begin += kBlock) {
    int32_t differ = 0;
    for (int32_t x = begin; x < begin + kBlock; ++x) differ |= (seen[x] ^ seen[x + 1]) | (seen[x] ^ above[x]);
    if (differ == 0) continue;
    for (int32_t x = begin; x < min(W, begin + kBlock); ++x) {
      for (const bool vertical : {false, true}) {
        if (seen[x] == (vertical ? above[x] : seen[x + 1])) continue;
        BlendedPair<T> found;
        if (load_pair(p, image, x, y, vertical, &found.pair) && analyze_pair(p, found.pair, &found.blend))
          (vertical ? blends->up : blends->right).push_back(found);
      }
    }
  }
}

// Calls visit(row, blends) for every row, image * H + y. Threads take bands of rows; the pairs between two bands are
// found in both.
template <class T, class Params, class Visit>
GLR_FUNC void for_each_row(const Params& p, const Visit& visit) {
  const int64_t H = p.H, rows = min(H, max<int64_t>(16, p.N * H / (16 * omp_get_max_threads())));
  const int64_t num_bands = (H + rows - 1) / rows;
  GLR_FOR_EACH(band, p.N * num_bands) {
    const int64_t image = band / num_bands, begin = band % num_bands * rows, end = min(H, begin + rows);
    RowOutlines<T, Params> outlines(p, image);
    std::vector<int32_t> this_row(p.W + kBlock + 1), next_row(p.W + kBlock + 1);
    RowBlends<T> blends;
    const int64_t first = max<int64_t>(begin - 1, 0);
    outlines.load(first, this_row.data());
    for (int64_t y = first; y < end; ++y) {
      if (y + 1 < H) outlines.load(y + 1, next_row.data());
      const int32_t* above = (y + 1 < H ? next_row : this_row).data();
      find_blends(p, image, int32_t(y), this_row.data(), above, &blends);
      if (y >= begin) visit(image * H + y, blends);
      std::swap(blends.up, blends.down), std::swap(this_row, next_row);
    }
  }
}
