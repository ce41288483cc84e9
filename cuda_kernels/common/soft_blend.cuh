// One triangle blended into neighbouring pixels of a row, and what they pass back to it.
//   alpha     A += P D, P *= 1 - D: 1 - prod (1 - D) without cancellation. Its derivative by the log odds of D is P D.
//   softmax   weights D exp(zhat / gamma), relative to the largest so far: rgb and the sum are scaled when that changes
// With w a triangle's weight over the sum, C its colour, I the pixel's, g the gradient of I and X = w <g, C - I>:
// d log odds = X (1 - D), d depth = -X / ((far - near) gamma), d C = w g.
// Source: Liu et al., "Soft Rasterizer", ICCV 2019; the running maximum: Milakov and Gimelshein 2018.
#pragma once

#include "soft_pair.cuh"
#include "texel.cuh"

enum SoftBlend { NO_COLOR, SOFTMAX, NEAREST_COLOR };

// What a triangle's colours are: interpolated attributes of its corners, or a texture at interpolated coordinates.
template <class T>
struct SoftColors {
  const T* corner[3];    // [A] each
  const T* texture;      // [h, w, C], null for none
  double* grad_texture;  // alike; null if not wanted
  int64_t A, C;
  int32_t h, w;
  bool shared_gradient;  // several threads add to it
};

// Running values of a pixel and its neighbours to the right; channels of rgb are `plane` apart.
template <class T>
struct SoftPixels {
  T *least_depth, *sum;  // of softmax; the background's at first
  T *product, *alpha;
  T* depth;          // of the nearest triangle that covers the centre; infinity for none
  int32_t* nearest;  // its id
  T* rgb;
  int64_t plane;
};

// Final values of a pixel and its neighbours to the right.
template <class T>
struct SoftPixelsGrad {
  const T *least_depth, *inverse_sum, *product, *rgb, *grad_rgb, *grad_alpha;
  const int32_t* nearest;
  int64_t plane;
};

template <class T>
struct SoftTexels {
  AxisTexels<T> x, y;
  int64_t at[4];  // where their channels begin
  bool somewhere;
};

template <class T>
GLR_FUNC SoftTexels<T> soft_texels(const SoftColors<T>& c, T w0, T w1, T w2) {
  const T u = w0 * c.corner[0][0] + w1 * c.corner[1][0] + w2 * c.corner[2][0];
  const T v = w0 * c.corner[0][1] + w1 * c.corner[1][1] + w2 * c.corner[2][1];
  SoftTexels<T> r;
  r.somewhere = isfinite(u) && isfinite(v);
  r.x = axis_texels<WRAP>(r.somewhere ? u : T(0), c.w), r.y = axis_texels<WRAP>(r.somewhere ? v : T(0), c.h);
  r.at[0] = (int64_t(r.y.i0) * c.w + r.x.i0) * c.C, r.at[1] = (int64_t(r.y.i0) * c.w + r.x.i1) * c.C;
  r.at[2] = (int64_t(r.y.i1) * c.w + r.x.i0) * c.C, r.at[3] = (int64_t(r.y.i1) * c.w + r.x.i1) * c.C;
  return r;
}

// Colours of the lanes, blended: rgb = rgb keep + weight C.
template <class T>
GLR_FUNC void blend_colors(const SoftColors<T>& colors, const T* keep, const T* weight, const T (*share)[kLanes<T>],
                           const SoftPixels<T>& at) {
  constexpr int L = kLanes<T>;
  if (!colors.texture) {
    for (int64_t c = 0; c < colors.C; ++c) {
      T* const rgb = at.rgb + c * at.plane;
      const T c0 = colors.corner[0][c], c1 = colors.corner[1][c], c2 = colors.corner[2][c];
      GLR_SIMD
      for (int l = 0; l < L; ++l)
        rgb[l] = rgb[l] * keep[l] + weight[l] * (share[0][l] * c0 + share[1][l] * c1 + share[2][l] * c2);
    }
    return;
  }
  for (int l = 0; l < L; ++l) {
    if (weight[l] == T(0)) continue;
    const SoftTexels<T> texels = soft_texels(colors, share[0][l], share[1][l], share[2][l]);
    const T fx = texels.x.weight1, fy = texels.y.weight1;
    for (int64_t c = 0; c < colors.C; ++c) {
      T* const rgb = at.rgb + c * at.plane + l;
      const T *a = colors.texture + c, low = (T(1) - fx) * a[texels.at[0]] + fx * a[texels.at[1]];
      const T high = (T(1) - fx) * a[texels.at[2]] + fx * a[texels.at[3]], mix = (T(1) - fy) * low + fy * high;
      *rgb = *rgb * keep[l] + (texels.somewhere ? weight[l] * mix : T(0));
    }
  }
}

