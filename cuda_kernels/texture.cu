// Texture lookups: nearest, linear, and linear on one mip level or between two, with one sample per pixel or several
// along the major axis of its footprint.
//   out = mean_k (1 - f) L_l(uv + o_k a) + f L_l+1(uv + o_k a),   l + f = level(uv_da) + mip_level_bias
// where L_l interpolates level l, a is the major axis and o_k are sample positions along it; one sample has o_0 = 0.
// Source: Williams, "Pyramidal Parametrics", 1983; the chain rule. See also common/mip_level.cuh.
#include "common/texture_steps.cuh"

constexpr int kMaxLevels = 32;

template <class T>
struct TextureParams {
  const T* level[kMaxLevels];      // [M, (6,) max(h >> k, 1), max(w >> k, 1), C], M = N or 1
  T* grad_level[kMaxLevels];       // [copies, M, ... as level], zeroed; null if not wanted
  const T* uv;                     // [N, H, W, D], D = 3 for cube maps, else 2
  const T* uv_da;                  // [N, H, W, 2 D]; null if not given
  const T* mip_level_bias;         // [N, H, W]; null if not given
  T* out;                          // [N, H, W, C]
  const T* grad_out;               // [N, H, W, C]
  T* grad_uv;                      // [N, H, W, D]; null if not wanted
  T* grad_uv_da;                   // [N, H, W, 2 D]; null if not wanted
  T* grad_mip_level_bias;          // [N, H, W]; null if not wanted
  int64_t level_size[kMaxLevels];  // elements of one texture's level
  int64_t N, H, W, M, h, w, C, num_levels;
  int64_t boundary;         // a Boundary
  int64_t nearest_level;    // whether only the lower level is read
  int64_t max_anisotropy;   // samples per pixel
  int64_t copies;           // of each level's gradient: one, or one per thread
  int64_t shared_gradient;  // whether several threads add to one copy
};
GLR_EXPORT_SIZE(TextureParams)

// The texels of one image's level.
template <class T>
GLR_FUNC const T* texels_of(const TextureParams<T>& p, int32_t k, int64_t image) {
  return p.level[k] + (p.M > 1 ? image : 0) * p.level_size[k];
}

// Their gradients, as this thread adds to them; null if not wanted.
template <class T>
GLR_FUNC T* grad_texels_of(const TextureParams<T>& p, int32_t k, int64_t image) {
  if (!p.grad_level[k]) return nullptr;
  const int64_t copy = p.copies > 1 ? thread_index() : 0;
  return p.grad_level[k] + (copy * p.M + (p.M > 1 ? image : 0)) * p.level_size[k];
}

// Whether pixel j reads anything from its level or the one above it.
template <Filter F, class T>
GLR_FUNC bool reads(const SpanLevels<T>& levels, const SpanPoints<T>& points, int32_t j, int32_t upper) {
  return points.face[j] >= 0 && (F != MIPMAP || !upper || levels.fraction[j] > T(0));
}

// In all of the following, C is known to the compiler where K > 0.

template <Filter F, Boundary B, int K, bool Grad, class T>
GLR_FUNC void prefetch_texels(const TextureParams<T>& p, const PixelSpan& span, const SpanLevels<T>& levels,
                              int32_t upper, const SpanPoints<T>& points, const SpanTexels<T>& texels) {
  const int64_t C = K > 0 ? K : p.C;
  for (int32_t j = 0; j < span.count; ++j) {
    const int32_t k = F == MIPMAP ? levels.lower[j] + upper : 0;
    const T* level = Grad ? grad_texels_of(p, k, span.image) : texels_of(p, k, span.image);
    if (Grad && !level) continue;
    prefetch(level + (texels.template row<B>(points, j, false) + texels.x.i0[j]) * C);
    prefetch(level + (texels.template row<B>(points, j, true) + texels.x.i0[j]) * C);
  }
}

