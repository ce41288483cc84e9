// What one pixel and one triangle have to do with one another in soft rasterization, and the derivatives.
//   coverage D = sigmoid(+-d^2 / sigma), d: to the nearest side (or the least barycentric coordinate), + inside
//   wbar       the barycentrics clamped to [0, 1] and divided by their sum
//   depth z    1 / sum wbar_k / w_k, or sum wbar_k (z/w)_k
// No branches: the loops over lanes that call these are vectorized.
// Source: Liu et al., "Soft Rasterizer", ICCV 2019; the chain rule.
#pragma once

#include "exponential.cuh"
#include "soft_triangle.cuh"

// What coverage is made of.
template <class T>
struct SoftPair {
  T qx[3], qy[3];          // the corners, as seen from the pixel
  T b[3];                  // barycentric coordinates
  T closest_x, closest_y;  // the nearest point of the sides, as seen from the pixel
  T share[3];              // and its barycentric coordinates
  T least;                 // of b
  bool inside, touches;    // touches: within the cut-off, or inside
  T coverage, uncovered;   // D and 1 - D, each to full relative accuracy; 0 and 1 beyond the cut-off
};

// What colour is made of.
template <class T>
struct SoftSurface {
  T wbar[3];
  T inverse_sum;  // 1 / the sum of the clamped barycentrics
  T weight[3];    // of the corners, perspective-correct: wbar_k / w_k over their sum
  T w;            // 1 / that sum
  T depth;
  bool shows;
};

template <class T>
GLR_FUNC T clamp01(T x) {
  const T above = x < T(0) ? T(0) : x;
  return above > T(1) ? T(1) : above;
}

template <SoftDistance D, class T>
GLR_FUNC SoftPair<T> soft_pair(const SoftSettings<T>& s, const SoftTriangle<T>& t, T px, T py, bool counts) {
  SoftPair<T> r;
  r.qx[0] = t.x[0] - px, r.qx[1] = t.x[1] - px, r.qx[2] = t.x[2] - px;
  r.qy[0] = t.y[0] - py, r.qy[1] = t.y[1] - py, r.qy[2] = t.y[2] - py;
  r.b[0] = (r.qx[1] * r.qy[2] - r.qy[1] * r.qx[2]) * t.inverse_area;
  r.b[1] = (r.qx[2] * r.qy[0] - r.qy[2] * r.qx[0]) * t.inverse_area;
  r.b[2] = (r.qx[0] * r.qy[1] - r.qy[0] * r.qx[1]) * t.inverse_area;
  const T least01 = r.b[0] < r.b[1] ? r.b[0] : r.b[1];
  r.least = least01 < r.b[2] ? least01 : r.b[2];
  r.inside = r.least >= t.inner;
  T square = r.least * r.least;
  if (D == EUCLIDEAN) {
    // Along side k, from corner k + 1 to k + 2, the nearest point lies at `at`.
    const T e0x = t.x[2] - t.x[1], e0y = t.y[2] - t.y[1], e1x = t.x[0] - t.x[2], e1y = t.y[0] - t.y[2];
    const T e2x = t.x[1] - t.x[0], e2y = t.y[1] - t.y[0];
    const T at0 = clamp01(-(r.qx[1] * e0x + r.qy[1] * e0y) * t.inverse_length[0]);
    const T at1 = clamp01(-(r.qx[2] * e1x + r.qy[2] * e1y) * t.inverse_length[1]);
    const T at2 = clamp01(-(r.qx[0] * e2x + r.qy[0] * e2y) * t.inverse_length[2]);
    const T c0x = r.qx[1] + at0 * e0x, c0y = r.qy[1] + at0 * e0y, c1x = r.qx[2] + at1 * e1x, c1y = r.qy[2] + at1 * e1y;
    const T c2x = r.qx[0] + at2 * e2x, c2y = r.qy[0] + at2 * e2y;
    const T d0 = c0x * c0x + c0y * c0y, d1 = c1x * c1x + c1y * c1y, d2 = c2x * c2x + c2y * c2y;
    const bool first = d1 < d0;
    const T d01 = first ? d1 : d0, x01 = first ? c1x : c0x, y01 = first ? c1y : c0y;
    const bool second = d2 < d01;
    square = second ? d2 : d01;
    r.closest_x = second ? c2x : x01, r.closest_y = second ? c2y : y01;
    const T s0 = first ? at1 : T(0), s1 = first ? T(0) : T(1) - at0, s2 = first ? T(1) - at1 : at0;
    r.share[0] = second ? T(1) - at2 : s0, r.share[1] = second ? at2 : s1, r.share[2] = second ? T(0) : s2;
  }
  const T e = D == INSIDE ? T(0) : exp_nonpositive(-square * s.inverse_sigma);
  const T large = T(1) / (T(1) + e), small = e * large;
  r.touches = counts & (r.inside | ((D != INSIDE) & (square < s.cutoff)));
  const T covered = r.inside ? large : small, rest = r.inside ? small : large;
  r.coverage = r.touches ? covered : T(0), r.uncovered = r.touches ? rest : T(1);
  return r;
}