// Blends a triangle into `count` pixels from (x, y) on.
template <SoftDistance D, SoftBlend B, class T>
GLR_FUNC void blend_group(const SoftSettings<T>& settings, const SoftTriangle<T>& from, const SoftColors<T>& colors,
                          int32_t triangle, int32_t y, int32_t x, int32_t count, SoftPixels<T> at) {
  constexpr int L = kLanes<T>;
  const SoftSettings<T> s = settings;  // copies, which no store can change
  const SoftTriangle<T> t = from;
  T keep[L], weight[L], share[3][L];
  const T py = pixel_centre(s, y, s.H);
  GLR_SIMD
  for (int l = 0; l < L; ++l) {  // loads stand before selections: one of them alone would be a branch
    const SoftPair<T> pair = soft_pair<D>(s, t, pixel_centre(s, x + l, s.W), py, l < count);
    const T product = at.product[l], alpha = at.alpha[l], hard = pair.touches & pair.inside ? T(1) : T(0);
    const T remaining = product * (pair.uncovered > s.product_floor ? pair.uncovered : s.product_floor);
    at.product[l] = remaining < T(1e-37) ? T(0) : remaining;  // or slow subnormal numbers would come of it
    at.alpha[l] = alpha + s.soft_alpha * (product * pair.coverage) + s.hard_alpha * hard;
    if (B == NO_COLOR) continue;
    const SoftSurface<T> surface = soft_surface(s, t, pair);
    const T least = at.least_depth[l], sum = at.sum[l], depth = at.depth[l];
    const int32_t nearest = at.nearest[l];
    const bool covers = surface.shows & pair.inside & (surface.depth < depth);
    at.depth[l] = covers ? surface.depth : depth;
    at.nearest[l] = covers ? triangle : nearest;
    share[0][l] = surface.weight[0], share[1][l] = surface.weight[1], share[2][l] = surface.weight[2];
    if (B == SOFTMAX) {
      const T behind = (surface.depth - least) * s.sharpness, e = exp_nonpositive(behind > T(0) ? -behind : behind);
      const bool nearer = surface.shows & (behind < T(0));
      const T own = nearer ? pair.coverage : pair.coverage * e, kept_share = nearer ? e : T(1);
      const T w = surface.shows ? own : T(0);
      keep[l] = kept_share, weight[l] = w;
      at.least_depth[l] = nearer ? surface.depth : least;
      at.sum[l] = sum * kept_share + w;
    } else {
      keep[l] = covers ? T(0) : T(1), weight[l] = covers ? T(1) : T(0);
    }
  }
  if (B != NO_COLOR) blend_colors(colors, keep, weight, share, at);
}

constexpr int kGeometryNumbers = 12;  // of SoftCornerGrad; those of attributes come after

// Pairs and surfaces of a group between two loops: everything that the derivatives need.
template <class T>
struct SoftLanes {
  static constexpr int L = kLanes<T>;
  T b[3][L], closest_x[L], closest_y[L], share[3][L], least[L], inside[L], uncovered[L];
  T wbar[3][L], inverse_sum[L], w[L], depth[L];

  GLR_MEMBER void store(int l, const SoftPair<T>& p, const SoftSurface<T>& f) {
    b[0][l] = p.b[0], b[1][l] = p.b[1], b[2][l] = p.b[2], least[l] = p.least;
    closest_x[l] = p.closest_x, closest_y[l] = p.closest_y;
    share[0][l] = p.share[0], share[1][l] = p.share[1], share[2][l] = p.share[2];
    inside[l] = p.inside ? T(1) : T(0), uncovered[l] = p.uncovered;
    wbar[0][l] = f.wbar[0], wbar[1][l] = f.wbar[1], wbar[2][l] = f.wbar[2];
    inverse_sum[l] = f.inverse_sum, w[l] = f.w, depth[l] = f.depth;
  }
  GLR_MEMBER void load(int l, const SoftTriangle<T>& t, T px, T py, SoftPair<T>* p, SoftSurface<T>* f) const {
    p->qx[0] = t.x[0] - px, p->qx[1] = t.x[1] - px, p->qx[2] = t.x[2] - px;
    p->qy[0] = t.y[0] - py, p->qy[1] = t.y[1] - py, p->qy[2] = t.y[2] - py;
    p->b[0] = b[0][l], p->b[1] = b[1][l], p->b[2] = b[2][l], p->least = least[l];
    p->closest_x = closest_x[l], p->closest_y = closest_y[l];
    p->share[0] = share[0][l], p->share[1] = share[1][l], p->share[2] = share[2][l];
    p->inside = inside[l] > T(0), p->uncovered = uncovered[l];
    f->wbar[0] = wbar[0][l], f->wbar[1] = wbar[1][l], f->wbar[2] = wbar[2][l];
    f->inverse_sum = inverse_sum[l], f->w = w[l], f->depth = depth[l];
  }
};

