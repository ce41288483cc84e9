// How the steps of texture_steps.cuh change along tangents of a lookup's arguments: derivatives forward. What they make
// is the transpose of the steps' `_bwd`, also in what counts as having no derivative.
#pragma once

#include "texture_steps.cuh"

// Tangents of a span's arguments, and of what the steps make of them.
template <Boundary B, class T>
struct SpanTangents {
  static constexpr int D = Coordinates<B, T>::D;
  T uv[D][kSpan], axis[D][kSpan];  // of the pixel's middle, and of the axis along which its samples lie
  T s[kSpan], t[kSpan];            // of the current sample's point
  T fraction[kSpan];               // of the upper level's weight, with the sample's
};

// How what the pixels read of a level changes: by these times the first texel, the second less the first (to the
// right), the third less the first (up), and what the fourth has beyond both.
template <class T>
struct SpanChanges {
  int32_t any[kSpan];  // whether one of these is not zero
  T first[kSpan], right[kSpan], up[kSpan], twist[kSpan];
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

// The tangents of a span's uv or uv_da, of M numbers a pixel; zeros where there are none.
template <int M, class T>
GLR_FUNC void load_tangents(const T* tangent, const PixelSpan& span, T (*out)[kSpan]) {
  for (int m = 0; !tangent && m < M; ++m)
    for (int32_t j = 0; j < span.count; ++j) out[m][j] = T(0);
  for (int32_t j = 0; tangent && j < span.count; ++j)
    for (int m = 0; m < M; ++m) out[m][j] = tangent[(span.first + j) * M + m];
}

// d (level, axis) along the tangents of (uv_da, uv). Pixels where it is not finite have none of it.
template <Boundary B, bool Anisotropic, class Params, class T>
GLR_FUNC void find_widths_jvp(const Params& p, const PixelSpan& span, const SpanLevels<T>& levels,
                              SpanTangents<B, T>* tangents) {
  constexpr int D = Coordinates<B, T>::D;
  T along_da[2 * D][kSpan];
  load_tangents<2 * D>(p.tangent_uv_da, span, along_da);
  for (int32_t j = 0; j < span.count; ++j) {
    const int64_t pixel = span.first + j;
    const Coordinates<B, T> uv = coordinates_at<B>(p.uv, pixel);
    const T* da = p.uv_da + pixel * 2 * D;
    T tangent_uv[D], tangent_da[2 * D];
    for (int d = 0; d < D; ++d) tangent_uv[d] = tangents->uv[d][j];
    for (int d = 0; d < 2 * D; ++d) tangent_da[d] = along_da[d][j];
    const TexelJacobian<T> jacobian = base_jacobian(p, uv, pixel);
    const PixelEllipse<T> e = pixel_ellipse(jacobian);
    const EllipseGrad<T> along =
        pixel_ellipse_jvp(jacobian, jacobian_jvp(uv, da, T(int32_t(p.w)), T(int32_t(p.h)), tangent_uv, tangent_da));
    const FilterWidth<T> width =
        Anisotropic ? filter_width(jacobian, e, p.max_anisotropy) : FilterWidth<T>{e.lambda, false};
    const T level = dot(mip_level_bwd(e, width, levels.fraction[j] > T(0) ? T(1) : T(0)), along);
    if (Anisotropic) {
      const SampleAxis<T> samples = levels.samples(j);
      const bool several = samples.count > 1;
      const T turn = (along.K * (e.A - e.B) - (along.A - along.B) * e.K) / (T(4) * e.R * e.R);
      const T angle = several ? turn : T(0);
      const bool finite = T(0) * level + T(0) * angle == T(0);
      tangents->fraction[j] = finite ? level : T(0);
      for (int d = 0; d < D; ++d) {
        const T axis = da[d * 2] * (-samples.y * angle) + da[d * 2 + 1] * (samples.x * angle);
        const T sum = axis + (tangent_da[d * 2] * samples.x + tangent_da[d * 2 + 1] * samples.y);
        tangents->axis[d][j] = finite & several ? sum : T(0);
      }
    } else {
      tangents->fraction[j] = T(0) * level == T(0) ? level : T(0);
    }
  }
}

// d (level, axis) along the tangents of (uv_da, uv, mip_level_bias).
template <Filter F, Boundary B, class Params, class T>
GLR_FUNC void find_levels_jvp(const Params& p, const PixelSpan& span, const SpanLevels<T>& levels,
                              SpanTangents<B, T>* tangents) {
  constexpr int D = Coordinates<B, T>::D;
  load_tangents<D>(p.tangent_uv, span, tangents->uv);
  if (F != MIPMAP) return;
  for (int32_t j = 0; j < span.count; ++j) tangents->fraction[j] = T(0);
  for (int d = 0; d < D; ++d)
    for (int32_t j = 0; j < span.count; ++j) tangents->axis[d][j] = T(0);
  if (p.uv_da && !p.nearest_level && (p.tangent_uv_da || (B == CUBE && p.tangent_uv))) {
    if (is_anisotropic<F>(p))
      find_widths_jvp<B, true>(p, span, levels, tangents);
    else
      find_widths_jvp<B, false>(p, span, levels, tangents);
  }
  for (int32_t j = 0; p.tangent_mip_level_bias && j < span.count; ++j)
    tangents->fraction[j] += p.tangent_mip_level_bias[span.first + j];
  for (int32_t j = 0; j < span.count; ++j)
    tangents->fraction[j] = levels.fraction[j] > T(0) ? tangents->fraction[j] * levels.share[j] : T(0);
}

// d (s, t) of sample k along the tangents of uv and of the samples' axis.
template <Filter F, Boundary B, class Params, class T>
GLR_FUNC void find_points_jvp(const Params& p, const PixelSpan& span, const SpanLevels<T>& levels, int32_t k,
                              const SpanPoints<T>& points, SpanTangents<B, T>* tangents) {
  constexpr int D = Coordinates<B, T>::D;
  const bool several = is_anisotropic<F>(p) && levels.max_count > 1;
  for (int32_t j = 0; j < span.count; ++j) {
    T tangent[D];
    for (int d = 0; d < D; ++d) tangent[d] = tangents->uv[d][j];
    if (several)
      for (int d = 0; d < D; ++d) tangent[d] += sample_position(levels.samples(j), k) * tangents->axis[d][j];
    if constexpr (B == CUBE) {
      tangents->s[j] = tangents->t[j] = T(0);
      if (points.face[j] < 0) continue;
      const int64_t pixel = span.first + j;
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

// How what the pixels read of their level, or of the one above it, changes with their points and their levels.
//   x0 y0 v0 + x1 y0 v1 + x0 y1 v2 + x1 y1 v3 = v0 + x1 (v1 - v0) + y1 (v2 - v0) + x1 y1 (v3 - v2 - v1 + v0)
// Differences of texels, so that where these are alike nothing is left of them.
template <Filter F, int Upper, Boundary B, class T>
GLR_FUNC void find_footprints_jvp(const PixelSpan& span, const SpanFootprints<T>& prints,
                                  const SpanTangents<B, T>& tangents, SpanChanges<T>* changes) {
  for (int32_t j = 0; j < span.count; ++j) {
    const T by_x = prints.factor[j] * prints.x.slope[j] * tangents.s[j];
    const T by_y = prints.factor[j] * prints.y.slope[j] * tangents.t[j];
    const T by_level = F != MIPMAP ? T(0) : Upper ? tangents.fraction[j] : -tangents.fraction[j];
    const T x1 = prints.x.weight1[j], y1 = prints.y.weight1[j];
    changes->any[j] = (by_x != T(0)) | (by_y != T(0)) | (by_level != T(0));
    changes->first[j] = by_level;
    changes->right[j] = by_x + by_level * x1, changes->up[j] = by_y + by_level * y1;
    changes->twist[j] = by_x * y1 + by_y * x1 + by_level * (x1 * y1);
  }
}
