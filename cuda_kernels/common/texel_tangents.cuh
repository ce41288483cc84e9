// How what the pixels of a span read changes with their points and levels, and with the texels, channel by channel.
// (With the texels alone it changes as read_texels reads: it is linear in them.)
#pragma once

#include "texel_reads.cuh"
#include "texture_tangents.cuh"

// The texels that a pixel reads of one level, their tangents, and how the pixel moves among them.
template <class T>
struct PixelChanges {
  PixelTexels<T> texels, tangents;
  int32_t missing;
  T first, right, up, twist;
};

template <Boundary B, class T>
GLR_FUNC PixelChanges<T> pixel_changes(const T* level, const T* tangent_level, const SpanFootprints<T>& prints,
                                       const SpanChanges<T>& changes, int32_t j, int64_t C) {
  return {pixel_texels<B>(level, prints, j, C),
          pixel_texels<B>(tangent_level, prints, j, C),
          B == CUBE ? prints.missing[j] : -1,
          changes.first[j],
          changes.right[j],
          changes.up[j],
          changes.twist[j]};
}

// How what the pixel reads changes, in channel c and those moved with it, added to `sum`.
template <int K, Boundary B, bool Texels, class V, class T>
GLR_FUNC V add_changes(V sum, const PixelChanges<T>& p, int64_t c) {
  V v[4];
  for (int i = 0; i < 4; ++i) v[i] = p.texels.zero[i] ? V{} : fetch_channels<K>(p.texels.texel[i] + c);
  if (B == CUBE) fill_missing<T>(p.missing, v);
  const V to_right = v[1] - v[0];
  sum = sum + (p.first * v[0] + p.right * to_right + p.up * (v[2] - v[0]) + p.twist * ((v[3] - v[2]) - to_right));
  for (int i = 0; Texels && i < 4; ++i)
    sum = sum + (p.tangents.zero[i] ? V{} : p.tangents.weight[i] * fetch_channels<K>(p.tangents.texel[i] + c));
  return sum;
}

// How what the pixels read of their lower levels and, with Levels == 2, of those above changes; Texels: whether the
// texels have tangents. The first sample is stored, others are added to it.
template <int K, Boundary B, int Levels, bool Texels, class Params, class T>
GLR_STEP void read_changes(const Params& p, const PixelSpan& span, const SpanLevels<T>& levels,
                           const SpanFootprints<T>& lower, const SpanFootprints<T>& upper, const SpanChanges<T>& below,
                           const SpanChanges<T>& above, bool first) {
  using V = ChannelLanes<K, T>;
  const int64_t C = K > 0 ? K : p.C;
  const T* const* tangents = Texels ? p.tangent_level : p.level;
  const auto lower_at = span_texels(p, p.level, span, levels, 0);
  const auto upper_at = span_texels(p, p.level, span, levels, Levels - 1);
  const auto lower_tangents = span_texels(p, tangents, span, levels, 0);
  const auto upper_tangents = span_texels(p, tangents, span, levels, Levels - 1);
  for (int32_t j = 0; j < span.count; ++j) {
    T* out = p.tangent_out + (span.first + j) * C;
    const bool both = Levels == 2 && upper.read[j];
    if (!lower.read[j] || !(Texels || below.any[j] || (both && above.any[j]))) {
      const int64_t end = first ? C : 0;
      for (int64_t c = 0; c < end; ++c) out[c] = T(0);
      continue;
    }
    const PixelChanges<T> t = pixel_changes<B>(lower_at(j), lower_tangents(j), lower, below, j, C);
    if (!both) {
      GLR_SIMD_CHANNELS(K)
      for (int64_t c = 0; c < C; c += channel_lanes<K, T>)
        store_channels<K>(out + c, add_changes<K, B, Texels>(first ? V{} : load_channels<K>(out + c), t, c));
      continue;
    }
    const PixelChanges<T> u = pixel_changes<B>(upper_at(j), upper_tangents(j), upper, above, j, C);
    GLR_SIMD_CHANNELS(K)
    for (int64_t c = 0; c < C; c += channel_lanes<K, T>) {
      const V sum = add_changes<K, B, Texels>(first ? V{} : load_channels<K>(out + c), t, c);
      store_channels<K>(out + c, add_changes<K, B, Texels>(sum, u, c));
    }
  }
}
