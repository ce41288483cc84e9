// Gradients of what texel_reads.cuh reads: added to the texels', and of the pixels' footprints.
#pragma once

#include "texel_reads.cuh"

// The gradients of one image's level, of T or double, as this thread adds to them; null if not wanted.
template <class T, template <class> class Params>
GLR_FUNC void* grad_texels_of(const Params<T>& p, int32_t k, int64_t image) {
  if (!p.grad_level[k]) return nullptr;
  const int64_t copy = kSpan > 1 && p.copies > 1 ? thread_index() : 0;  // a GPU has one
  const int64_t size = k < p.first_double ? sizeof(T) : sizeof(double);
  return static_cast<char*>(p.grad_level[k]) + (copy * p.M + (p.M > 1 ? image : 0)) * p.level_size[k] * size;
}

template <class Params, class T>
GLR_FUNC auto span_grad_texels(const Params& p, const PixelSpan& span, const SpanLevels<T>& levels, int32_t upper) {
  return per_level(levels, [&p, &span, upper](int32_t k) { return grad_texels_of(p, k + upper, span.image); });
}

// Starts to bring the gradients of the texels that pixels read of a level into the cache.
template <class Params, class T>
GLR_FUNC void prefetch_grads(const Params& p, const PixelSpan& span, const SpanLevels<T>& levels, int32_t upper,
                             const SpanFootprints<T>& prints) {
  if (kSpan == 1 || stays_cached(p, levels, upper)) return;
  const int64_t C = p.C;
  const auto grads_at = span_grad_texels(p, span, levels, upper);
  for (int32_t j = 0; j < span.count; ++j) {
    if (levels.level(j) + upper >= p.first_double) continue;  // small, and in the cache
    const T* level = static_cast<const T*>(grads_at(j));
    for (int i = 0; level && i < 4; ++i) prefetch<true>(level + prints.texel[i][j] * C);
  }
}

#ifdef GLR_WARP_SIZE

// Channels are added so many at a time.
template <int K>
constexpr int kAddedChannels = K > 0 && K <= 4 ? K
                               : K == kFours   ? 4
                                               : 1;

template <int n, class S, class T>
GLR_FUNC void atomic_add_sums(S* target, const T (&sums)[n]) {
  if constexpr (n == 4) {
    atomic_add_channels(target, Vec4<T>{sums[0], sums[1], sums[2], sums[3]});
  } else {
    for (int i = 0; i < n; ++i) atomic_add(target + i, S(sums[i]));
  }
}

// Of threads that add to the same four texels.
template <class T>
GLR_FUNC LaneRun footprint_run(bool adds, const void* level, const SpanFootprints<T>& prints) {
  const uint64_t place = reinterpret_cast<uint64_t>(level);
  if constexpr (sizeof(TexelIndex) == 4) {
    const uint32_t t0 = prints.texel[0][0], t1 = prints.texel[1][0], t2 = prints.texel[2][0], t3 = prints.texel[3][0];
    const uint64_t keys[] = {place, uint64_t(t1) << 32 | t0, uint64_t(t3) << 32 | t2};
    return lane_run(adds, keys);
  } else {
    const uint64_t keys[] = {place, uint64_t(prints.texel[0][0]), uint64_t(prints.texel[1][0]),
                             uint64_t(prints.texel[2][0]), uint64_t(prints.texel[3][0])};
    return lane_run(adds, keys);
  }
}

// The gradient of a level's texel: of T, or of double from p.first_double on.
template <class T, class Params, int n>
GLR_FUNC void add_to_texel(const Params& p, int32_t k, void* level, int64_t at, const T (&sums)[n]) {
  if (k < p.first_double)
    atomic_add_sums(static_cast<T*>(level) + at, sums);
  else
    atomic_add_sums(static_cast<double*>(level) + at, sums);
}

#ifndef GLR_DETERMINISTIC

constexpr int kMostTextureWarps = 4;  // of a block

// What a warp has summed of pixels that all read the same four texels, and has not added to them yet: background, where
// coordinates are zero, or one texel on the whole screen. Else every warp of the image would add to a few addresses.
template <class T, int n>
struct PendingTexels {
  int32_t k, times;  // the level, -1: nothing
  int32_t image;     // rather than a pointer, of which the compiler would not know that it leads to global memory
  TexelIndex texel[4];
  T sums[4][n];