template <Filter F, Boundary B, int K, class T>
GLR_FUNC void read_texels(const TextureParams<T>& p, const PixelSpan& span, const SpanLevels<T>& levels, int32_t upper,
                          const SpanPoints<T>& points, const SpanTexels<T>& texels) {
  const int64_t C = K > 0 ? K : p.C;
  for (int32_t j = 0; j < span.count; ++j) {
    if (!reads<F>(levels, points, j, upper)) continue;
    const T* level = texels_of(p, F == MIPMAP ? levels.lower[j] + upper : 0, span.image);
    const Footprint<T> f = texels.template footprint<B>(points, j);
    const T factor = F == MIPMAP ? levels.weight(j, upper) : T(1);
    T* out = p.out + (span.first + j) * C;
    T sum[K > 0 ? K : 1];
    for (int c = 0; c < K; ++c) sum[c] = out[c];
    for (int i = 0; i < 4; ++i) {
      if (B == ZERO && f.texel[i] < 0) continue;
      const T* texel = level + f.texel[i] * C;
      const T weight = factor * f.weight[i];
      for (int c = 0; c < K; ++c) sum[c] += weight * texel[c];
      for (int64_t c = 0; K == 0 && c < C; ++c) out[c] += weight * texel[c];
    }
    for (int c = 0; c < K; ++c) out[c] = sum[c];
  }
}

template <Boundary B, int K, class T>
GLR_FUNC void read_nearest(const TextureParams<T>& p, const PixelSpan& span, const SpanPoints<T>& points) {
  const int64_t C = K > 0 ? K : p.C;
  const T* level = texels_of(p, 0, span.image);
  for (int32_t j = 0; j < span.count; ++j) {
    const int64_t texel = nearest_texel<B>(points.s[j], points.t[j], points.face[j], int32_t(p.w), int32_t(p.h));
    T* out = p.out + (span.first + j) * C;
    for (int64_t c = 0; c < C; ++c) out[c] = texel < 0 ? T(0) : level[texel * C + c];
  }
}

template <Filter F, Boundary B, int K, class T>
GLR_KERNEL texture_image(const TextureParams<T>& p) {
  GLR_FOR_EACH_SPAN(span, p.N, p.H * p.W) {
    SpanLevels<T> levels;
    SpanPoints<T> points;
    SpanTexels<T> texels;
    find_levels<F, B>(p, span, &levels);
    if (F == NEAREST) {
      find_points<F, B>(p, span, levels, 0, &points);
      read_nearest<B, K>(p, span, points);
      continue;
    }
    for (int64_t i = span.first * p.C; i < (span.first + span.count) * p.C; ++i) p.out[i] = T(0);
    for (int32_t k = 0; k < levels.max_count; ++k) {
      find_points<F, B>(p, span, levels, k, &points);
      for (int32_t upper = 0; upper <= levels.between; ++upper) {
        find_texels<F, B>(p, span, levels, upper, points, &texels);
        prefetch_texels<F, B, K, false>(p, span, levels, upper, points, texels);
        read_texels<F, B, K>(p, span, levels, upper, points, texels);
      }
    }
  }
}

// Gradients of a span's arguments.
template <Boundary B, class T>
struct SpanGrads {
  T s[kSpan], t[kSpan];  // of the current sample's point
  Coordinates<B, T> uv[kSpan], axis[kSpan];
  T level[kSpan];

  GLR_MEMBER void clear(int32_t count) {
    for (int32_t j = 0; j < count; ++j) {
      for (int d = 0; d < Coordinates<B, T>::D; ++d) uv[j].at[d] = axis[j].at[d] = T(0);
      level[j] = T(0);
    }
  }
};

// d sample / d texels.
template <Filter F, Boundary B, int K, class T>
GLR_FUNC void add_to_texels(const TextureParams<T>& p, const PixelSpan& span, const SpanLevels<T>& levels,
                            int32_t upper, const SpanPoints<T>& points, const SpanTexels<T>& texels) {
  const int64_t C = K > 0 ? K : p.C;
  for (int32_t j = 0; j < span.count; ++j) {
    T* level = grad_texels_of(p, F == MIPMAP ? levels.lower[j] + upper : 0, span.image);
    if (!level || !reads<F>(levels, points, j, upper)) continue;
    const Footprint<T> f = texels.template footprint<B>(points, j);
    const T factor = F == MIPMAP ? levels.weight(j, upper) : T(1);
    const T* grad_out = p.grad_out + (span.first + j) * C;
    T scaled[K > 0 ? K : 1];
    for (int c = 0; c < K; ++c) scaled[c] = factor * grad_out[c];
    for (int i = 0; i < 4; ++i) {
      if (B == ZERO && f.texel[i] < 0) continue;
      T* grad = level + f.texel[i] * C;
      const T weight = factor * f.weight[i];
      if (p.shared_gradient)
        for (int64_t c = 0; c < C; ++c) atomic_add(&grad[c], weight * grad_out[c]);
      else if (K > 0)
        for (int c = 0; c < K; ++c) grad[c] += f.weight[i] * scaled[c];
      else
        for (int64_t c = 0; c < C; ++c) grad[c] += weight * grad_out[c];
    }
  }
}

