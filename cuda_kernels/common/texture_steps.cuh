// The steps in which a span of pixels finds what it reads from a texture: mip levels, points on the texture, texels;
// and their derivatives, run in the opposite order. They are loops without branches wherever they can be, which the
// host's compiler vectorizes.
#pragma once

#include "pixel_spans.cuh"
#include "texel.cuh"

enum Filter { NEAREST, LINEAR, MIPMAP };

// Whether pixels take several samples along their footprints. A GPU's compiler is told; it then leaves out what only
// they need.
template <Filter F, class Params>
GLR_FUNC bool is_anisotropic(const Params& p) {
#ifdef TEXTURE_ANISOTROPIC
  return F == MIPMAP && TEXTURE_ANISOTROPIC;
#else
  return F == MIPMAP && p.max_anisotropy > 1;
#endif
}

template <class T>
struct SpanLevels {
  int32_t lower[kSpan], count[kSpan];
  T fraction[kSpan], share[kSpan], axis_x[kSpan], axis_y[kSpan];
  int32_t max_count;  // of the pixel that takes the most samples
  bool alike;         // whether `lower` is the same for all pixels; then the first of them may be the only one set
  bool between;       // whether any pixel reads a second level

  GLR_MEMBER int32_t level(int32_t j) const { return lower[alike ? 0 : j]; }

  GLR_MEMBER SampleAxis<T> samples(int32_t j) const { return {count[j], axis_x[j], axis_y[j]}; }

  // The weight of one sample of pixel j from level `lower` + upper.
  GLR_MEMBER T weight(int32_t j, int32_t upper) const { return (upper ? fraction[j] : T(1) - fraction[j]) * share[j]; }
};

template <class T>
struct SpanPoints {
  T s[kSpan], t[kSpan];
  int32_t face[kSpan];  // -1: nothing is read
};

template <class T>
GLR_FUNC bool any_is_read(const SpanPoints<T>& points, int32_t count) {
  bool any = false;
  for (int32_t j = 0; j < count; ++j) any |= points.face[j] >= 0;
  return any;
}

// Where the pixels' points lie between two texels along one axis.
template <class T>
struct SpanAxis {
  T weight1[kSpan], slope[kSpan];
};

// The texels around the pixels' points on one level.
template <class T>
struct SpanFootprints {
  SpanAxis<T> x, y;
  int32_t read[kSpan];  // whether the pixel reads this level at all
  T factor[kSpan];      // the weight of the level and of the sample
  TexelIndex texel[4][kSpan];
  T weight[4][kSpan];      // with the factor
  int32_t missing[kSpan];  // for cube maps alone

  // Without `missing`.
  GLR_MEMBER Footprint<T> get(int32_t j) const {
    return {{texel[0][j], texel[1][j], texel[2][j], texel[3][j]},
            {weight[0][j], weight[1][j], weight[2][j], weight[3][j]},
            -1};
  }
  GLR_MEMBER void set(int32_t j, const Footprint<T>& f) {
    for (int i = 0; i < 4; ++i) texel[i][j] = f.texel[i], weight[i][j] = f.weight[i];
    missing[j] = f.missing;
  }
};

// Gradients of a span's arguments.
template <Boundary B, class T>
struct SpanGrads {
  static constexpr int D = Coordinates<B, T>::D;
  T s[kSpan], t[kSpan];  // of the current sample's point
  T uv[D][kSpan], axis[D][kSpan], level[kSpan];

  GLR_MEMBER void clear(int32_t count) {
    for (int d = 0; d < D; ++d)
      for (int32_t j = 0; j < count; ++j) uv[d][j] = axis[d][j] = T(0);
    for (int32_t j = 0; j < count; ++j) level[j] = T(0);
  }
};

// sum_c grad_out[c] sample[c] of a span's samples, and its derivatives by the weights x1 and y1.
template <class T>
struct SpanSampleGrads {
  T value[kSpan], by_x[kSpan], by_y[kSpan];
};

GLR_FUNC int32_t level_side(int32_t side, int32_t k) {
  const int32_t halved = side >> k;
  return halved > 1 ? halved : 1;
}

// uv of a pixel's middle.
template <Boundary B, class T>
GLR_FUNC Coordinates<B, T> coordinates_at(const T* uv, int64_t pixel) {
  Coordinates<B, T> at;
  for (int d = 0; d < at.D; ++d) at.at[d] = uv[pixel * at.D + d];
  return at;
}