  GLR_MEMBER bool is_of(const PendingTexels& other) const {
    bool same = other.k == k && other.image == image;
    for (int i = 0; i < 4; ++i) same &= texel[i] == other.texel[i];
    return same;
  }
  GLR_MEMBER bool is_of(int32_t other_k, int32_t other_image, const SpanFootprints<T>& prints) const {
    bool same = other_k == k && other_image == image;
    for (int i = 0; i < 4; ++i) same &= texel[i] == prints.texel[i][0];
    return same;
  }
  GLR_MEMBER void begin(int32_t new_k, int32_t new_image, const SpanFootprints<T>& prints) {
    k = new_k, times = 0, image = new_image;
    for (int i = 0; i < 4; ++i) {
      texel[i] = prints.texel[i][0];
      for (int j = 0; j < n; ++j) sums[i][j] = T(0);
    }
  }
  GLR_MEMBER void add(const T (&values)[4][n]) {
    for (int i = 0; i < 4; ++i)
      for (int j = 0; j < n; ++j) sums[i][j] += values[i][j];
  }
  template <class Params>
  GLR_MEMBER void flush(const Params& p) {
    if (k < 0) return;
    void* level = grad_texels_of(p, k, image);
    GLR_ROLLED
    for (int i = 0; i < 4; ++i)
      if (texel[i] >= 0) add_to_texel(p, k, level, int64_t(texel[i]) * n, sums[i]);
    k = -1;
  }
};

// Of this block's warps; of their pixels' lower levels and of the upper ones. Its first lane alone uses a warp's.
template <class T, int n>
GLR_FUNC PendingTexels<T, n>* pending_texels(int32_t upper) {
  static __shared__ PendingTexels<T, n> pending[2][kMostTextureWarps];
  return pending[upper];
}

// To be called by all threads of the block, before and after all that they add.
template <int K, class T>
GLR_FUNC void begin_texel_sums() {
  if constexpr (K > 0 && K <= 4)
    for (int32_t upper = 0; threadIdx.x % GLR_WARP_SIZE == 0 && upper < 2; ++upper)
      pending_texels<T, K>(upper)[threadIdx.x / GLR_WARP_SIZE].k = -1;
}

template <int K, class T, class Params>
GLR_FUNC void end_texel_sums(const Params& p) {
  if constexpr (K > 0 && K <= 4) {
    __syncthreads();
    for (int32_t upper = 0; threadIdx.x == 0 && upper < 2; ++upper) {
      PendingTexels<T, K>* pending = pending_texels<T, K>(upper);
      for (int k = 1; k < int(blockDim.x / GLR_WARP_SIZE); ++k) {
        if (pending[k].k >= 0 && pending[k].is_of(pending[0]))
          pending[0].add(pending[k].sums);
        else
          pending[k].flush(p);
      }
      pending[0].flush(p);
    }
  }
}

// Adds what all lanes of a warp add to one footprint, if they do; false if they don't.
template <int K, class Params, class T>
GLR_FUNC bool add_as_warp(const Params& p, const LaneRun& run, int32_t upper, int32_t k, int32_t image,
                          const SpanFootprints<T>& prints, const T* grad_out) {
  if constexpr (K > 0 && K <= 4) {
    constexpr int32_t most = 64;  // sums in a row, lest they lose digits
    const bool whole = run.first && run.length == GLR_WARP_SIZE;
    if (!__shfl_sync(kAllLanes, whole, 0)) return false;
    if (p.M == 1) image = 0;
    PendingTexels<T, K>& pending = pending_texels<T, K>(upper)[threadIdx.x / GLR_WARP_SIZE];
    if (whole && (!pending.is_of(k, image, prints) || pending.times == most)) {
      pending.flush(p);
      pending.begin(k, image, prints);
    }
    for (int row = 0; row < 4; row += 2) {
      T values[2][K];
      for (int i = 0; i < 2; ++i)
        for (int j = 0; j < K; ++j) values[i][j] = prints.weight[row + i][0] * fetch<T>(grad_out + j);
      sum_over_lanes(run, reinterpret_cast<T(&)[2 * K]>(values));
      for (int i = 0; whole && i < 2; ++i)
        for (int j = 0; j < K; ++j) pending.sums[row + i][j] += values[i][j];
    }
    if (whole) ++pending.times;
    return true;
  }
  return false;
}