// sum_c grad_out[c] sample[c], and its derivatives by the weights x1 and y1.
template <class T>
struct SampleGrad {
  T value, by_x, by_y;
};

template <Boundary B, int K, class T>
GLR_FUNC SampleGrad<T> sample_bwd(const TextureParams<T>& p, const T* level, const Footprint<T>& f, T x1, T y1,
                                  const T* grad_out) {
  const int64_t C = K > 0 ? K : p.C;
  const T* texel[4];
  bool zero[4], missing[4];
  for (int i = 0; i < 4; ++i) {
    zero[i] = B == ZERO && f.texel[i] < 0, missing[i] = B == CUBE && f.missing == i;
    texel[i] = level + (zero[i] ? 0 : f.texel[i] * C);
  }
  T value = T(0), by_x = T(0), by_y = T(0);
  GLR_SIMD_SUM(value, by_x, by_y)
  for (int64_t c = 0; c < C; ++c) {
    T v[4], sum = T(0);
    for (int i = 0; i < 4; ++i) v[i] = zero[i] ? T(0) : texel[i][c];
    for (int i = 0; i < 4; ++i) sum += missing[i] ? T(0) : v[i];
    for (int i = 0; i < 4; ++i) v[i] = missing[i] ? sum / T(3) : v[i];
    const T below = v[0] + x1 * (v[1] - v[0]), above = v[2] + x1 * (v[3] - v[2]);
    value += grad_out[c] * (below + y1 * (above - below));
    by_x += grad_out[c] * ((v[1] - v[0]) + y1 * ((v[3] - v[2]) - (v[1] - v[0])));
    by_y += grad_out[c] * (above - below);
  }
  return {value, by_x, by_y};
}

// d sample / d (s, t, level), added up over the two levels of a sample.
template <Filter F, Boundary B, int K, class T>
GLR_FUNC void read_texels_bwd(const TextureParams<T>& p, const PixelSpan& span, const SpanLevels<T>& levels,
                              int32_t upper, const SpanPoints<T>& points, const SpanTexels<T>& texels,
                              SpanGrads<B, T>* grads) {
  const int64_t C = K > 0 ? K : p.C;
  for (int32_t j = 0; j < span.count; ++j) {
    if (!reads<F>(levels, points, j, upper)) continue;
    const T* level = texels_of(p, F == MIPMAP ? levels.lower[j] + upper : 0, span.image);
    const Footprint<T> f = texels.template footprint<B>(points, j);
    const T* grad_out = p.grad_out + (span.first + j) * C;
    const SampleGrad<T> sample = sample_bwd<B, K>(p, level, f, texels.x.weight1[j], texels.y.weight1[j], grad_out);
    const T factor = F == MIPMAP ? levels.weight(j, upper) : T(1);
    grads->s[j] += factor * texels.x.slope[j] * sample.by_x;
    grads->t[j] += factor * texels.y.slope[j] * sample.by_y;
    if (F == MIPMAP && levels.fraction[j] > T(0))
      grads->level[j] += (upper ? sample.value : -sample.value) * levels.share[j];
  }
}

// d (s, t) / d (uv, axis) of sample k.
template <Filter F, Boundary B, class T>
GLR_FUNC void find_points_bwd(const TextureParams<T>& p, const PixelSpan& span, const SpanLevels<T>& levels, int32_t k,
                              const SpanPoints<T>& points, SpanGrads<B, T>* grads) {
  const bool several = F == MIPMAP && levels.max_count > 1;
  for (int32_t j = 0; j < span.count; ++j) {
    if (B == CUBE && points.face[j] < 0) continue;
    const Coordinates<B, T> uv = several ? coordinates_at<B>(p.uv, p.uv_da, span.first + j, levels.samples(j), k)
                                         : coordinates_at<B>(p.uv, span.first + j);
    const Coordinates<B, T> grad = point_bwd(uv, points.face[j], grads->s[j], grads->t[j]);
    for (int d = 0; d < uv.D; ++d) {
      grads->uv[j].at[d] += grad.at[d];
      if (several) grads->axis[j].at[d] += sample_position(levels.samples(j), k) * grad.at[d];
    }
  }
}

