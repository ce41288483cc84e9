// Texture lookups: nearest, linear, and linear on one mip level or between two, with one sample per pixel or several
// along the major axis of its footprint.
//   out = mean_k (1 - f) L_l(uv + o_k a) + f L_l+1(uv + o_k a),   l + f = level(uv_da) + mip_level_bias
// where L_l interpolates level l, a is the major axis and o_k are sample positions along it; one sample has o_0 = 0.
// Source: Williams, "Pyramidal Parametrics", 1983; the chain rule. See also common/mip_level.cuh.
#include "common/channels.cuh"
#include "common/texture_tangents.cuh"

constexpr int kMaxLevels = 32;

template <class T>
struct TextureParams {
  const T* level[kMaxLevels];          // [M, (6,) max(h >> k, 1), max(w >> k, 1), C], M = N or 1
  void* grad_level[kMaxLevels];        // [copies, M, ... as level] of T or double, zeroed; null if not wanted
  const T* uv;                         // [N, H, W, D], D = 3 for cube maps, else 2
  const T* uv_da;                      // [N, H, W, 2 D]; null if not given
  const T* mip_level_bias;             // [N, H, W]; null if not given
  T* out;                              // [N, H, W, C]
  const T* grad_out;                   // [N, H, W, C]
  T* grad_uv;                          // [N, H, W, D]; null if not wanted
  T* grad_uv_da;                       // [N, H, W, 2 D]; null if not wanted
  T* grad_mip_level_bias;              // [N, H, W]; null if not wanted
  const T* tangent_level[kMaxLevels];  // as level; null if none
  const T* tangent_uv;                 // [N, H, W, D]; null if none
  const T* tangent_uv_da;              // [N, H, W, 2 D]; null if none
  const T* tangent_mip_level_bias;     // [N, H, W]; null if none
  T* tangent_out;                      // [N, H, W, C]
  int64_t level_size[kMaxLevels];      // elements of one texture's level
  int64_t N, H, W, M, h, w, C, num_levels;
  int64_t boundary;         // a Boundary
  int64_t nearest_level;    // whether only the lower level is read
  int64_t max_anisotropy;   // samples per pixel
  int64_t copies;           // of each level's gradient: one, or one per thread
  int64_t shared_gradient;  // whether several threads add to one copy
  int64_t first_double;     // from this level on, gradients are summed in double
};

// The texels of one image's level.
template <class T>
GLR_FUNC const T* texels_of(const TextureParams<T>& p, int32_t k, int64_t image) {
  return p.level[k] + (p.M > 1 ? image : 0) * p.level_size[k];
}

