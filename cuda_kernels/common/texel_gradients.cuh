// Gradients of what texel_reads.cuh reads: added to the texels', and of the pixels' footprints.
#pragma once

#include "texel_reads.cuh"

// The gradients of one image's level, of T or double, as this thread adds to them; null if not wanted.
template <class T, template <class> class Params>
GLR_FUNC void* grad_texels_of(const Params<T>& p, int32_t k, int64_t image) {
  if (!p.grad_level[k]) return nullptr;
  const int64_t copy = p.copies > 1 ? thread_index() : 0;
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

// Where other threads add as well. Neighbours with one footprint, as in magnified textures, gather their sums.
template <class V, Boundary B, class S, class T>
GLR_FUNC void add_together(S* level, const Footprint<T>& f, const T* grad_out, int64_t C) {
  uint64_t places[4];
  for (int i = 0; i < 4; ++i) places[i] = reinterpret_cast<uint64_t>(level + f.texel[i] * C);
  const LaneRun run = lane_run(places);
  GLR_UNROLL(4)
  for (int i = 0; i < 4; ++i)
    for (int64_t c = 0; c < C; c += channels_in<V>) {
      const V sum = sum_over_lanes(run, f.weight[i] * fetch<V>(grad_out + c));
      if (run.first && !(B == ZERO && f.texel[i] < 0)) atomic_add_channels(level + f.texel[i] * C + c, sum);
    }
}

// Whether other threads add to the same copy of the gradients: on a GPU always.
template <class Params>
GLR_FUNC bool is_shared(const Params& p) {
  return kSpan == 1 || p.shared_gradient;
}

template <class V, Boundary B, class S, class T>
GLR_FUNC void add_footprint(bool together, S* level, const Footprint<T>& f, const T* grad_out, int64_t C) {
  if (together) return add_together<V, B>(level, f, grad_out, C);
  GLR_UNROLL(4)
  for (int i = 0; i < 4; ++i) {
    if (B == ZERO && f.texel[i] < 0) continue;
    S* grad = level + f.texel[i] * C;
    GLR_SIMD
    for (int64_t c = 0; c < C; ++c) grad[c] += f.weight[i] * grad_out[c];
  }
}

// d sample / d texels.
template <int K, Boundary B, class Params, class T>
GLR_STEP void add_to_texels(const Params& p, const PixelSpan& span, const SpanLevels<T>& levels, int32_t upper,
                            const SpanFootprints<T>& prints) {
  using V = Channels<K, T>;
  const int64_t C = K > 0 ? K : p.C;
  const auto grads_at = span_grad_texels(p, span, levels, upper);
  for (int32_t j = 0; j < span.count; ++j) {
    void* level = grads_at(j);
    if (!level || !prints.read[j]) continue;
    const Footprint<T> f = prints.get(j);
    const T* grad_out = p.grad_out + (span.first + j) * C;
    if (levels.level(j) + upper < p.first_double)
      add_footprint<V, B>(is_shared(p), static_cast<T*>(level), f, grad_out, C);
    else
      add_footprint<V, B>(is_shared(p), static_cast<double*>(level), f, grad_out, C);
  }
}

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
  for (int32_t j = 0; level && j < span.count; ++j) {
    S* grad = level + prints.texel[0][j] * C;
    for (int64_t c = 0; prints.read[j] && c < C; ++c) {
      const T grad_out = p.grad_out[(span.first + j) * C + c];
      if (is_shared(p))
        atomic_add(&grad[c], S(grad_out));
      else
        grad[c] += grad_out;
    }
  }
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