#else

template <int K, class T>
GLR_FUNC void begin_texel_sums() {}
template <int K, class T, class Params>
GLR_FUNC void end_texel_sums(const Params&) {}
template <int K, class Params, class T>
GLR_FUNC bool add_as_warp(const Params&, const LaneRun&, int32_t, int32_t, int32_t, const SpanFootprints<T>&,
                          const T*) {
  return false;
}

#endif

// Neighbours with one footprint, as in magnified textures, gather their sums: all lanes of a warp come here.
template <int K, Boundary B, class Params, class T>
GLR_FUNC void add_to_texels(const Params& p, const PixelSpan& span, const SpanLevels<T>& levels, int32_t upper,
                            const SpanFootprints<T>& prints) {
  constexpr int n = kAddedChannels<K>;
  const int64_t C = K > 0 ? K : p.C;
  const int32_t k = levels.lower[0] + upper;
  const bool reads = !span.again && prints.read[0];
  void* level = reads ? grad_texels_of(p, k, span.image) : nullptr;
  const bool adds = level != nullptr;
  const LaneRun run = footprint_run(adds, level, prints);
  const T* grad_out = p.grad_out + span.first * C;
  if (add_as_warp<K>(p, run, upper, k, int32_t(span.image), prints, grad_out)) return;
  for (int64_t c = 0; c < C; c += n) {
    T g[n] = {};
    for (int j = 0; adds && j < n; ++j) g[j] = fetch<T>(grad_out + c + j);
    for (int row = 0; row < 4; row += 2) {
      T values[2][n];
      for (int i = 0; i < 2; ++i)
        for (int j = 0; j < n; ++j) values[i][j] = prints.weight[row + i][0] * g[j];
      sum_over_lanes(run, reinterpret_cast<T(&)[2 * n]>(values));
      for (int i = 0; run.first && i < 2; ++i) {
        const TexelIndex texel = prints.texel[row + i][0];
        if (B == ZERO && texel < 0) continue;
        add_to_texel(p, k, level, texel * C + c, values[i]);
      }
    }
  }
}

#else

template <int K, class T>
GLR_FUNC void begin_texel_sums() {}
template <int K, class T, class Params>
GLR_FUNC void end_texel_sums(const Params&) {}

template <class S, Boundary B, class T>
GLR_FUNC void add_footprint(bool together, S* level, const Footprint<T>& f, const T* grad_out, int64_t C) {
  GLR_UNROLL(4)
  for (int i = 0; i < 4; ++i) {
    if (B == ZERO && f.texel[i] < 0) continue;
    S* grad = level + f.texel[i] * C;
    if (together) {
      for (int64_t c = 0; c < C; ++c) atomic_add(&grad[c], S(f.weight[i] * grad_out[c]));
      continue;
    }
    GLR_SIMD
    for (int64_t c = 0; c < C; ++c) grad[c] += f.weight[i] * grad_out[c];
  }
}

// d sample / d texels.
template <int K, Boundary B, class Params, class T>
GLR_STEP void add_to_texels(const Params& p, const PixelSpan& span, const SpanLevels<T>& levels, int32_t upper,
                            const SpanFootprints<T>& prints) {
  const int64_t C = K > 0 ? K : p.C;
  const auto grads_at = span_grad_texels(p, span, levels, upper);
  for (int32_t j = 0; j < span.count; ++j) {
    void* level = grads_at(j);
    if (!level || !prints.read[j]) continue;
    const Footprint<T> f = prints.get(j);
    const T* grad_out = p.grad_out + (span.first + j) * C;
    if (levels.level(j) + upper < p.first_double)
      add_footprint<T, B>(p.shared_gradient, static_cast<T*>(level), f, grad_out, C);
    else
      add_footprint<double, B>(p.shared_gradient, static_cast<double*>(level), f, grad_out, C);
  }
}

#endif

// What a pixel reads of one level, and its derivatives by the weights x1 and y1.
template <class V>
struct Bilinear {
  V value, by_x, by_y;
};

