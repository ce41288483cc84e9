// On the host: gradients of vertices, to which many runs of pixels add, in float64. Every thread keeps the sums of the
// vertices that it met lately, and adds them to the target when another vertex takes their place: an atomic addition
// takes as long as most of what leads to it, and there remains one for all triangles and rows around a vertex.
#pragma once

#include "lanes.cuh"

#ifndef GLR_WARP_SIZE

#include <vector>

class VertexSums {
 public:
  // Sums of `width` numbers each; null: nothing will be added.
  VertexSums(double* target, int64_t num_elements, int64_t width) : target(target), width(width) {
    if (!target) return;
    stride = (width + kNumberLanes - 1) / kNumberLanes * kNumberLanes;
    while (bits < 12 && stride << (bits + 1) <= kMostNumbers && width << bits < num_elements) ++bits;
    kept.resize(size_t(stride) << bits), offsets.resize(size_t(1) << bits, -1);
  }
  VertexSums(const VertexSums&) = delete;
  VertexSums& operator=(const VertexSums&) = delete;
  ~VertexSums() {
    for (size_t slot = 0; slot < offsets.size(); ++slot) pass_on(slot);
  }

  // The sums for target[offset] to target[offset + width - 1], until the next call.
  double* at(int64_t offset) {
    const size_t slot = uint64_t(offset) * 0x9e3779b97f4a7c15ull >> (63 - bits) >> 1;  // multiplicative hashing (Knuth)
    if (offsets[slot] != offset) pass_on(slot), offsets[slot] = offset;
    return &kept[slot * stride];
  }

  // Adds to the four from target[offset + column] on; zeros where these are more than there are.
  void add(int64_t offset, int64_t column, DoubleLanes values) {
    double* sum = at(offset) + column;
    store_lanes(sum, load_lanes<DoubleLanes>(sum) + values);
  }

 private:
  static constexpr int64_t kMostNumbers = 16384;  // of 128 KiB, a part of the cache that a core has of its own

  void pass_on(size_t slot) {
    if (offsets[slot] < 0) return;
    for (int64_t i = 0; i < width; ++i) {
      double& sum = kept[slot * stride + i];
      if (sum != 0) atomic_add(target + offsets[slot] + i, sum);
      sum = 0;
    }
  }

  double* target;
  int64_t width, stride = 0;
  int bits = 0;
  std::vector<double> kept;      // [2^bits, stride]
  std::vector<int64_t> offsets;  // [2^bits] of what is kept there, -1: nothing
};

// Calls visit(row, ids, &sums) for every row of pixels; threads have sums of their own, and room for W ids.
template <class Visit>
GLR_FUNC void add_row_by_row(int64_t num_rows, double* target, int64_t num_elements, int64_t width, int64_t W,
                             const Visit& visit) {
  const int64_t chunk = chunk_of(num_rows);
#pragma omp parallel
  {
    VertexSums sums(target, num_elements, width);
    std::vector<int32_t> ids(W);
#pragma omp for schedule(dynamic, chunk) nowait
    for (int64_t row = 0; row < num_rows; ++row) visit(row, ids.data(), &sums);
  }
}

#endif
