// How the steps of texture_steps.cuh change along tangents of a lookup's arguments: derivatives forward. What they make
// is the transpose of the steps' `_bwd`, also in what counts as having no derivative.
#pragma once

#include "texture_steps.cuh"

template <class T>
struct SpanTangents {
  T s[kSpan], t[kSpan];            // of the current sample's point
  T fraction[kSpan];               // of the upper level's weight, with the sample's
  T axis_x[kSpan], axis_y[kSpan];  // of SampleAxis
  bool by_da[kSpan];               // whether uv_da has a finite derivative
};

// d J along the tangents of (uv, uv_da), tangent_uv[D] and tangent_da[2 D].
template <Boundary B, class T>
GLR_FUNC TexelJacobian<T> jacobian_jvp(const Coordinates<B, T>& uv, const T* da, T w, T h, const T* tangent_uv,
                                       const T* tangent_da) {
  if constexpr (B == CUBE) {
    const int32_t face = cube_face_of(direction_of(uv));
    const auto on_face = [face](const T* v, int step, int first) {
      return to_face(face, Vector3<T>{v[first], v[first + step], v[first + 2 * step]});
    };
    const FaceVector<T> f = to_face(face, direction_of(uv)), t = on_face(tangent_uv, 1, 0);
    const FaceVector<T> fx = on_face(da, 2, 0), fy = on_face(da, 2, 1);
    const FaceVector<T> tx = on_face(tangent_da, 2, 0), ty = on_face(tangent_da, 2, 1);
    return {w * cube_tangent_jvp(f.sc, f.major, fx.sc, fx.major, t.sc, t.major, tx.sc, tx.major),
            w * cube_tangent_jvp(f.sc, f.major, fy.sc, fy.major, t.sc, t.major, ty.sc, ty.major),
            h * cube_tangent_jvp(f.tc, f.major, fx.tc, fx.major, t.tc, t.major, tx.tc, tx.major),
            h * cube_tangent_jvp(f.tc, f.major, fy.tc, fy.major, t.tc, t.major, ty.tc, ty.major)};
  } else {
    return {w * tangent_da[0], w * tangent_da[1], h * tangent_da[2], h * tangent_da[3]};
  }
}

// d (A, B, K) along a tangent of J.
template <class T>
GLR_FUNC EllipseGrad<T> pixel_ellipse_jvp(const TexelJacobian<T>& j, const TexelJacobian<T>& tangent) {
  return {T(2) * (j.s_x * tangent.s_x + j.t_x * tangent.t_x), T(2) * (j.s_y * tangent.s_y + j.t_y * tangent.t_y),
          j.s_x * tangent.s_y + tangent.s_x * j.s_y + j.t_x * tangent.t_y + tangent.t_x * j.t_y};
}

template <class T>
GLR_FUNC T dot(const EllipseGrad<T>& a, const EllipseGrad<T>& b) {
  return a.A * b.A + a.B * b.B + a.K * b.K;
}