// uv of sample k of a pixel.
template <Boundary B, class T>
GLR_FUNC Coordinates<B, T> coordinates_at(const T* uv, const T* uv_da, int64_t pixel, const SampleAxis<T>& samples,
                                          int32_t k) {
  Coordinates<B, T> at = coordinates_at<B>(uv, pixel);
  if (samples.count == 1) return at;
  const T along = sample_position(samples, k);
  for (int d = 0; d < at.D; ++d) {
    const T* da = uv_da + (pixel * at.D + d) * 2;
    at.at[d] += along * (da[0] * samples.x + da[1] * samples.y);
  }
  return at;
}

template <Boundary B, class T, class Params>
GLR_FUNC TexelJacobian<T> base_jacobian(const Params& p, const Coordinates<B, T>& uv, int64_t pixel) {
  return jacobian_at(uv, p.uv_da + pixel * 2 * uv.D, T(int32_t(p.w)), T(int32_t(p.h)));
}

// The levels of pixels that take one sample, before they are clamped.
template <Boundary B, class Params, class T>
GLR_FUNC void find_widths(const Params& p, const PixelSpan& span, T* level) {
  for (int32_t j = 0; j < span.count; ++j) {
    const Coordinates<B, T> uv = coordinates_at<B>(p.uv, span.first + j);
    level[j] = level_of_width(pixel_ellipse(base_jacobian(p, uv, span.first + j)).lambda);
  }
}

// The levels and the samples of pixels that take several.
template <Boundary B, class Params, class T>
GLR_FUNC void find_samples(const Params& p, const PixelSpan& span, T* level, SpanLevels<T>* levels) {
  for (int32_t j = 0; j < span.count; ++j) {
    const Coordinates<B, T> uv = coordinates_at<B>(p.uv, span.first + j);
    const TexelJacobian<T> jacobian = base_jacobian(p, uv, span.first + j);
    const PixelEllipse<T> e = pixel_ellipse(jacobian);
    const FilterWidth<T> width = filter_width(jacobian, e, p.max_anisotropy);
    level[j] = level_of_width(width.squared);
    const SampleAxis<T> samples = place_samples(e, width, p.max_anisotropy);
    levels->count[j] = samples.count, levels->share[j] = T(1) / T(samples.count);
    levels->axis_x[j] = samples.x, levels->axis_y[j] = samples.y;
    levels->max_count = max(levels->max_count, samples.count);
  }
}

template <Filter F, Boundary B, class Params, class T>
GLR_FUNC void find_levels(const Params& p, const PixelSpan& span, SpanLevels<T>* levels) {
  levels->max_count = 1, levels->between = false, levels->alike = true;
  levels->lower[0] = 0;
  if (F != MIPMAP) return;
  T level[kSpan];
  for (int32_t j = 0; j < span.count; ++j) {
    level[j] = levels->axis_x[j] = levels->axis_y[j] = T(0);
    levels->count[j] = 1, levels->share[j] = T(1);
  }
  if (is_anisotropic<F>(p))
    find_samples<B>(p, span, level, levels);
  else if (p.uv_da)
    find_widths<B>(p, span, level);
  for (int32_t j = 0; p.mip_level_bias && j < span.count; ++j) level[j] += p.mip_level_bias[span.first + j];
  const T last = T(int32_t(p.num_levels) - 1), scale = p.nearest_level ? T(0) : T(1);
  int32_t differing = 0, between = 0;
  for (int32_t j = 0; j < span.count; ++j) {
    const T clamped = clamp(level[j], T(0), last);  // NaN: 0
    const int32_t lower = int32_t(clamped);
    const T fraction = (clamped - T(lower)) * scale;
    levels->lower[j] = lower, levels->fraction[j] = fraction;
    between |= fraction > T(0);
  }
  for (int32_t j = 0; j < span.count; ++j) differing |= levels->lower[j] ^ levels->lower[0];
  levels->between = between, levels->alike = !differing;
}