// d (level, axis) / d (uv_da, uv). Pixels where that is not finite receive nothing from it.
template <Boundary B, bool Anisotropic, class T>
GLR_FUNC void find_levels_bwd(const TextureParams<T>& p, const PixelSpan& span, const SpanLevels<T>& levels,
                              SpanGrads<B, T>* grads) {
  constexpr int D = Coordinates<B, T>::D;
  T grad_da[kSpan][2 * D];
  for (int32_t j = 0; j < span.count; ++j) {
    const int64_t pixel = span.first + j;
    const Coordinates<B, T> uv = coordinates_at<B>(p.uv, pixel);
    const T* da = p.uv_da + pixel * 2 * D;
    const TexelJacobian<T> jacobian = base_jacobian(p, uv, pixel);
    const PixelEllipse<T> e = pixel_ellipse(jacobian);
    Coordinates<B, T> grad_uv = grads->uv[j];
    T sum_da[2 * D] = {};
    EllipseGrad<T> grad_e;
    if (Anisotropic) {
      const SampleAxis<T> samples = levels.samples(j);
      T axis_x = T(0), axis_y = T(0);  // gradient of the axis in the pixel, which uv_da carries to the texture
      for (int d = 0; d < D; ++d) {
        const T grad_axis = grads->axis[j].at[d];
        axis_x += da[d * 2] * grad_axis, axis_y += da[d * 2 + 1] * grad_axis;
        sum_da[d * 2] = samples.x * grad_axis, sum_da[d * 2 + 1] = samples.y * grad_axis;
      }
      grad_e = mip_level_bwd(e, filter_width(jacobian, e, p.max_anisotropy), grads->level[j]);
      place_samples_bwd(e, samples, axis_x, axis_y, &grad_e);
    } else {
      grad_e = mip_level_bwd(e, FilterWidth<T>{e.lambda, false}, grads->level[j]);
    }
    jacobian_bwd(uv, da, T(p.w), T(p.h), pixel_ellipse_bwd(jacobian, grad_e), grad_uv.at, sum_da);
    T finite = T(0);  // or NaN
    for (int d = 0; d < D; ++d) finite += T(0) * (grad_uv.at[d] + sum_da[d * 2] + sum_da[d * 2 + 1]);
    for (int d = 0; d < D; ++d) grads->uv[j].at[d] = finite == T(0) ? grad_uv.at[d] : grads->uv[j].at[d];
    for (int d = 0; d < 2 * D; ++d) grad_da[j][d] = finite == T(0) ? sum_da[d] : T(0);
  }
  for (int32_t i = 0; p.grad_uv_da && i < span.count * 2 * D; ++i)
    p.grad_uv_da[span.first * 2 * D + i] = grad_da[i / (2 * D)][i % (2 * D)];
}

template <Boundary B, int K, class T>
GLR_FUNC void read_nearest_bwd(const TextureParams<T>& p, const PixelSpan& span, const SpanPoints<T>& points) {
  const int64_t C = K > 0 ? K : p.C;
  T* level = grad_texels_of(p, 0, span.image);
  for (int32_t j = 0; level && j < span.count; ++j) {
    const int64_t texel = nearest_texel<B>(points.s[j], points.t[j], points.face[j], int32_t(p.w), int32_t(p.h));
    for (int64_t c = 0; texel >= 0 && c < C; ++c) {
      const T grad = p.grad_out[(span.first + j) * C + c];
      if (p.shared_gradient)
        atomic_add(&level[texel * C + c], grad);
      else
        level[texel * C + c] += grad;
    }
  }
}

// Pixels without an incoming gradient (the background, often) are not looked at.
template <int K, class T>
GLR_FUNC void skip_zero_gradients(const TextureParams<T>& p, const PixelSpan& span, SpanPoints<T>* points) {
  const int64_t C = K > 0 ? K : p.C;
  for (int32_t j = 0; j < span.count; ++j) {
    bool any = false;
    for (int64_t c = 0; c < C; ++c) any = any | (p.grad_out[(span.first + j) * C + c] != T(0));
    points->face[j] = any ? points->face[j] : -1;
  }
}

