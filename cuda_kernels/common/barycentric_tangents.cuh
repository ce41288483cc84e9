// How the barycentrics of barycentric_terms.cuh and their screen-space derivatives change along a tangent of the
// corners: their gradients transposed, the guard of S included.
#pragma once

#include "barycentric_terms.cuh"

// d (a, ax, ay, S, Sx, Sy) along a tangent of the corners, by the product rule. X: double, or V where samples differ.
template <class V, class X>
GLR_FUNC EdgeTermsOf<V> edge_terms_jvp(const CornersOf<V>& c, const EdgeTermsOf<V>& e, const CornersOf<V>& tangent,
                                       X fx, double fy) {
  EdgeTermsOf<V> t;
  for (int i = 0; i < 3; ++i) t.qx[i] = tangent.x[i] - fx * tangent.w[i], t.qy[i] = tangent.y[i] - fy * tangent.w[i];
  for (int i = 0; i < 3; ++i) {
    const int j = i == 2 ? 0 : i + 1, k = i == 0 ? 2 : i - 1;
    t.a[i] = t.qx[j] * e.qy[k] + e.qx[j] * t.qy[k] - t.qy[j] * e.qx[k] - e.qy[j] * t.qx[k];
    t.ax[i] = tangent.w[k] * e.qy[j] + c.w[k] * t.qy[j] - tangent.w[j] * e.qy[k] - c.w[j] * t.qy[k];
    t.ay[i] = tangent.w[j] * e.qx[k] + c.w[j] * t.qx[k] - tangent.w[k] * e.qx[j] - c.w[k] * t.qx[j];
  }
  t.S = t.a[0] + t.a[1] + t.a[2], t.Sx = t.ax[0] + t.ax[1] + t.ax[2], t.Sy = t.ay[0] + t.ay[1] + t.ay[2];
  return t;
}

// What of the edge terms the pixels of a run need.
template <class V>
struct RunEdges {
  V a0, a1, S, a0_x, a1_x, S_x, a0_y, a1_y, S_y;
};

template <class V>
GLR_FUNC RunEdges<V> run_edges(const EdgeTermsOf<V>& e) {
  return {e.a[0], e.a[1], e.S, e.ax[0], e.ax[1], e.Sx, e.ay[0], e.ay[1], e.Sy};
}

// The same at a run's first sample, along the tangent, and how far S may be off.
template <class V>
struct TangentTerms {
  RunEdges<V> at, along;
  V noise;
};

template <class T, class V, class X>
GLR_FUNC TangentTerms<V> tangent_terms(const CornersOf<V>& c, const CornersOf<V>& tangent, X fx, double fy) {
  const EdgeTermsOf<V> e = edge_terms(c, fx, fy);
  return {run_edges(e), run_edges(edge_terms_jvp(c, e, tangent, fx, fy)), noise_of_S<T>(c)};
}

// How what a pixel shows changes, of type F: T or several of them. Depth and id do not.
template <class F>
struct PixelTangents {
  F u, v, u_x, u_y, v_x, v_y;
};

// d (u, v, rast_db) of the pixel at x, in normalised device coordinates from the run's first sample. `round` makes F of
// V.
template <class F, class V, class Round>
GLR_FUNC PixelTangents<F> pixel_jvp(const TangentTerms<V>& terms, double step_x, double step_y, V x,
                                    const Round& round) {
  const RunEdges<V>&e = terms.at, &t = terms.along;
  const V inverse_s = inverse_of_S(e.S + e.S_x * x, terms.noise);
  const V u = (e.a0 + e.a0_x * x) * inverse_s, v = (e.a1 + e.a1_x * x) * inverse_s, ts = t.S + t.S_x * x;
  const V tu = inverse_s * (t.a0 + t.a0_x * x - u * ts), tv = inverse_s * (t.a1 + t.a1_x * x - v * ts);
  const V to_x = step_x * inverse_s, to_y = step_y * inverse_s, change = inverse_s * ts;
  return {round(tu),
          round(tv),
          round(to_x * (t.a0_x - tu * e.S_x - u * t.S_x - change * (e.a0_x - u * e.S_x))),
          round(to_y * (t.a0_y - tu * e.S_y - u * t.S_y - change * (e.a0_y - u * e.S_y))),
          round(to_x * (t.a1_x - tv * e.S_x - v * t.S_x - change * (e.a1_x - v * e.S_x))),
          round(to_y * (t.a1_y - tv * e.S_y - v * t.S_y - change * (e.a1_y - v * e.S_y)))};
}