template <class T>
GLR_FUNC void add_to_texel(const SoftColors<T>& colors, int64_t at, T value) {
  if (colors.shared_gradient)
    atomic_add(&colors.grad_texture[at], double(value));
  else
    colors.grad_texture[at] += value;
}

// d blend_colors: to the texture, and (to_u, to_v) to its coordinates; excess = X.
template <class T>
GLR_FUNC void texture_bwd(const SoftColors<T>& colors, const T* weight, const T (*share)[kLanes<T>],
                          const SoftPixelsGrad<T>& at, T* excess, T* to_u, T* to_v) {
  for (int l = 0; l < kLanes<T>; ++l) {
    excess[l] = to_u[l] = to_v[l] = T(0);
    if (weight[l] == T(0)) continue;
    const SoftTexels<T> texels = soft_texels(colors, share[0][l], share[1][l], share[2][l]);
    const T fx = texels.x.weight1, fy = texels.y.weight1;
    for (int64_t c = 0; c < colors.C; ++c) {
      const T *a = colors.texture + c, g = weight[l] * at.grad_rgb[c * at.plane + l];
      const T a0 = a[texels.at[0]], a1 = a[texels.at[1]], a2 = a[texels.at[2]], a3 = a[texels.at[3]];
      const T low = (T(1) - fx) * a0 + fx * a1, high = (T(1) - fx) * a2 + fx * a3;
      const T mix = texels.somewhere ? (T(1) - fy) * low + fy * high : T(0);
      excess[l] += g * (mix - at.rgb[c * at.plane + l]);
      if (!texels.somewhere) continue;
      to_u[l] += g * texels.x.slope * ((T(1) - fy) * (a1 - a0) + fy * (a3 - a2));
      to_v[l] += g * texels.y.slope * (high - low);
      if (!colors.grad_texture) continue;
      add_to_texel(colors, texels.at[0] + c, g * ((T(1) - fx) * (T(1) - fy)));
      add_to_texel(colors, texels.at[1] + c, g * (fx * (T(1) - fy)));
      add_to_texel(colors, texels.at[2] + c, g * ((T(1) - fx) * fy));
      add_to_texel(colors, texels.at[3] + c, g * (fx * fy));
    }
  }
}

// d an interpolated attribute of the lanes, `to`: added to its corners, sum[3 A L], and to the corners' colours.
template <class T>
GLR_FUNC void attribute_bwd(const SoftColors<T>& colors, int64_t a, const T* to, const T (*share)[kLanes<T>],
                            T (*color)[kLanes<T>], T* sum) {
  constexpr int L = kLanes<T>;
  const T a0 = colors.corner[0][a], a1 = colors.corner[1][a], a2 = colors.corner[2][a];
  T *const s0 = sum + a * L, *const s1 = s0 + colors.A * L, *const s2 = s1 + colors.A * L;
  GLR_SIMD
  for (int l = 0; l < L; ++l) {
    color[0][l] += to[l] * a0, color[1][l] += to[l] * a1, color[2][l] += to[l] * a2;
    s0[l] += to[l] * share[0][l], s1[l] += to[l] * share[1][l], s2[l] += to[l] * share[2][l];
  }
}

// d blend_colors, and what follows from it: X of every lane, and the gradients of the corners' colours.
template <class T>
GLR_FUNC void colors_bwd(const SoftColors<T>& colors, const T* weight, const T (*share)[kLanes<T>],
                         const SoftPixelsGrad<T>& at, T* excess, T (*color)[kLanes<T>], T* sum) {
  constexpr int L = kLanes<T>;
  for (int l = 0; l < L; ++l) excess[l] = color[0][l] = color[1][l] = color[2][l] = T(0);
  if (colors.texture) {
    T to_u[L], to_v[L];
    texture_bwd(colors, weight, share, at, excess, to_u, to_v);
    attribute_bwd(colors, 0, to_u, share, color, sum);
    attribute_bwd(colors, 1, to_v, share, color, sum);
    return;
  }
  for (int64_t c = 0; c < colors.C; ++c) {
    const T c0 = colors.corner[0][c], c1 = colors.corner[1][c], c2 = colors.corner[2][c];
    const T *const rgb = at.rgb + c * at.plane, *const grad = at.grad_rgb + c * at.plane;
    T to[L];
    GLR_SIMD
    for (int l = 0; l < L; ++l) {
      to[l] = weight[l] * grad[l];
      excess[l] += to[l] * ((share[0][l] * c0 + share[1][l] * c1 + share[2][l] * c2) - rgb[l]);
    }
    attribute_bwd(colors, c, to, share, color, sum);
  }
}