// d (level, axis) / d (uv_da, uv). Pixels where that is not finite receive nothing from it.
template <Boundary B, bool Anisotropic, class Params, class T>
GLR_FUNC void find_levels_bwd(const Params& p, const PixelSpan& span, const SpanLevels<T>& levels,
                              SpanGrads<B, T>* grads) {
  constexpr int D = Coordinates<B, T>::D;
  T grad_da[kSpan][2 * D];
  for (int32_t j = 0; j < span.count; ++j) {
    const int64_t pixel = span.first + j;
    const Coordinates<B, T> uv = coordinates_at<B>(p.uv, pixel);
    const T* da = p.uv_da + pixel * 2 * D;
    const TexelJacobian<T> jacobian = base_jacobian(p, uv, pixel);
    const PixelEllipse<T> e = pixel_ellipse(jacobian);
    Coordinates<B, T> grad_uv;
    for (int d = 0; d < D; ++d) grad_uv.at[d] = grads->uv[d][j];
    T sum_da[2 * D] = {};
    EllipseGrad<T> grad_e;
    if (Anisotropic) {
      const SampleAxis<T> samples = levels.samples(j);
      T axis_x = T(0), axis_y = T(0);  // gradient of the axis in the pixel, which uv_da carries to the texture
      for (int d = 0; d < D; ++d) {
        const T grad_axis = grads->axis[d][j];
        axis_x += da[d * 2] * grad_axis, axis_y += da[d * 2 + 1] * grad_axis;
        sum_da[d * 2] = samples.x * grad_axis, sum_da[d * 2 + 1] = samples.y * grad_axis;
      }
      grad_e = mip_level_bwd(e, filter_width(jacobian, e, p.max_anisotropy), grads->level[j]);
      place_samples_bwd(e, samples, axis_x, axis_y, &grad_e);
    } else {
      grad_e = mip_level_bwd(e, FilterWidth<T>{e.lambda, false}, grads->level[j]);
    }
    jacobian_bwd(uv, da, T(int32_t(p.w)), T(int32_t(p.h)), pixel_ellipse_bwd(jacobian, grad_e), grad_uv.at, sum_da);
    T finite = T(0);  // or NaN
    for (int d = 0; d < D; ++d) finite += T(0) * (grad_uv.at[d] + sum_da[d * 2] + sum_da[d * 2 + 1]);
    for (int d = 0; d < D; ++d) grads->uv[d][j] = finite == T(0) ? grad_uv.at[d] : grads->uv[d][j];
    for (int d = 0; d < 2 * D; ++d) grad_da[j][d] = finite == T(0) ? sum_da[d] : T(0);
  }
  for (int32_t j = 0; p.grad_uv_da && j < span.count; ++j)
    for (int d = 0; d < 2 * D; ++d) p.grad_uv_da[(span.first + j) * 2 * D + d] = grad_da[j][d];
}

// Where sample k of each pixel lies.
template <Filter F, Boundary B, class Params, class T>
GLR_FUNC void find_points(const Params& p, const PixelSpan& span, const SpanLevels<T>& levels, int32_t k,
                          SpanPoints<T>* points) {
  for (int32_t j = 0; j < span.count; ++j) {
    const Coordinates<B, T> uv = coordinates_at<B>(p.uv, span.first + j);
    const bool read = is_somewhere(uv);
    const TexturePoint<T> point = point_at(uv);
    points->s[j] = read ? point.s : T(0), points->t[j] = read ? point.t : T(0);
    points->face[j] = read ? point.face : -1;
  }
  if (!is_anisotropic<F>(p) || levels.max_count == 1) return;
  for (int32_t j = 0; j < span.count; ++j) {
    const Coordinates<B, T> uv = coordinates_at<B>(p.uv, p.uv_da, span.first + j, levels.samples(j), k);
    if (k >= levels.count[j] || !is_somewhere(uv)) points->face[j] = -1;
    if (points->face[j] < 0) continue;
    const TexturePoint<T> point = point_at(uv);
    points->s[j] = point.s, points->t[j] = point.t, points->face[j] = point.face;
  }
}

// d (s, t) / d (uv, axis) of sample k.
template <Filter F, Boundary B, class Params, class T>
GLR_FUNC void find_points_bwd(const Params& p, const PixelSpan& span, const SpanLevels<T>& levels, int32_t k,
                              const SpanPoints<T>& points, SpanGrads<B, T>* grads) {
  const bool several = is_anisotropic<F>(p) && levels.max_count > 1;
  for (int32_t j = 0; j < span.count; ++j) {
    if (B == CUBE && points.face[j] < 0) continue;
    const Coordinates<B, T> uv = several ? coordinates_at<B>(p.uv, p.uv_da, span.first + j, levels.samples(j), k)
                                         : coordinates_at<B>(p.uv, span.first + j);
    const Coordinates<B, T> grad = point_bwd(uv, points.face[j], grads->s[j], grads->t[j]);
    for (int d = 0; d < uv.D; ++d) {
      grads->uv[d][j] += grad.at[d];
      if (several) grads->axis[d][j] += sample_position(levels.samples(j), k) * grad.at[d];
    }
  }
}