template <Filter F, Boundary B, int K, class T>
GLR_KERNEL texture_image_bwd(const TextureParams<T>& p) {
  constexpr int D = Coordinates<B, T>::D;
  const bool by_coordinates = p.grad_uv || p.grad_uv_da || p.grad_mip_level_bias;
  GLR_FOR_EACH_SPAN(span, p.N, p.H * p.W) {
    SpanLevels<T> levels;
    SpanPoints<T> points;
    SpanTexels<T> texels;
    SpanGrads<B, T> grads;
    grads.clear(span.count);
    find_levels<F, B>(p, span, &levels);
    for (int32_t k = 0; k < levels.max_count; ++k) {
      find_points<F, B>(p, span, levels, k, &points);
      skip_zero_gradients<K>(p, span, &points);
      if (F == NEAREST) {
        read_nearest_bwd<B, K>(p, span, points);
        continue;
      }
      for (int32_t j = 0; j < span.count; ++j) grads.s[j] = grads.t[j] = T(0);
      for (int32_t upper = 0; upper <= levels.between; ++upper) {
        find_texels<F, B>(p, span, levels, upper, points, &texels);
        if (by_coordinates) prefetch_texels<F, B, K, false>(p, span, levels, upper, points, texels);
        prefetch_texels<F, B, K, true>(p, span, levels, upper, points, texels);
        if (by_coordinates) read_texels_bwd<F, B, K>(p, span, levels, upper, points, texels, &grads);
        add_to_texels<F, B, K>(p, span, levels, upper, points, texels);
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
      for (int d = 0; d < D; ++d) p.grad_uv[(span.first + j) * D + d] = grads.uv[j].at[d];
    for (int32_t j = 0; p.grad_mip_level_bias && j < span.count; ++j)
      p.grad_mip_level_bias[span.first + j] = grads.level[j];
  }
}

// The loops, by what is known before they begin: boundary mode and, for float, the number of channels.
struct Forward {
  template <Filter F, Boundary B, int K, class T>
  static GLR_MEMBER void run(const TextureParams<T>& p) {
    texture_image<F, B, K>(p);
  }
};
struct Backward {
  template <Filter F, Boundary B, int K, class T>
  static GLR_MEMBER void run(const TextureParams<T>& p) {
    texture_image_bwd<F, B, K>(p);
  }
};

template <class Pass, Filter F, Boundary B, class T>
GLR_FUNC void run_with_channels(const TextureParams<T>& p) {
#ifdef TEXTURE_CHANNELS  // on a GPU, where every case is compiled by itself when it is first needed
  return Pass::template run<F, B, TEXTURE_CHANNELS>(p);
#else
  switch (sizeof(T) == sizeof(float) ? p.C : 0) {
    case 1:
      return Pass::template run<F, B, 1>(p);
    case 2:
      return Pass::template run<F, B, 2>(p);
    case 3:
      return Pass::template run<F, B, 3>(p);
    case 4:
      return Pass::template run<F, B, 4>(p);
    default:
      return Pass::template run<F, B, 0>(p);
  }
#endif
}

template <class Pass, Filter F, class T>
GLR_FUNC void run_with_boundary(const TextureParams<T>& p) {
#ifdef TEXTURE_BOUNDARY
  return run_with_channels<Pass, F, TEXTURE_BOUNDARY>(p);
#else
  switch (p.boundary) {
    case WRAP:
      return run_with_channels<Pass, F, WRAP>(p);
    case CLAMP:
      return run_with_channels<Pass, F, CLAMP>(p);
    case ZERO:
      return run_with_channels<Pass, F, ZERO>(p);
    default:
      return run_with_channels<Pass, F, CUBE>(p);
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
  GLR_KERNEL name##_bwd(const TextureParams<T>& p) { \
    run_with_boundary<Backward, F>(p);               \
  }                                                  \
  GLR_EXPORT(name##_bwd, TextureParams)

TEXTURE_KERNELS(texture_nearest, NEAREST)
TEXTURE_KERNELS(texture_linear, LINEAR)
TEXTURE_KERNELS(texture_mipmap, MIPMAP)