template <class V, class T>
GLR_FUNC Bilinear<V> bilinear_at(const PixelTexels<T>& t, int32_t missing, T x1, T y1, int64_t c) {
  V v[4];
  for (int i = 0; i < 4; ++i) v[i] = t.zero[i] ? V{} : fetch<V>(t.texel[i] + c);
  fill_missing<T>(missing, v);
  const V right = v[1] - v[0], twist = (v[3] - v[2]) - right;
  const V below = v[0] + x1 * right, up = (v[2] + x1 * (v[3] - v[2])) - below;
  return {below + y1 * up, right + y1 * twist, up};
}

// d sample / d footprint.
template <int K, Boundary B, class Params, class T>
GLR_STEP void read_texels_bwd(const Params& p, const PixelSpan& span, const SpanLevels<T>& levels, int32_t upper,
                              const SpanFootprints<T>& prints, SpanSampleGrads<T>* grads) {
  using V = Channels<K, T>;
  const int64_t C = K > 0 ? K : p.C;
  const auto texels_at = span_texels(p, p.level, span, levels, upper);
  for (int32_t j = 0; j < span.count; ++j) {
    T value = T(0), by_x = T(0), by_y = T(0);
    if (prints.read[j]) {
      const PixelTexels<T> t = pixel_texels<B>(texels_at(j), prints, j, C);
      const T x1 = prints.x.weight1[j], y1 = prints.y.weight1[j];
      const T* grad_out = p.grad_out + (span.first + j) * C;
      const int32_t missing = B == CUBE ? prints.missing[j] : -1;
      GLR_SIMD_SUM(value, by_x, by_y)
      for (int64_t c = 0; c < C; c += channels_in<V>) {
        const Bilinear<V> at = bilinear_at<V>(t, missing, x1, y1, c);
        const V g = fetch<V>(grad_out + c);
        value += dot(g, at.value), by_x += dot(g, at.by_x), by_y += dot(g, at.by_y);
      }
    }
    grads->value[j] = value, grads->by_x[j] = by_x, grads->by_y[j] = by_y;
  }
}

template <int K, class S, class Params, class T>
GLR_FUNC void add_to_nearest(const Params& p, const PixelSpan& span, S* level, const SpanFootprints<T>& prints) {
  const int64_t C = K > 0 ? K : p.C;
  if (!level) return;
#ifdef GLR_WARP_SIZE  // neighbours with one texel gather their sums, as above
  const bool adds = !span.again && prints.read[0];
  S* grad = adds ? level + prints.texel[0][0] * C : nullptr;
  const uint64_t keys[] = {reinterpret_cast<uint64_t>(grad)};
  const LaneRun run = lane_run(adds, keys);
  for (int64_t c = 0; c < C; ++c) {
    T sum[1] = {adds ? p.grad_out[span.first * C + c] : T(0)};
    sum_over_lanes(run, sum);
    if (run.first) atomic_add(&grad[c], S(sum[0]));
  }
#else
  for (int32_t j = 0; j < span.count; ++j) {
    S* grad = level + prints.texel[0][j] * C;
    for (int64_t c = 0; prints.read[j] && c < C; ++c) {
      const T grad_out = p.grad_out[(span.first + j) * C + c];
      if (p.shared_gradient)
        atomic_add(&grad[c], S(grad_out));
      else
        grad[c] += grad_out;
    }
  }
#endif
}

template <int K, class Params, class T>
GLR_STEP void read_nearest_bwd(const Params& p, const PixelSpan& span, const SpanFootprints<T>& prints) {
  void* level = grad_texels_of(p, 0, span.image);
  if (p.first_double > 0)
    add_to_nearest<K>(p, span, static_cast<T*>(level), prints);
  else
    add_to_nearest<K>(p, span, static_cast<double*>(level), prints);
}

// Pixels without an incoming gradient (the background, often) are not looked at.
template <int K, class Params, class T>
GLR_STEP void skip_zero_gradients(const Params& p, const PixelSpan& span, SpanPoints<T>* points) {
  const int64_t C = K > 0 ? K : p.C;
  for (int32_t j = 0; j < span.count; ++j) {
    bool any = false;
    for (int64_t c = 0; c < C; ++c) any = any | (p.grad_out[(span.first + j) * C + c] != T(0));
    points->face[j] = any ? points->face[j] : -1;
  }
}
