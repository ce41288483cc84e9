// Texture lookups: nearest, linear, and linear on one mip level or between two, with one sample per pixel or several
// along the major axis of its footprint.
//   out = mean_k (1 - f) L_l(uv + o_k a) + f L_l+1(uv + o_k a),   l + f = level(uv_da) + mip_level_bias
// where L_l interpolates level l, a is the major axis and o_k are sample positions along it; one sample has o_0 = 0.
// Source: Williams, "Pyramidal Parametrics", 1983; the chain rule. See also common/mip_level.cuh.
#include "common/texel_gradients.cuh"
#include "common/texel_tangents.cuh"

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
  const T* tangent_level[kMaxLevels];  // as level; all null if none
  const T* tangent_uv;                 // [N, H, W, D]; null if none
  const T* tangent_uv_da;              // [N, H, W, 2 D]; null if none
  const T* tangent_mip_level_bias;     // [N, H, W]; null if none
  T* tangent_out;                      // [N, H, W, C]
  int64_t level_size[kMaxLevels];      // elements of one texture's level
  int64_t N, H, W, M, h, w, C, num_levels;
  int64_t image_reciprocal;  // of H W
  int64_t boundary;          // a Boundary
  int64_t nearest_level;     // whether only the lower level is read
  int64_t max_anisotropy;    // samples per pixel
  int64_t copies;            // of each level's gradient: one, or one per thread
  int64_t shared_gradient;   // whether several threads add to one copy
  int64_t first_double;      // from this level on, gradients are summed in double
};

template <Filter F, Boundary B, class T>
GLR_KERNEL texture_image(const TextureParams<T>& p) {
  GLR_FOR_EACH_SPAN(span, p) {
    SpanLevels<T> levels;
    SpanPoints<T> points;
    SpanFootprints<T> lower, upper;
    prefetch_next_span(p.uv, span, Coordinates<B, T>::D);
    if (F == MIPMAP) prefetch_next_span(p.uv_da, span, Coordinates<B, T>::D * 2);
    prefetch_next_span(p.out, span, p.C);
    find_levels<F, B>(p, span, &levels);
    for (int32_t k = 0; k < levels.max_count; ++k) {
      find_points<F, B>(p, span, levels, k, &points);
      if constexpr (F == NEAREST) {
        find_nearest<B>(p, span, points, &lower);
        with_channels<B>(p, [&](auto with) { read_nearest<decltype(with)::K>(p, p.level, p.out, span, lower); });
      } else {
        find_footprints<F, B, 0>(p, span, levels, points, &lower);
        prefetch_texels(p, p.level, span, levels, 0, lower);
        if (F == MIPMAP && levels.between) {
          find_footprints<F, B, 1>(p, span, levels, points, &upper);
          prefetch_texels(p, p.level, span, levels, 1, upper);
          with_channels<B>(p, [&](auto with) {
            read_texels<decltype(with)::K, decltype(with)::B, 2>(p, p.level, p.out, span, levels, lower, upper, k == 0);
          });
        } else {
          with_channels<B>(p, [&](auto with) {
            read_texels<decltype(with)::K, decltype(with)::B, 1>(p, p.level, p.out, span, levels, lower, lower, k == 0);
          });
        }
      }
    }
  }
}

// What has tangents: the texels, and what tells where they are read.
struct Moving {
  bool texels, points;
};

// What the pixels read of their lower levels or of the upper ones, and how that changes with their points.
template <Filter F, Boundary B, int Upper, class T>
GLR_FUNC void level_jvp(const TextureParams<T>& p, Moving moving, const PixelSpan& span, const SpanLevels<T>& levels,
                        const SpanPoints<T>& points, const SpanTangents<B, T>& tangents, SpanFootprints<T>* prints,
                        SpanChanges<T>* changes) {
  find_footprints<F, B, Upper>(p, span, levels, points, prints);
  if (moving.texels) prefetch_texels(p, p.tangent_level, span, levels, Upper, *prints);
  if (!moving.points) return;
  prefetch_texels(p, p.level, span, levels, Upper, *prints);
  find_footprints_jvp<F, Upper>(span, *prints, tangents, changes);
}

// d sample along the tangents of the texels, of the pixels' points and of their levels.
template <Boundary B, int Levels, class T>
GLR_FUNC void sample_jvp(const TextureParams<T>& p, Moving moving, const PixelSpan& span, const SpanLevels<T>& levels,
                         const SpanFootprints<T>& lower, const SpanFootprints<T>& upper, const SpanChanges<T>& below,
                         const SpanChanges<T>& above, bool first) {
  with_channels<B>(p, [&](auto with) {
    using With = decltype(with);
    if (!moving.points)
      read_texels<With::K, With::B, Levels>(p, p.tangent_level, p.tangent_out, span, levels, lower, upper, first);
    else if (moving.texels)
      read_changes<With::K, With::B, Levels, true>(p, span, levels, lower, upper, below, above, first);
    else
      read_changes<With::K, With::B, Levels, false>(p, span, levels, lower, upper, below, above, first);
  });
}