// d (level, axis) along the tangents of (uv_da, uv, mip_level_bias). Pixels where that of uv_da is not finite have none
// of it.
template <Filter F, Boundary B, class Params, class T>
GLR_FUNC void find_levels_jvp(const Params& p, const PixelSpan& span, const SpanLevels<T>& levels,
                              SpanTangents<T>* tangents) {
  constexpr int D = Coordinates<B, T>::D;
  for (int32_t j = 0; j < span.count; ++j) {
    tangents->fraction[j] = tangents->axis_x[j] = tangents->axis_y[j] = T(0);
    tangents->by_da[j] = p.tangent_uv_da && p.max_anisotropy > 1;
  }
  if (F != MIPMAP) return;
  if (p.uv_da && !p.nearest_level && (p.tangent_uv_da || (B == CUBE && p.tangent_uv))) {
    for (int32_t j = 0; j < span.count; ++j) {
      const int64_t pixel = span.first + j;
      if (p.max_anisotropy == 1 && !(levels.fraction[j] > T(0))) continue;
      const Coordinates<B, T> uv = coordinates_at<B>(p.uv, pixel);
      const T* da = p.uv_da + pixel * 2 * D;
      T tangent_uv[D], tangent_da[2 * D];
      for (int d = 0; d < D; ++d) tangent_uv[d] = p.tangent_uv ? p.tangent_uv[pixel * D + d] : T(0);
      for (int d = 0; d < 2 * D; ++d) tangent_da[d] = p.tangent_uv_da ? p.tangent_uv_da[pixel * 2 * D + d] : T(0);
      const TexelJacobian<T> jacobian = base_jacobian(p, uv, pixel);
      const PixelEllipse<T> e = pixel_ellipse(jacobian);
      const EllipseGrad<T> along =
          pixel_ellipse_jvp(jacobian, jacobian_jvp(uv, da, T(int32_t(p.w)), T(int32_t(p.h)), tangent_uv, tangent_da));
      const FilterWidth<T> width =
          p.max_anisotropy > 1 ? filter_width(jacobian, e, p.max_anisotropy) : FilterWidth<T>{e.lambda, false};
      const T level = dot(mip_level_bwd(e, width, levels.fraction[j] > T(0) ? T(1) : T(0)), along);
      const SampleAxis<T> samples = levels.samples(j);
      T angle = T(0);
      if (samples.count > 1) angle = (along.K * (e.A - e.B) - (along.A - along.B) * e.K) / (T(4) * e.R * e.R);
      const bool finite = isfinite(level) && isfinite(angle);
      tangents->fraction[j] = finite ? level : T(0);
      tangents->axis_x[j] = finite ? -samples.y * angle : T(0);
      tangents->axis_y[j] = finite ? samples.x * angle : T(0);
      tangents->by_da[j] = tangents->by_da[j] & finite;
    }
  }
  for (int32_t j = 0; p.tangent_mip_level_bias && j < span.count; ++j)
    tangents->fraction[j] += p.tangent_mip_level_bias[span.first + j];
  for (int32_t j = 0; j < span.count; ++j)
    tangents->fraction[j] = levels.fraction[j] > T(0) ? tangents->fraction[j] * levels.share[j] : T(0);
}

// d (s, t) of sample k along the tangents of uv and of the samples' axis.
template <Filter F, Boundary B, class Params, class T>
GLR_FUNC void find_points_jvp(const Params& p, const PixelSpan& span, const SpanLevels<T>& levels, int32_t k,
                              const SpanPoints<T>& points, SpanTangents<T>* tangents) {
  constexpr int D = Coordinates<B, T>::D;
  const bool several = F == MIPMAP && levels.max_count > 1;
  for (int32_t j = 0; j < span.count; ++j) {
    const int64_t pixel = span.first + j;
    T tangent[D];
    for (int d = 0; d < D; ++d) tangent[d] = p.tangent_uv ? p.tangent_uv[pixel * D + d] : T(0);
    if (several) {
      const SampleAxis<T> samples = levels.samples(j);
      const T position = sample_position(samples, k);
      for (int d = 0; d < D; ++d) {
        const T* da = p.uv_da + (pixel * D + d) * 2;
        T axis = da[0] * tangents->axis_x[j] + da[1] * tangents->axis_y[j];
        if (tangents->by_da[j]) {
          const T* tangent_da = p.tangent_uv_da + (pixel * D + d) * 2;
          axis += tangent_da[0] * samples.x + tangent_da[1] * samples.y;
        }
        tangent[d] += samples.count > 1 ? position * axis : T(0);
      }
    }
    if constexpr (B == CUBE) {
      tangents->s[j] = tangents->t[j] = T(0);
      if (points.face[j] < 0) continue;
      const Coordinates<B, T> uv =
          several ? coordinates_at<B>(p.uv, p.uv_da, pixel, levels.samples(j), k) : coordinates_at<B>(p.uv, pixel);
      const FaceVector<T> f = to_face(points.face[j], direction_of(uv));
      const FaceVector<T> along = to_face(points.face[j], Vector3<T>{tangent[0], tangent[1], tangent[2]});
      tangents->s[j] = cube_tangent(f.sc, f.major, along.sc, along.major);
      tangents->t[j] = cube_tangent(f.tc, f.major, along.tc, along.major);
    } else {
      tangents->s[j] = tangent[0], tangents->t[j] = tangent[1];
    }
  }
}
