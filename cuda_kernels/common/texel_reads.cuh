// How the pixels of a span read the texels that texture_steps.cuh found for them, channel by channel.
#pragma once

#include "channels.cuh"
#include "texture_steps.cuh"

// The texels of one image's level, or others of the same shape: `levels` is p.level or p.tangent_level.
template <class Params, class T>
GLR_FUNC const T* texels_of(const Params& p, const T* const* levels, int32_t k, int64_t image) {
  return levels[k] + (p.M > 1 ? image : 0) * p.level_size[k];
}

// find(level) for the level of each pixel of a span; called once where that is the same for all of them.
template <class T, class Find, class Found>
struct PerLevel {
  const SpanLevels<T>& levels;
  Find find;
  Found first;
  GLR_MEMBER Found operator()(int32_t j) const { return levels.alike ? first : find(levels.lower[j]); }
};

template <class T, class Find>
GLR_FUNC auto per_level(const SpanLevels<T>& levels, const Find& find) {
  return PerLevel<T, Find, decltype(find(0))>{levels, find, find(levels.lower[0])};
}

template <class Params, class T>
GLR_FUNC auto span_texels(const Params& p, const T* const* texels, const PixelSpan& span, const SpanLevels<T>& levels,
                          int32_t upper) {
  return per_level(levels,
                   [&p, texels, &span, upper](int32_t k) { return texels_of(p, texels, k + upper, span.image); });
}

// Calls step(Case<K, B>) for the number of channels. K is known to the compiler where it is worth a case of its own;
// wrapped texels are clamped ones.
template <int K_, Boundary B_>
struct Case {
  static constexpr int K = K_;
  static constexpr Boundary B = B_;
};

template <Boundary B, class T, template <class> class Params, class Step>
GLR_FUNC void with_channels(const Params<T>& p, const Step& step) {
#ifdef TEXTURE_CHANNELS  // on a GPU, where every case is compiled by itself when it is first needed
  step(Case<TEXTURE_CHANNELS, B>{});
#else
  constexpr Boundary alike = B == WRAP ? CLAMP : B;
  switch (sizeof(T) == sizeof(float) ? p.C : 0) {
    case 1:
      return step(Case<1, alike>{});
    case 2:
      return step(Case<2, alike>{});
    case 3:
      return step(Case<3, alike>{});
    case 4:
      return step(Case<4, alike>{});
    case 8:
      return step(Case<8, alike>{});
    default:
      return step(Case<kAnyNumber, alike>{});
  }
#endif
}

// Whether a level is small enough to stay in a core's cache by itself: judged by the first pixel's.
template <class Params, class T>
GLR_FUNC bool stays_cached(const Params& p, const SpanLevels<T>& levels, int32_t upper) {
  return p.level_size[levels.lower[0] + upper] * int64_t(sizeof(T)) <= 1 << 18;
}

// Starts to bring the texels that pixels read of a level into the cache. All four: those of a row lie in two lines
// often enough.
template <class Params, class T>
GLR_FUNC void prefetch_texels(const Params& p, const T* const* texels, const PixelSpan& span,
                              const SpanLevels<T>& levels, int32_t upper, const SpanFootprints<T>& prints) {
  if (kSpan == 1 || stays_cached(p, levels, upper)) return;
  const int64_t C = p.C;
  const auto texels_at = span_texels(p, texels, span, levels, upper);
  for (int32_t j = 0; j < span.count; ++j)
    for (int i = 0; i < 4; ++i) prefetch<false>(texels_at(j) + prints.texel[i][j] * C);
}

// What one pixel reads of one level.
template <class T>
struct PixelTexels {
  const T* texel[4];
  T weight[4];
  bool zero[4];  // beyond the texture's edge
};

template <Boundary B, class T>
GLR_FUNC PixelTexels<T> pixel_texels(const T* level, const SpanFootprints<T>& prints, int32_t j, int64_t C) {
  PixelTexels<T> t;
  for (int i = 0; i < 4; ++i) {
    const TexelIndex texel = prints.texel[i][j];
    t.zero[i] = B == ZERO && texel < 0;
    t.texel[i] = level + (t.zero[i] ? 0 : texel * C);
    t.weight[i] = prints.weight[i][j];
  }
  return t;
}

template <class V, class T>
GLR_FUNC V add_texels(V sum, const PixelTexels<T>& t, int64_t c) {
  for (int i = 0; i < 4; ++i) sum = sum + (t.zero[i] ? V{} : t.weight[i] * fetch<V>(t.texel[i] + c));
  return sum;
}

// Among the four texels around a point, the one that is missing at a corner of a cube is the mean of the others.
template <class T, class V>
GLR_FUNC void fill_missing(int32_t missing, V v[4]) {
  V others{};
  for (int i = 0; i < 4; ++i) others = others + (i == missing ? V{} : v[i]);
  for (int i = 0; i < 4; ++i) v[i] = i == missing ? T(1) / T(3) * others : v[i];
}

// What the pixels read of their lower levels and, with Levels == 2, of those above, into image[N, H, W, C]. The first
// sample is stored, others are added to it.
template <int K, Boundary B, int Levels, class Params, class T>
GLR_STEP void read_texels(const Params& p, const T* const* texels, T* image, const PixelSpan& span,
                          const SpanLevels<T>& levels, const SpanFootprints<T>& lower, const SpanFootprints<T>& upper,
                          bool first) {
  using V = Channels<K, T>;
  const int64_t C = K > 0 ? K : p.C;
  const auto lower_at = span_texels(p, texels, span, levels, 0);
  const auto upper_at = span_texels(p, texels, span, levels, Levels - 1);
  for (int32_t j = 0; j < span.count; ++j) {
    T* out = image + (span.first + j) * C;
    if (!lower.read[j]) {
      const int64_t end = first ? C : 0;
      GLR_SIMD_CHANNELS(K)
      for (int64_t c = 0; c < end; c += channels_in<V>) store(out + c, V{});
      continue;
    }
    const PixelTexels<T> below = pixel_texels<B>(lower_at(j), lower, j, C);
    if (Levels == 1 || !upper.read[j]) {
      GLR_SIMD_CHANNELS(K)
      for (int64_t c = 0; c < C; c += channels_in<V>)
        store(out + c, add_texels(first ? V{} : load<V>(out + c), below, c));
      continue;
    }
    const PixelTexels<T> above = pixel_texels<B>(upper_at(j), upper, j, C);
    GLR_SIMD_CHANNELS(K)
    for (int64_t c = 0; c < C; c += channels_in<V>)
      store(out + c, add_texels(add_texels(first ? V{} : load<V>(out + c), below, c), above, c));
  }
}

template <int K, class Params, class T>
GLR_STEP void read_nearest(const Params& p, const T* const* texels, T* image, const PixelSpan& span,
                           const SpanFootprints<T>& prints) {
  using V = Channels<K, T>;
  const int64_t C = K > 0 ? K : p.C;
  const T* level = texels_of(p, texels, 0, span.image);
  for (int32_t j = 0; j < span.count; ++j) {
    const T* texel = level + (prints.read[j] ? prints.texel[0][j] : 0) * C;
    GLR_SIMD_CHANNELS(K)
    for (int64_t c = 0; c < C; c += channels_in<V>)
      store(image + (span.first + j) * C + c, prints.read[j] ? fetch<V>(texel + c) : V{});
  }
}
