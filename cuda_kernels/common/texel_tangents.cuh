// How what texel_reads.cuh reads changes along tangents of the texels, of the pixels' points and of their levels.
#pragma once

#include "texel_gradients.cuh"
#include "texture_tangents.cuh"

// The tangents of one image's level; null if none.
template <class Params>
GLR_FUNC auto tangent_texels_of(const Params& p, int32_t k, int64_t image) {
  const auto* level = p.tangent_level[k];
  return level ? level + (p.M > 1 ? image : 0) * p.level_size[k] : nullptr;
}

// How what a pixel reads of a level changes with its point and its level, along their tangents.
template <class T>
struct SampleTangent {
  T by_x, by_y, by_level;
};

// d sample along the tangents of a pixel's texels, its point and its level, added to out[C].
template <int K, class T>
GLR_FUNC void read_texels_jvp(int64_t channels, const PixelTexels<T>& t, const T* level, const T* tangent_level,
                              int32_t missing, T x1, T y1, const SampleTangent<T>& along, T* out) {
  using V = Channels<K, T>;
  const int64_t C = K > 0 ? K : channels;
  if (tangent_level) {
    GLR_SIMD
    for (int64_t c = 0; c < C; c += channels_in<V>) {
      V sum = load<V>(out + c);
      for (int i = 0; i < 4; ++i)
        sum = sum + (t.zero[i] ? V{} : t.weight[i] * load<V>(tangent_level + (t.texel[i] - level) + c));
      store(out + c, sum);
    }
  }
  if (along.by_x == T(0) && along.by_y == T(0) && along.by_level == T(0)) return;
  GLR_SIMD
  for (int64_t c = 0; c < C; c += channels_in<V>) {
    const Bilinear<V> at = bilinear_at<V>(t, missing, x1, y1, c);
    const V by_point = along.by_x * at.by_x + along.by_y * at.by_y;
    store(out + c, load<V>(out + c) + by_point + along.by_level * at.value);
  }
}

// The same for the pixels of a span; the first level they read is stored.
template <int K, Boundary B, class Params, class T>
GLR_STEP void read_span_jvp(const Params& p, const PixelSpan& span, const SpanLevels<T>& levels, int32_t upper,
                            const SpanFootprints<T>& prints, const SpanTangents<T>& tangents, bool first) {
  const int64_t C = K > 0 ? K : p.C;
  const auto texels_at = span_texels(p, span, levels, upper);
  const auto tangents_at =
      per_level(levels, [&p, &span, upper](int32_t k) { return tangent_texels_of(p, k + upper, span.image); });
  for (int32_t j = 0; j < span.count; ++j) {
    T* out = p.tangent_out + (span.first + j) * C;
    T sum[K > 0 ? K : 1];
    for (int64_t c = 0; c < K; ++c) sum[c] = first ? T(0) : out[c];
    for (int64_t c = 0; K == 0 && first && c < C; ++c) out[c] = T(0);
    if (prints.read[j]) {
      const SampleTangent<T> along = {prints.factor[j] * prints.x.slope[j] * tangents.s[j],
                                      prints.factor[j] * prints.y.slope[j] * tangents.t[j],
                                      upper ? tangents.fraction[j] : -tangents.fraction[j]};
      const T* level = texels_at(j);
      read_texels_jvp<K>(p.C, pixel_texels<B>(level, prints, j, C), level, tangents_at(j),
                         B == CUBE ? prints.missing[j] : -1, prints.x.weight1[j], prints.y.weight1[j], along,
                         K > 0 ? sum : out);
    }
    for (int64_t c = 0; c < K; ++c) out[c] = sum[c];
  }
}

template <int K, class Params, class T>
GLR_STEP void read_nearest_jvp(const Params& p, const PixelSpan& span, const SpanFootprints<T>& prints) {
  const int64_t C = K > 0 ? K : p.C;
  const T* level = tangent_texels_of(p, 0, span.image);
  for (int32_t j = 0; j < span.count; ++j)
    for (int64_t c = 0; c < C; ++c)
      p.tangent_out[(span.first + j) * C + c] = level && prints.read[j] ? level[prints.texel[0][j] * C + c] : T(0);
}
