// On the host: gradients of vertices, to which many runs of pixels add, in float64. An atomic addition takes as long as
// most of what leads to it, so threads add where no other does: to an image's gradients that are theirs alone, to a
// copy of all of them where that is small beside the pixels, or else to the sums of the vertices that they met lately,
// which are added to the target when other vertices take their place.
#pragma once

#include "lanes.cuh"

#ifndef GLR_WARP_SIZE

#include <vector>

// What is added to: [num_vertices, width].
struct VertexGradients {
  double* target;  // null: nothing will be added
  int64_t num_vertices, width;
  // From one vertex to the next where sums are kept: a multiple of what is added at a time.
  int64_t stride() const { return (width + kNumberLanes - 1) / kNumberLanes * kNumberLanes; }
};

class VertexSums {
 public:
  // `place`: [num_vertices, stride], to which no other thread adds; null: few vertices at a time are kept.
  VertexSums(const VertexGradients& gradients, double* place)
      : gradients(gradients), stride(gradients.stride()), sums(place) {
    if (place || !gradients.target) return;
    while (bits < 12 && stride << (bits + 1) <= kMostNumbers && int64_t(1) << bits < gradients.num_vertices) ++bits;
    kept.resize(size_t(stride) << bits), vertices.resize(size_t(1) << bits, -1);
    sums = kept.data();
  }
  VertexSums(const VertexSums&) = delete;
  VertexSums& operator=(const VertexSums&) = delete;
  ~VertexSums() {
    for (size_t slot = 0; slot < vertices.size(); ++slot) pass_on(slot);
  }

  // The sums of a vertex, until the next call.
  double* at(int64_t vertex) {
    if (vertices.empty()) return sums + vertex * stride;
    const size_t slot = uint64_t(vertex) * 0x9e3779b97f4a7c15ull >> (63 - bits) >> 1;  // multiplicative hashing (Knuth)
    if (vertices[slot] != vertex) pass_on(slot), vertices[slot] = vertex;
    return sums + slot * stride;
  }

  // Adds to the four from `column` on; zeros where these are more than there are.
  void add(int64_t vertex, int64_t column, DoubleLanes values) {
    double* sum = at(vertex) + column;
    store_lanes(sum, load_lanes<DoubleLanes>(sum) + values);
  }

 private:
  static constexpr int64_t kMostNumbers = 16384;  // of 128 KiB, a part of the cache that a core has of its own

  void pass_on(size_t slot) {
    if (vertices[slot] < 0) return;
    for (int64_t i = 0; i < gradients.width; ++i) {
      double& sum = kept[slot * stride + i];
      if (sum != 0) atomic_add(gradients.target + vertices[slot] * gradients.width + i, sum);
      sum = 0;
    }
  }

  VertexGradients gradients;
  int64_t stride;
  double* sums;
  int bits = 0;
  std::vector<double> kept;       // [2^bits, stride]
  std::vector<int64_t> vertices;  // [2^bits] of what is kept there, -1: nothing
};

// Calls visit(row, ids, &sums) for every row of pixels of N images; threads have sums of their own, and room for W ids.
// `shared`: the images have the same vertices, else each has as many.
template <class Visit>
GLR_FUNC void add_row_by_row(int64_t N, int64_t H, int64_t W, const VertexGradients& gradients, bool shared,
                             const Visit& visit) {
  const int64_t threads = omp_get_max_threads(), stride = gradients.stride(), numbers = gradients.num_vertices * stride;
  const bool in_place = gradients.target && stride == gradients.width;
  if (in_place && (threads == 1 || (!shared && (N % threads == 0 || N >= 4 * threads)))) {
#pragma omp parallel
    {
      VertexSums sums(gradients, gradients.target);
      std::vector<int32_t> ids(W);
#pragma omp for schedule(dynamic) nowait
      for (int64_t image = 0; image < N; ++image)
        for (int64_t row = image * H; row < (image + 1) * H; ++row) visit(row, ids.data(), &sums);
    }
    return;
  }
  const bool copies = gradients.target && numbers * threads <= N * H * W;
  const int64_t chunk = chunk_of(N * H);
  std::vector<std::vector<double>> copy_of(copies ? threads : 0);
#pragma omp parallel
  {
    if (copies) copy_of[omp_get_thread_num()].resize(numbers);
    VertexSums sums(gradients, copies ? copy_of[omp_get_thread_num()].data() : nullptr);
    std::vector<int32_t> ids(W);
#pragma omp for schedule(dynamic, chunk)
    for (int64_t row = 0; row < N * H; ++row) visit(row, ids.data(), &sums);
    if (copies) {
#pragma omp for schedule(static)
      for (int64_t vertex = 0; vertex < gradients.num_vertices; ++vertex)
        for (const std::vector<double>& copy : copy_of)
          for (int64_t i = 0; i < gradients.width && !copy.empty(); ++i)
            gradients.target[vertex * gradients.width + i] += copy[vertex * stride + i];
    }
  }
}

#endif