template <Filter F, Boundary B, class T>
GLR_KERNEL texture_image_jvp(const TextureParams<T>& p) {
  constexpr int D = Coordinates<B, T>::D;
  const bool texels = p.tangent_level[0] != nullptr;
  const Moving moving = {texels, !texels || p.tangent_uv || p.tangent_uv_da || p.tangent_mip_level_bias};
  GLR_FOR_EACH_SPAN(span, p) {
    SpanLevels<T> levels;
    SpanPoints<T> points;
    SpanTangents<B, T> tangents;
    SpanFootprints<T> lower, upper;
    SpanChanges<T> below, above;
    prefetch_next_span(p.uv, span, D), prefetch_next_span(p.tangent_uv, span, D);
    if (F == MIPMAP) prefetch_next_span(p.uv_da, span, D * 2), prefetch_next_span(p.tangent_uv_da, span, D * 2);
    prefetch_next_span(p.tangent_out, span, p.C);
    find_levels<F, B>(p, span, &levels);
    find_levels_jvp<F, B>(p, span, levels, &tangents);
    for (int32_t k = 0; k < levels.max_count; ++k) {
      find_points<F, B>(p, span, levels, k, &points);
      if constexpr (F == NEAREST) {
        find_nearest<B>(p, span, points, &lower);
        for (int32_t j = 0; !moving.texels && j < span.count; ++j) lower.read[j] = 0;
        with_channels<B>(
            p, [&](auto with) { read_nearest<decltype(with)::K>(p, p.tangent_level, p.tangent_out, span, lower); });
      } else {
        find_points_jvp<F, B>(p, span, levels, k, points, &tangents);
        level_jvp<F, B, 0>(p, moving, span, levels, points, tangents, &lower, &below);
        if (F == MIPMAP && levels.between) {
          level_jvp<F, B, 1>(p, moving, span, levels, points, tangents, &upper, &above);
          sample_jvp<B, F == MIPMAP ? 2 : 1>(p, moving, span, levels, lower, upper, below, above, k == 0);
        } else {
          sample_jvp<B, 1>(p, moving, span, levels, lower, lower, below, below, k == 0);
        }
      }
    }
  }
}

// d sample / d (texels, footprint), of the pixels' lower levels or of the upper ones.
template <Filter F, Boundary B, int Upper, class T>
GLR_FUNC void level_bwd(const TextureParams<T>& p, const PixelSpan& span, const SpanLevels<T>& levels,
                        const SpanPoints<T>& points, bool by_coordinates, SpanGrads<B, T>* grads) {
  SpanFootprints<T> prints;
  find_footprints<F, B, Upper>(p, span, levels, points, &prints);
  prefetch_grads(p, span, levels, Upper, prints);
  if (by_coordinates) {
    SpanSampleGrads<T> samples;
    prefetch_texels(p, p.level, span, levels, Upper, prints);
    with_channels<B>(p, [&](auto with) {
      read_texels_bwd<decltype(with)::K, decltype(with)::B>(p, span, levels, Upper, prints, &samples);
    });
    find_footprints_bwd<F, Upper>(span, levels, prints, samples, grads);
  }
  with_channels<B>(
      p, [&](auto with) { add_to_texels<decltype(with)::K, decltype(with)::B>(p, span, levels, Upper, prints); });
}

template <Filter F, Boundary B, class T>
GLR_KERNEL texture_image_bwd(const TextureParams<T>& p) {
  constexpr int D = Coordinates<B, T>::D;
  const bool by_coordinates = p.grad_uv || p.grad_uv_da || p.grad_mip_level_bias;
  with_channels<B>(p, [](auto with) { begin_texel_sums<decltype(with)::K, T>(); });
  GLR_FOR_EACH_SPAN_TOGETHER(span, p) {
    SpanLevels<T> levels;
    SpanPoints<T> points;
    SpanGrads<B, T> grads;
    prefetch_next_span(p.uv, span, D);
    if (F == MIPMAP) prefetch_next_span(p.uv_da, span, D * 2);
    prefetch_next_span(p.grad_out, span, p.C);
    grads.clear(span.count);
    find_levels<F, B>(p, span, &levels);
    for (int32_t k = 0; is_anisotropic<F>(p) ? is_any_lane(k < levels.max_count) : k < 1; ++k) {
      find_points<F, B>(p, span, levels, k, &points);
      if (k >= levels.max_count) points.face[0] = -1;  // other lanes take more samples
      with_channels<B>(p, [&](auto with) { skip_zero_gradients<decltype(with)::K>(p, span, &points); });
      if (!is_any_lane(any_is_read(points, span.count))) continue;
      if constexpr (F == NEAREST) {
        SpanFootprints<T> prints;
        find_nearest<B>(p, span, points, &prints);
        with_channels<B>(p, [&](auto with) { read_nearest_bwd<decltype(with)::K>(p, span, prints); });
      } else {
        for (int32_t j = 0; j < span.count; ++j) grads.s[j] = grads.t[j] = T(0);
        level_bwd<F, B, 0>(p, span, levels, points, by_coordinates, &grads);
        if (F == MIPMAP && is_any_lane(levels.between))
          level_bwd<F, B, 1>(p, span, levels, points, by_coordinates, &grads);
        if (by_coordinates) find_points_bwd<F, B>(p, span, levels, k, points, &grads);
      }
    }
    if (F == MIPMAP && p.uv_da && (p.grad_uv_da || (B == CUBE && p.grad_uv))) {
      if (is_anisotropic<F>(p))
        find_levels_bwd<B, true>(p, span, levels, &grads);
      else
        find_levels_bwd<B, false>(p, span, levels, &grads);
    }
    for (int32_t j = 0; p.grad_uv && j < span.count; ++j)
      for (int d = 0; d < D; ++d) p.grad_uv[(span.first + j) * D + d] = grads.uv[d][j];
    for (int32_t j = 0; p.grad_mip_level_bias && j < span.count; ++j)
      p.grad_mip_level_bias[span.first + j] = grads.level[j];
  }
  with_channels<B>(p, [&](auto with) { end_texel_sums<decltype(with)::K, T>(p); });
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