// Gives footprints that reach beyond the edges of their faces the neighbouring faces' texels.
template <Filter F, int Upper, class Params, class T>
GLR_FUNC void cross_cube_edges(const Params& p, const PixelSpan& span, const SpanLevels<T>& levels,
                               const SpanPoints<T>& points, SpanFootprints<T>* prints) {
  for (int32_t j = 0; j < span.count; ++j) {
    prints->missing[j] = -1;
    const int32_t size = level_side(int32_t(p.w), F == MIPMAP ? levels.lower[j] + Upper : 0);
    const AxisTexels<T> x = axis_texels<CUBE>(points.s[j], size), y = axis_texels<CUBE>(points.t[j], size);
    if (prints->read[j] && crosses_edge(x, y, size)) {
      Footprint<T> f = prints->get(j);
      cross_cube_edge(points.face[j], x, y, size, &f);
      prints->set(j, f);
    }
  }
}

// Which texels of the pixels' level, or of the one above it, lie around those points.
template <Filter F, Boundary B, int Upper, class Params, class T>
GLR_FUNC void find_footprints(const Params& p, const PixelSpan& span, const SpanLevels<T>& levels,
                              const SpanPoints<T>& points, SpanFootprints<T>* prints) {
  const int32_t base_w = int32_t(p.w), base_h = int32_t(p.h);
  for (int32_t j = 0; j < span.count; ++j) {
    const int32_t k = F == MIPMAP ? levels.lower[j] + Upper : 0;
    const int32_t w = level_side(base_w, k), h = level_side(base_h, k);
    const T factor = F == MIPMAP ? levels.weight(j, Upper) : T(1);
    prints->factor[j] = factor;
    prints->read[j] = (points.face[j] >= 0) & (F != MIPMAP || !Upper || levels.fraction[j] > T(0));
    const AxisTexels<T> x = axis_texels<B>(points.s[j], w), y = axis_texels<B>(points.t[j], h);
    const TexelIndex first = B == CUBE ? TexelIndex(points.face[j]) * h : 0;
    const TexelIndex row0 = (first + y.i0) * w, row1 = (first + y.i1) * w;
    prints->texel[0][j] = B == ZERO && (x.i0 | y.i0) < 0 ? -1 : row0 + x.i0;
    prints->texel[1][j] = B == ZERO && (x.i1 | y.i0) < 0 ? -1 : row0 + x.i1;
    prints->texel[2][j] = B == ZERO && (x.i0 | y.i1) < 0 ? -1 : row1 + x.i0;
    prints->texel[3][j] = B == ZERO && (x.i1 | y.i1) < 0 ? -1 : row1 + x.i1;
    const T y1 = factor * y.weight1, y0 = factor * (T(1) - y.weight1), x0 = T(1) - x.weight1;
    prints->weight[0][j] = x0 * y0, prints->weight[1][j] = x.weight1 * y0;
    prints->weight[2][j] = x0 * y1, prints->weight[3][j] = x.weight1 * y1;
    prints->x.weight1[j] = x.weight1, prints->x.slope[j] = x.slope;
    prints->y.weight1[j] = y.weight1, prints->y.slope[j] = y.slope;
  }
  if (B == CUBE) cross_cube_edges<F, Upper>(p, span, levels, points, prints);
}

// d sample / d (s, t, level), added up over the two levels of a sample.
template <Filter F, int Upper, Boundary B, class T>
GLR_FUNC void find_footprints_bwd(const PixelSpan& span, const SpanLevels<T>& levels, const SpanFootprints<T>& prints,
                                  const SpanSampleGrads<T>& samples, SpanGrads<B, T>* grads) {
  for (int32_t j = 0; j < span.count; ++j) {
    grads->s[j] += prints.factor[j] * prints.x.slope[j] * samples.by_x[j];
    grads->t[j] += prints.factor[j] * prints.y.slope[j] * samples.by_y[j];
  }
  for (int32_t j = 0; F == MIPMAP && j < span.count; ++j) {
    const T by_level = levels.fraction[j] > T(0) ? samples.value[j] * levels.share[j] : T(0);
    grads->level[j] += Upper ? by_level : -by_level;
  }
}

// Which texel each point lies in: the first one of its footprint.
template <Boundary B, class Params, class T>
GLR_FUNC void find_nearest(const Params& p, const PixelSpan& span, const SpanPoints<T>& points,
                           SpanFootprints<T>* prints) {
  for (int32_t j = 0; j < span.count; ++j) {
    const TexelIndex texel = nearest_texel<B>(points.s[j], points.t[j], points.face[j], int32_t(p.w), int32_t(p.h));
    prints->texel[0][j] = texel;
    prints->read[j] = texel >= 0;
  }
}