// Their gradients, of T or double, as this thread adds to them; null if not wanted.
template <class T>
GLR_FUNC void* grad_texels_of(const TextureParams<T>& p, int32_t k, int64_t image) {
  if (!p.grad_level[k]) return nullptr;
  const int64_t copy = p.copies > 1 ? thread_index() : 0;
  const int64_t size = k < p.first_double ? sizeof(T) : sizeof(double);
  return static_cast<char*>(p.grad_level[k]) + (copy * p.M + (p.M > 1 ? image : 0)) * p.level_size[k] * size;
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

template <class T>
GLR_FUNC auto span_texels(const TextureParams<T>& p, const PixelSpan& span, const SpanLevels<T>& levels,
                          int32_t upper) {
  return per_level(levels, [&p, &span, upper](int32_t k) { return texels_of(p, k + upper, span.image); });
}

template <class T>
GLR_FUNC auto span_grad_texels(const TextureParams<T>& p, const PixelSpan& span, const SpanLevels<T>& levels,
                               int32_t upper) {
  return per_level(levels, [&p, &span, upper](int32_t k) { return grad_texels_of(p, k + upper, span.image); });
}

// The steps that move channels. Their number C is known to the compiler where K > 0; wrapped texels are clamped ones.
#ifdef TEXTURE_CHANNELS  // on a GPU, where every case is compiled by itself when it is first needed
#define MOVE_CHANNELS(step, ...) step<TEXTURE_CHANNELS, B>(__VA_ARGS__)
#else
#define MOVE_CHANNELS(step, ...)                      \
  do {                                                \
    constexpr Boundary alike = B == WRAP ? CLAMP : B; \
    switch (sizeof(T) == sizeof(float) ? p.C : 0) {   \
      case 1:                                         \
        step<1, alike>(__VA_ARGS__);                  \
        break;                                        \
      case 3:                                         \
        step<3, alike>(__VA_ARGS__);                  \
        break;                                        \
      case 4:                                         \
        step<4, alike>(__VA_ARGS__);                  \
        break;                                        \
      default:                                        \
        step<0, alike>(__VA_ARGS__);                  \
    }                                                 \
  } while (false)
#endif

// Starts to bring the texels that pixels read of a level, or their gradients, into the cache: every `step`th of the
// four. The two of a row are mostly in one line; looking ahead for both pays where a miss costs twice, in gradients.
template <bool Grad, class T>
GLR_FUNC void prefetch_texels(const TextureParams<T>& p, const PixelSpan& span, const SpanLevels<T>& levels,
                              int32_t upper, const SpanFootprints<T>& prints, int32_t step) {
  const auto texels_at = span_texels(p, span, levels, upper);
  const auto grads_at = span_grad_texels(p, span, levels, upper);
  for (int32_t j = 0; j < span.count; ++j) {
    if (Grad && levels.lower[j] + upper >= p.first_double) continue;  // small, and in the cache
    const T* level = Grad ? static_cast<const T*>(grads_at(j)) : texels_at(j);
    for (int i = 0; level && i < 4; i += step) prefetch<Grad>(level + prints.texel[i][j]);
  }
}

// Adds up what the pixels read of a level; the first level they read is stored.
template <int K, Boundary B, class T>
GLR_STEP void read_texels(const TextureParams<T>& p, const PixelSpan& span, const SpanLevels<T>& levels, int32_t upper,
                          const SpanFootprints<T>& prints, bool first) {
  using V = Channels<K, T>;
  const int64_t C = K > 0 ? K : p.C;
  const auto texels_at = span_texels(p, span, levels, upper);
  for (int32_t j = 0; j < span.count; ++j) {
    T* out = p.out + (span.first + j) * C;
    if (!prints.read[j]) {
      for (int64_t c = 0; first && c < C; ++c) out[c] = T(0);
      continue;
    }
    const T* level = texels_at(j);
    const Footprint<T> f = prints.get(j);
    const T* texel[4];
    bool zero[4];
    for (int i = 0; i < 4; ++i) zero[i] = B == ZERO && f.texel[i] < 0, texel[i] = level + (zero[i] ? 0 : f.texel[i]);
    GLR_SIMD
    for (int64_t c = 0; c < C; c += channels_in<V>) {
      V sum = first ? V{} : load<V>(out + c);
      for (int i = 0; i < 4; ++i) sum = sum + (zero[i] ? V{} : f.weight[i] * load<V>(texel[i] + c));
      store(out + c, sum);
    }
  }
}

template <int K, Boundary B, class T>
GLR_STEP void read_nearest(const TextureParams<T>& p, const PixelSpan& span, const SpanFootprints<T>& prints) {
  const int64_t C = K > 0 ? K : p.C;
  const T* level = texels_of(p, 0, span.image);
  for (int32_t j = 0; j < span.count; ++j)
    for (int64_t c = 0; c < C; ++c)
      p.out[(span.first + j) * C + c] = prints.read[j] ? level[prints.texel[0][j] + c] : T(0);
}

template <Filter F, Boundary B, class T>
GLR_KERNEL texture_image(const TextureParams<T>& p) {
  GLR_FOR_EACH_SPAN(span, p.N, p.H * p.W) {
    SpanLevels<T> levels;
    SpanPoints<T> points;
    SpanFootprints<T> prints;
    prefetch_next_span(p.uv, span, Coordinates<B, T>::D);
    if (F == MIPMAP) prefetch_next_span(p.uv_da, span, Coordinates<B, T>::D * 2);
    prefetch_next_span(p.out, span, p.C);
    find_levels<F, B>(p, span, &levels);
    for (int32_t k = 0; k < levels.max_count; ++k) {
      find_points<F, B>(p, span, levels, k, &points);
      if (F == NEAREST) {
        find_nearest<B>(p, span, points, &prints);
        prefetch_texels<false>(p, span, levels, 0, prints, 4);
        MOVE_CHANNELS(read_nearest, p, span, prints);
        continue;
      }
      for (int32_t upper = 0; upper <= levels.between; ++upper) {
        find_footprints<F, B>(p, span, levels, upper, points, &prints);
        prefetch_texels<false>(p, span, levels, upper, prints, 2);
        MOVE_CHANNELS(read_texels, p, span, levels, upper, prints, k + upper == 0);
      }
    }
  }
}

// The tangents of one image's level; null if none.
template <class T>
GLR_FUNC const T* tangent_texels_of(const TextureParams<T>& p, int32_t k, int64_t image) {
  return p.tangent_level[k] ? p.tangent_level[k] + (p.M > 1 ? image : 0) * p.level_size[k] : nullptr;
}

// How what a pixel reads of a level changes with its point and its level, along their tangents.
template <class T>
struct SampleTangent {
  T by_x, by_y, by_level;
};

// d sample along the tangents of a pixel's texels, its point and its level, added to out[C].
template <int K, Boundary B, class T>
GLR_FUNC void read_texels_jvp(int64_t channels, const T* level, const T* tangent_level, const Footprint<T>& f,
                              int32_t missing, T x1, T y1, const SampleTangent<T>& along, T* out) {
  using V = Channels<K, T>;
  const int64_t C = K > 0 ? K : channels;
  const bool moves = along.by_x != T(0) || along.by_y != T(0) || along.by_level != T(0);
  int64_t texel[4];
  bool zero[4];
  for (int i = 0; i < 4; ++i) zero[i] = B == ZERO && f.texel[i] < 0, texel[i] = zero[i] ? 0 : f.texel[i];
  if (tangent_level) {
    GLR_SIMD
    for (int64_t c = 0; c < C; c += channels_in<V>) {
      V sum = load<V>(out + c);
      for (int i = 0; i < 4; ++i) sum = sum + (zero[i] ? V{} : f.weight[i] * load<V>(tangent_level + texel[i] + c));
      store(out + c, sum);
    }
  }
  if (!moves) return;
  GLR_SIMD
  for (int64_t c = 0; c < C; c += channels_in<V>) {
    V v[4], others{};
    for (int i = 0; i < 4; ++i) v[i] = zero[i] ? V{} : load<V>(level + texel[i] + c);
    for (int i = 0; B == CUBE && i < 4; ++i) others = others + (i == missing ? V{} : v[i]);
    for (int i = 0; B == CUBE && i < 4; ++i) v[i] = i == missing ? T(1) / T(3) * others : v[i];
    const V right = v[1] - v[0], twist = (v[3] - v[2]) - right;
    const V below = v[0] + x1 * right, up = (v[2] + x1 * (v[3] - v[2])) - below;
    const V by_point = along.by_x * (right + y1 * twist) + along.by_y * up;
    store(out + c, load<V>(out + c) + by_point + along.by_level * (below + y1 * up));
  }
}

// The same for the pixels of a span; the first level they read is stored.
template <int K, Boundary B, class T>
GLR_STEP void read_span_jvp(const TextureParams<T>& p, const PixelSpan& span, const SpanLevels<T>& levels,
                            int32_t upper, const SpanFootprints<T>& prints, const SpanTangents<T>& tangents,
                            bool first) {
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
      read_texels_jvp<K, B>(p.C, texels_at(j), tangents_at(j), prints.get(j), B == CUBE ? prints.missing[j] : -1,
                            prints.x.weight1[j], prints.y.weight1[j], along, K > 0 ? sum : out);
    }
    for (int64_t c = 0; c < K; ++c) out[c] = sum[c];
  }
}