template <class T>
GLR_FUNC SoftSurface<T> soft_surface(const SoftSettings<T>& s, const SoftTriangle<T>& t, const SoftPair<T>& pair) {
  SoftSurface<T> r;
  const T c0 = clamp01(pair.b[0]), c1 = clamp01(pair.b[1]), c2 = clamp01(pair.b[2]);
  r.inverse_sum = T(1) / (c0 + c1 + c2);
  r.wbar[0] = c0 * r.inverse_sum, r.wbar[1] = c1 * r.inverse_sum, r.wbar[2] = c2 * r.inverse_sum;
  const T v0 = r.wbar[0] * t.inverse_w[0], v1 = r.wbar[1] * t.inverse_w[1], v2 = r.wbar[2] * t.inverse_w[2];
  r.w = T(1) / (v0 + v1 + v2);
  r.weight[0] = v0 * r.w, r.weight[1] = v1 * r.w, r.weight[2] = v2 * r.w;
  const T linear = r.wbar[0] * t.depth[0] + r.wbar[1] * t.depth[1] + r.wbar[2] * t.depth[2];
  r.depth = s.depth_from_w * r.w + s.linear_depth * linear;
  r.shows = pair.touches & (r.depth >= s.near) & (r.depth <= s.far);
  return r;
}

// What a pixel passes back to a triangle's surface.
template <class T>
struct SoftGrad {
  T depth;       // to the depth
  T color[3];    // to the corners' colours, weighted, summed over channels: sum_c g_c C_kc
  T mean_color;  // the same for the pixel's colour
};

// The derivatives of coverage, depth and interpolated colours with respect to the corners: their positions x and y,
// 1/w, and what is linear in depth.
//   d D: log_odds moves each corner by 2 delta / sigma share_k (closest - p)
//   d wbar: h_k = (G_k - sum_j G_j wbar_j) / sum, where 0 < b_k < 1; f_k = (h_k - sum_j h_j b_j) / area;
//           q_{k+1} moves by f_k (q_{k+2}.y, -q_{k+2}.x), q_{k+2} by f_k (-q_{k+1}.y, q_{k+1}.x)
template <class T>
struct SoftCornerGrad {
  T x[3], y[3], inverse_w[3], depth[3];
};

// d corners by the gradients h of the barycentrics, added.
template <class T>
GLR_FUNC void barycentrics_bwd(const SoftTriangle<T>& t, const SoftPair<T>& pair, T h0, T h1, T h2,
                               SoftCornerGrad<T>* grad) {
  const T mean = h0 * pair.b[0] + h1 * pair.b[1] + h2 * pair.b[2];
  const T f0 = (h0 - mean) * t.inverse_area, f1 = (h1 - mean) * t.inverse_area, f2 = (h2 - mean) * t.inverse_area;
  grad->x[0] += f2 * pair.qy[1] - f1 * pair.qy[2], grad->y[0] += f1 * pair.qx[2] - f2 * pair.qx[1];
  grad->x[1] += f0 * pair.qy[2] - f2 * pair.qy[0], grad->y[1] += f2 * pair.qx[0] - f0 * pair.qx[2];
  grad->x[2] += f1 * pair.qy[0] - f0 * pair.qy[1], grad->y[2] += f0 * pair.qx[1] - f1 * pair.qx[0];
}

// d coverage.
template <SoftDistance D, class T>
GLR_FUNC void coverage_bwd(const SoftSettings<T>& s, const SoftTriangle<T>& t, const SoftPair<T>& pair, T log_odds,
                           SoftCornerGrad<T>* grad) {
  const T signed_grad = pair.inside ? log_odds : -log_odds, factor = T(2) * s.inverse_sigma * signed_grad;
  if (D == EUCLIDEAN) {
    const T x = factor * pair.closest_x, y = factor * pair.closest_y;
    grad->x[0] += pair.share[0] * x, grad->x[1] += pair.share[1] * x, grad->x[2] += pair.share[2] * x;
    grad->y[0] += pair.share[0] * y, grad->y[1] += pair.share[1] * y, grad->y[2] += pair.share[2] * y;
  } else if (D == BARYCENTRIC) {
    const T h = factor * pair.least;
    const bool is0 = pair.b[0] == pair.least, is1 = !is0 & (pair.b[1] == pair.least), is2 = !(is0 | is1);
    barycentrics_bwd(t, pair, is0 ? h : T(0), is1 ? h : T(0), is2 ? h : T(0), grad);
  }
}

// d depth and colour.
template <class T>
GLR_FUNC void surface_bwd(const SoftSettings<T>& s, const SoftTriangle<T>& t, const SoftPair<T>& pair,
                          const SoftSurface<T>& surface, const SoftGrad<T>& in, SoftCornerGrad<T>* grad) {
  const T square = surface.depth * surface.depth;
  const T linear = in.depth * (s.linear_depth - s.depth_from_w * square);  // to what is linear on the screen
  T G[3];
  for (int k = 0; k < 3; ++k) {
    const T color = (in.color[k] - in.mean_color) * surface.w;
    G[k] = color * t.inverse_w[k] + linear * t.depth[k];
    grad->inverse_w[k] += color * surface.wbar[k];
    grad->depth[k] += linear * surface.wbar[k];
  }
  const T mean = G[0] * surface.wbar[0] + G[1] * surface.wbar[1] + G[2] * surface.wbar[2];
  const T scale = s.full * surface.inverse_sum;
  const bool m0 = (pair.b[0] > T(0)) & (pair.b[0] < T(1)), m1 = (pair.b[1] > T(0)) & (pair.b[1] < T(1));
  const bool m2 = (pair.b[2] > T(0)) & (pair.b[2] < T(1));
  const T h0 = (G[0] - mean) * scale, h1 = (G[1] - mean) * scale, h2 = (G[2] - mean) * scale;
  barycentrics_bwd(t, pair, m0 ? h0 : T(0), m1 ? h1 : T(0), m2 ? h2 : T(0), grad);
}