template <class T>
GLR_FUNC void add_corner_grad(const SoftCornerGrad<T>& grad, bool colored, T* sum) {
  constexpr int L = kLanes<T>;
  sum[0] += grad.x[0], sum[L] += grad.x[1], sum[2 * L] += grad.x[2];
  sum[3 * L] += grad.y[0], sum[4 * L] += grad.y[1], sum[5 * L] += grad.y[2];
  if (!colored) return;
  sum[6 * L] += grad.inverse_w[0], sum[7 * L] += grad.inverse_w[1], sum[8 * L] += grad.inverse_w[2];
  sum[9 * L] += grad.depth[0], sum[10 * L] += grad.depth[1], sum[11 * L] += grad.depth[2];
}

// d blend_group: adds what the pixels pass back to sum[(kGeometryNumbers + 3 A) L].
template <SoftDistance D, SoftBlend B, class T>
GLR_FUNC void blend_group_bwd(const SoftSettings<T>& settings, const SoftTriangle<T>& from, const SoftColors<T>& colors,
                              int32_t triangle, int32_t y, int32_t x, int32_t count, SoftPixelsGrad<T> at, T* sum) {
  constexpr int L = kLanes<T>;
  const SoftSettings<T> s = settings;
  const SoftTriangle<T> t = from;
  T weight[L], share[3][L], odds[L], excess[L], color[3][L];
  SoftLanes<T> lanes;
  const T py = pixel_centre(s, y, s.H);
  GLR_SIMD
  for (int l = 0; l < L; ++l) {
    const SoftPair<T> pair = soft_pair<D>(s, t, pixel_centre(s, x + l, s.W), py, l < count);
    const T others = s.product_share * at.product[l] + s.sum_share * pair.uncovered;
    odds[l] = at.grad_alpha[l] * pair.coverage * others;
    if (B == NO_COLOR) {
      SoftCornerGrad<T> grad = {};
      coverage_bwd<D>(s, t, pair, odds[l], &grad);
      add_corner_grad(grad, false, sum + l);
      continue;
    }
    const SoftSurface<T> surface = soft_surface(s, t, pair);
    if (B == SOFTMAX) {
      const T behind = (at.least_depth[l] - surface.depth) * s.sharpness;
      const T w = pair.coverage * exp_nonpositive(behind > T(0) ? T(0) : behind) * at.inverse_sum[l];
      weight[l] = surface.shows ? w : T(0);
    } else {
      const int32_t nearest = at.nearest[l];
      weight[l] = surface.shows & pair.inside & (nearest == triangle) ? T(1) : T(0);
    }
    share[0][l] = surface.weight[0], share[1][l] = surface.weight[1], share[2][l] = surface.weight[2];
    lanes.store(l, pair, surface);
  }
  if (B == NO_COLOR) return;
  colors_bwd(colors, weight, share, at, excess, color, sum + kGeometryNumbers * L);
  GLR_SIMD
  for (int l = 0; l < L; ++l) {
    SoftPair<T> pair;
    SoftSurface<T> surface;
    lanes.load(l, t, pixel_centre(s, x + l, s.W), py, &pair, &surface);
    SoftGrad<T> in;
    in.depth = B == SOFTMAX ? -s.sharpness * excess[l] : T(0);
    in.color[0] = color[0][l], in.color[1] = color[1][l], in.color[2] = color[2][l];
    in.mean_color = color[0][l] * share[0][l] + color[1][l] * share[1][l] + color[2][l] * share[2][l];
    SoftCornerGrad<T> grad = {};
    coverage_bwd<D>(s, t, pair, odds[l] + (B == SOFTMAX ? excess[l] * pair.uncovered : T(0)), &grad);
    surface_bwd(s, t, pair, surface, in, &grad);
    add_corner_grad(grad, true, sum + l);
  }
}