template <int K, Boundary B, class T>
GLR_STEP void read_nearest_jvp(const TextureParams<T>& p, const PixelSpan& span, const SpanFootprints<T>& prints) {
  const int64_t C = K > 0 ? K : p.C;
  const T* level = tangent_texels_of(p, 0, span.image);
  for (int32_t j = 0; j < span.count; ++j)
    for (int64_t c = 0; c < C; ++c)
      p.tangent_out[(span.first + j) * C + c] = level && prints.read[j] ? level[prints.texel[0][j] + c] : T(0);
}

template <Filter F, Boundary B, class T>
GLR_KERNEL texture_image_jvp(const TextureParams<T>& p) {
  GLR_FOR_EACH_SPAN(span, p.N, p.H * p.W) {
    SpanLevels<T> levels;
    SpanPoints<T> points;
    SpanFootprints<T> prints;
    SpanTangents<T> tangents;
    prefetch_next_span(p.uv, span, Coordinates<B, T>::D);
    prefetch_next_span(p.tangent_uv, span, Coordinates<B, T>::D);
    if (F == MIPMAP) prefetch_next_span(p.uv_da, span, Coordinates<B, T>::D * 2);
    prefetch_next_span(p.tangent_out, span, p.C);
    find_levels<F, B>(p, span, &levels);
    find_levels_jvp<F, B>(p, span, levels, &tangents);
    for (int32_t k = 0; k < levels.max_count; ++k) {
      find_points<F, B>(p, span, levels, k, &points);
      if (F == NEAREST) {
        find_nearest<B>(p, span, points, &prints);
        MOVE_CHANNELS(read_nearest_jvp, p, span, prints);
        continue;
      }
      find_points_jvp<F, B>(p, span, levels, k, points, &tangents);
      for (int32_t upper = 0; upper <= levels.between; ++upper) {
        find_footprints<F, B>(p, span, levels, upper, points, &prints);
        prefetch_texels<false>(p, span, levels, upper, prints, 2);
        MOVE_CHANNELS(read_span_jvp, p, span, levels, upper, prints, tangents, k + upper == 0);
      }
    }
  }
}

