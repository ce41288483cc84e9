// The steps in which a span of pixels finds what it reads from a texture: mip levels, points on the texture, texels.
// They are loops without branches wherever they can be, which the host's compiler vectorizes.
#pragma once

#include "pixel_spans.cuh"
#include "texel.cuh"

enum Filter { NEAREST, LINEAR, MIPMAP };

template <class T>
struct SpanLevels {
  int32_t lower[kSpan], count[kSpan];
  T fraction[kSpan], share[kSpan], axis_x[kSpan], axis_y[kSpan];
  int32_t max_count;  // of the pixel that takes the most samples
  int32_t between;    // whether any pixel reads a second level

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
struct SpanAxis {
  int32_t i0[kSpan], i1[kSpan], size[kSpan];
  T weight1[kSpan], slope[kSpan];

  GLR_MEMBER AxisTexels<T> get(int32_t j) const { return {i0[j], i1[j], weight1[j], slope[j]}; }
};

template <class T>
struct SpanTexels {
  SpanAxis<T> x, y;

  // The texel of the level at which the lower or upper row around the point begins.
  template <Boundary B>
  GLR_MEMBER int64_t row(const SpanPoints<T>& points, int32_t j, bool upper) const {
    const int64_t row = upper ? y.i1[j] : y.i0[j];
    return (B == CUBE ? row + int64_t(points.face[j]) * y.size[j] : row) * x.size[j];
  }
  template <Boundary B>
  GLR_MEMBER Footprint<T> footprint(const SpanPoints<T>& points, int32_t j) const {
    return footprint_of<B>(x.get(j), y.get(j), row<B>(points, j, false), row<B>(points, j, true), points.face[j],
                           x.size[j], y.size[j]);
  }
};

GLR_FUNC int32_t level_side(int64_t side, int32_t k) {
  const int32_t halved = int32_t(side) >> k;
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
  return jacobian_at(uv, p.uv_da + pixel * 2 * uv.D, T(p.w), T(p.h));
}

template <Filter F, Boundary B, class Params, class T>
GLR_FUNC void find_levels(const Params& p, const PixelSpan& span, SpanLevels<T>* levels) {
  levels->max_count = 1, levels->between = 0;
  if (F != MIPMAP) return;
  T level[kSpan];
  for (int32_t j = 0; j < span.count; ++j) {
    level[j] = levels->axis_x[j] = levels->axis_y[j] = T(0);
    levels->count[j] = 1, levels->share[j] = T(1);
  }
  if (p.uv_da && p.max_anisotropy == 1) {
    for (int32_t j = 0; j < span.count; ++j) {
      const Coordinates<B, T> uv = coordinates_at<B>(p.uv, span.first + j);
      level[j] = level_of_width(pixel_ellipse(base_jacobian(p, uv, span.first + j)).lambda);
    }
  } else if (p.uv_da) {
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
  for (int32_t j = 0; p.mip_level_bias && j < span.count; ++j) level[j] += p.mip_level_bias[span.first + j];
  const T last = T(p.num_levels - 1), scale = p.nearest_level ? T(0) : T(1);
  for (int32_t j = 0; j < span.count; ++j) {
    const T clamped = clamp(level[j], T(0), last);  // NaN: 0
    levels->lower[j] = int32_t(clamped);
    levels->fraction[j] = (clamped - T(levels->lower[j])) * scale;
  }
  for (int32_t j = 0; j < span.count; ++j) levels->between |= levels->fraction[j] > T(0);
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
  if (F != MIPMAP || levels.max_count == 1) return;
  for (int32_t j = 0; j < span.count; ++j) {
    const Coordinates<B, T> uv = coordinates_at<B>(p.uv, p.uv_da, span.first + j, levels.samples(j), k);
    if (k >= levels.count[j] || !is_somewhere(uv)) points->face[j] = -1;
    if (points->face[j] < 0) continue;
    const TexturePoint<T> point = point_at(uv);
    points->s[j] = point.s, points->t[j] = point.t, points->face[j] = point.face;
  }
}

// Which texels of the pixels' level, or of the one above it, lie around those points.
template <Filter F, Boundary B, class Params, class T>
GLR_FUNC void find_texels(const Params& p, const PixelSpan& span, const SpanLevels<T>& levels, int32_t upper,
                          const SpanPoints<T>& points, SpanTexels<T>* texels) {
  SpanAxis<T>&x = texels->x, &y = texels->y;
  for (int32_t j = 0; j < span.count; ++j) {
    const int32_t k = F == MIPMAP ? levels.lower[j] + upper : 0;
    x.size[j] = level_side(p.w, k), y.size[j] = level_side(p.h, k);
  }
  for (int32_t j = 0; j < span.count; ++j) {
    const AxisTexels<T> axis = axis_texels<B>(points.s[j], x.size[j]);
    x.i0[j] = axis.i0, x.i1[j] = axis.i1, x.weight1[j] = axis.weight1, x.slope[j] = axis.slope;
  }
  for (int32_t j = 0; j < span.count; ++j) {
    const AxisTexels<T> axis = axis_texels<B>(points.t[j], y.size[j]);
    y.i0[j] = axis.i0, y.i1[j] = axis.i1, y.weight1[j] = axis.weight1, y.slope[j] = axis.slope;
  }
}