// Where other threads add as well. Neighbours with one footprint, as in magnified textures, gather their sums.
template <class V, Boundary B, class S, class T>
GLR_FUNC void add_together(S* level, const Footprint<T>& f, const T* grad_out, int64_t C) {
  uint64_t places[4];
  for (int i = 0; i < 4; ++i) places[i] = reinterpret_cast<uint64_t>(level + f.texel[i]);
  const LaneRun run = lane_run(places);
  GLR_UNROLL(4)
  for (int i = 0; i < 4; ++i)
    for (int64_t c = 0; c < C; c += channels_in<V>) {
      const V sum = sum_over_lanes(run, f.weight[i] * load<V>(grad_out + c));
      if (run.first && !(B == ZERO && f.texel[i] < 0)) atomic_add_channels(level + f.texel[i] + c, sum);
    }
}

template <class V, Boundary B, class S, class T>
GLR_FUNC void add_footprint(bool together, S* level, const Footprint<T>& f, const T* grad_out, int64_t C) {
  if (together) return add_together<V, B>(level, f, grad_out, C);
  GLR_UNROLL(4)
  for (int i = 0; i < 4; ++i) {
    if (B == ZERO && f.texel[i] < 0) continue;
    S* grad = level + f.texel[i];
    GLR_SIMD
    for (int64_t c = 0; c < C; ++c) grad[c] += f.weight[i] * grad_out[c];
  }
}

// d sample / d texels.
template <int K, Boundary B, class T>
GLR_STEP void add_to_texels(const TextureParams<T>& p, const PixelSpan& span, const SpanLevels<T>& levels,
                            int32_t upper, const SpanFootprints<T>& prints) {
  using V = Channels<K, T>;
  const int64_t C = K > 0 ? K : p.C;
  const auto grads_at = span_grad_texels(p, span, levels, upper);
  for (int32_t j = 0; j < span.count; ++j) {
    void* level = grads_at(j);
    if (!level || !prints.read[j]) continue;
    const Footprint<T> f = prints.get(j);
    const T* grad_out = p.grad_out + (span.first + j) * C;
    if (levels.lower[j] + upper < p.first_double)
      add_footprint<V, B>(p.shared_gradient, static_cast<T*>(level), f, grad_out, C);
    else
      add_footprint<V, B>(p.shared_gradient, static_cast<double*>(level), f, grad_out, C);
  }
}

// d sample / d footprint.
template <int K, Boundary B, class T>
GLR_STEP void read_texels_bwd(const TextureParams<T>& p, const PixelSpan& span, const SpanLevels<T>& levels,
                              int32_t upper, const SpanFootprints<T>& prints, SpanSampleGrads<T>* grads) {
  using V = Channels<K, T>;
  const int64_t C = K > 0 ? K : p.C;
  const auto texels_at = span_texels(p, span, levels, upper);
  for (int32_t j = 0; j < span.count; ++j) {
    T value = T(0), by_x = T(0), by_y = T(0);
    if (prints.read[j]) {
      const T* level = texels_at(j);
      const Footprint<T> f = prints.get(j);
      const T x1 = prints.x.weight1[j], y1 = prints.y.weight1[j];
      const T* grad_out = p.grad_out + (span.first + j) * C;
      const T* texel[4];
      bool zero[4];
      const int32_t missing = B == CUBE ? prints.missing[j] : -1;
      for (int i = 0; i < 4; ++i) zero[i] = B == ZERO && f.texel[i] < 0, texel[i] = level + (zero[i] ? 0 : f.texel[i]);
      GLR_SIMD_SUM(value, by_x, by_y)
      for (int64_t c = 0; c < C; c += channels_in<V>) {
        V v[4], others{};
        for (int i = 0; i < 4; ++i) v[i] = zero[i] ? V{} : load<V>(texel[i] + c);
        for (int i = 0; i < 4; ++i) others = others + (i == missing ? V{} : v[i]);
        for (int i = 0; i < 4; ++i) v[i] = i == missing ? T(1) / T(3) * others : v[i];
        const V g = load<V>(grad_out + c), right = v[1] - v[0], twist = (v[3] - v[2]) - right;
        const V below = v[0] + x1 * right, up = (v[2] + x1 * (v[3] - v[2])) - below;
        value += dot(g, below + y1 * up);
        by_x += dot(g, right + y1 * twist);
        by_y += dot(g, up);
      }
    }
    grads->value[j] = value, grads->by_x[j] = by_x, grads->by_y[j] = by_y;
  }
}

template <int K, class S, class T>
GLR_FUNC void add_to_nearest(const TextureParams<T>& p, const PixelSpan& span, S* level,
                             const SpanFootprints<T>& prints) {
  const int64_t C = K > 0 ? K : p.C;
  for (int32_t j = 0; level && j < span.count; ++j) {
    S* grad = level + prints.texel[0][j];
    for (int64_t c = 0; prints.read[j] && c < C; ++c) {
      const T grad_out = p.grad_out[(span.first + j) * C + c];
      if (p.shared_gradient)
        atomic_add(&grad[c], S(grad_out));
      else
        grad[c] += grad_out;
    }
  }
}

template <int K, Boundary B, class T>
GLR_STEP void read_nearest_bwd(const TextureParams<T>& p, const PixelSpan& span, const SpanFootprints<T>& prints) {
  void* level = grad_texels_of(p, 0, span.image);
  if (p.first_double > 0)
    add_to_nearest<K>(p, span, static_cast<T*>(level), prints);
  else
    add_to_nearest<K>(p, span, static_cast<double*>(level), prints);
}

// Pixels without an incoming gradient (the background, often) are not looked at.
template <int K, Boundary B, class T>
GLR_STEP void skip_zero_gradients(const TextureParams<T>& p, const PixelSpan& span, SpanPoints<T>* points) {
  const int64_t C = K > 0 ? K : p.C;
  for (int32_t j = 0; j < span.count; ++j) {
    bool any = false;
    for (int64_t c = 0; c < C; ++c) any = any | (p.grad_out[(span.first + j) * C + c] != T(0));
    points->face[j] = any ? points->face[j] : -1;
  }
}

template <Filter F, Boundary B, class T>
GLR_KERNEL texture_image_bwd(const TextureParams<T>& p) {
  constexpr int D = Coordinates<B, T>::D;
  const bool by_coordinates = p.grad_uv || p.grad_uv_da || p.grad_mip_level_bias;
  GLR_FOR_EACH_SPAN(span, p.N, p.H * p.W) {
    SpanLevels<T> levels;
    SpanPoints<T> points;
    SpanFootprints<T> prints;
    SpanSampleGrads<T> samples;
    SpanGrads<B, T> grads;
    prefetch_next_span(p.uv, span, D);
    if (F == MIPMAP) prefetch_next_span(p.uv_da, span, D * 2);
    prefetch_next_span(p.grad_out, span, p.C);
    grads.clear(span.count);
    find_levels<F, B>(p, span, &levels);
    for (int32_t k = 0; k < levels.max_count; ++k) {
      find_points<F, B>(p, span, levels, k, &points);
      MOVE_CHANNELS(skip_zero_gradients, p, span, &points);
      if (!any_is_read(points, span.count)) continue;
      if (F == NEAREST) {
        find_nearest<B>(p, span, points, &prints);
        MOVE_CHANNELS(read_nearest_bwd, p, span, prints);
        continue;
      }
      for (int32_t j = 0; j < span.count; ++j) grads.s[j] = grads.t[j] = T(0);
      for (int32_t upper = 0; upper <= levels.between; ++upper) {
        find_footprints<F, B>(p, span, levels, upper, points, &prints);
        prefetch_texels<true>(p, span, levels, upper, prints, 1);
        if (by_coordinates) {
          prefetch_texels<false>(p, span, levels, upper, prints, 1);
          MOVE_CHANNELS(read_texels_bwd, p, span, levels, upper, prints, &samples);
          find_footprints_bwd<F>(span, levels, upper, prints, samples, &grads);
        }
        MOVE_CHANNELS(add_to_texels, p, span, levels, upper, prints);
      }
      if (by_coordinates) find_points_bwd<F, B>(p, span, levels, k, points, &grads);
    }
    if (F == MIPMAP && p.uv_da && (p.grad_uv_da || (B == CUBE && p.grad_uv))) {
      if (p.max_anisotropy > 1)
        find_levels_bwd<B, true>(p, span, levels, &grads);
      else
        find_levels_bwd<B, false>(p, span, levels, &grads);
    }
    for (int32_t j = 0; p.grad_uv && j < span.count; ++j)
      for (int d = 0; d < D; ++d) p.grad_uv[(span.first + j) * D + d] = grads.uv[d][j];
    for (int32_t j = 0; p.grad_mip_level_bias && j < span.count; ++j)
      p.grad_mip_level_bias[span.first + j] = grads.level[j];
  }
}

struct Forward {
  template <Filter F, Boundary B, class T>
  static GLR_MEMBER void run(const TextureParams<T>& p) {
    texture_image<F, B>(p);
  }
};
struct Jvp {
  template <Filter F, Boundary B, class T>
  static GLR_MEMBER void run(const TextureParams<T>& p) {
    texture_image_jvp<F, B>(p);
  }
};
struct Backward {
  template <Filter F, Boundary B, class T>
  static GLR_MEMBER void run(const TextureParams<T>& p) {
    texture_image_bwd<F, B>(p);
  }
};

template <class Pass, Filter F, class T>
GLR_FUNC void run_with_boundary(const TextureParams<T>& p) {
#ifdef TEXTURE_BOUNDARY
  return Pass::template run<F, TEXTURE_BOUNDARY>(p);
#else
  switch (p.boundary) {
    case WRAP:
      return Pass::template run<F, WRAP>(p);
    case CLAMP:
      return Pass::template run<F, CLAMP>(p);
    case ZERO:
      return Pass::template run<F, ZERO>(p);
    default:
      return Pass::template run<F, CUBE>(p);
  }
#endif
}

#define TEXTURE_KERNELS(name, F)                     \
  template <class T>                                 \
  GLR_KERNEL name##_fwd(const TextureParams<T>& p) { \
    run_with_boundary<Forward, F>(p);                \
  }                                                  \
  GLR_EXPORT(name##_fwd, TextureParams)              \
  template <class T>                                 \
  GLR_KERNEL name##_jvp(const TextureParams<T>& p) { \
    run_with_boundary<Jvp, F>(p);                    \
  }                                                  \
  GLR_EXPORT(name##_jvp, TextureParams)              \
  template <class T>                                 \
  GLR_KERNEL name##_bwd(const TextureParams<T>& p) { \
    run_with_boundary<Backward, F>(p);               \
  }                                                  \
  GLR_EXPORT(name##_bwd, TextureParams)

TEXTURE_KERNELS(texture_nearest, NEAREST)
TEXTURE_KERNELS(texture_linear, LINEAR)
TEXTURE_KERNELS(texture_mipmap, MIPMAP)
