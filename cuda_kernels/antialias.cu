// Antialiasing of silhouettes: where two neighbouring pixels see different triangles and a silhouette edge of the
// nearer one passes between their centres, the colours are blended by where it passes. Visibility thereby gets
// gradients with respect to vertex positions.
//   alpha = s (1/2 - d),  d: distance of the edge from the nearer triangle's pixel, along the line to the other pixel
// The host copies images row by row, and blends the few pairs that it finds in a row while that is in the cache. On a
// GPU the image has been copied, antialias_find lists candidate pairs, and each of these has a thread of the kernels.
// Source: Laine et al. 2020, section 3.5.
#include "common/pixel_pairs.cuh"
#ifdef GLR_WARP_SIZE
#include "common/pair_lists.cuh"
#else
#include "common/pair_rows.cuh"
#endif

template <class T>
struct AntialiasParams {
  const T* color;             // [N, H, W, C]
  const T* rast;              // [N, H, W, 4]
  const T* pos;               // [N or 1, V, 4] clip space
  const int32_t* tri;         // [T, 3]
  const int32_t* neighbours;  // [T, 3], see common/neighbours.cuh; made by topology.cu
  T* out;                     // [N, H, W, C]; on a GPU a copy of color
  const T* grad_out;          // [N, H, W, C]
  T* grad_color;              // [N, H, W, C], on a GPU a copy of grad_out; null if not wanted
  double* grad_pos;           // [N or 1, V, 4], zeroed; null if not wanted
  const T* tangent_color;     // [N, H, W, C], null if none
  const T* tangent_pos;       // [N or 1, V, 4], null if none
  T* tangent_out;             // [N, H, W, C]; on a GPU a copy of tangent_color, or zeros
  int64_t* pairs;             // [2 N H W] GPU: candidates, in any order
  uint64_t* num_pairs;        // [1] GPU: how many, zeroed
  int64_t N, H, W, C, V, num_triangles;
  int64_t pos_stride;                           // elements from one image's positions to the next; 0: shared
  int64_t width_reciprocal, height_reciprocal;  // of W and H
  double pos_gradient_boost;                    // factor of d alpha / d pos
};

// What a pair adds to one of its pixels.
template <class T>
GLR_FUNC void blend_fwd(const AntialiasParams<T>& p, const PixelPair<T>& pair, const PairBlend<T>& blend, bool is_p0) {
  if ((blend.alpha > 0) != is_p0) return;
  const T *c0 = p.color + pair.p0 * p.C, *c1 = p.color + pair.p1 * p.C;
  T* out = p.out + (is_p0 ? pair.p0 : pair.p1) * p.C;
  for (int64_t c = 0; c < p.C; ++c) out[c] += blend.alpha * (c1[c] - c0[c]);
}

// d out / d color.
template <class T>
GLR_FUNC void blend_bwd(const AntialiasParams<T>& p, const PixelPair<T>& pair, const PairBlend<T>& blend, bool is_p0) {
  const T* g = p.grad_out + (blend.alpha > 0 ? pair.p0 : pair.p1) * p.C;
  T* grad_color = p.grad_color + (is_p0 ? pair.p0 : pair.p1) * p.C;
  const T sign = is_p0 ? -blend.alpha : blend.alpha;
  for (int64_t c = 0; c < p.C; ++c) grad_color[c] += sign * g[c];
}

// d out / d pos.
template <class T>
GLR_FUNC void blend_position_bwd(const AntialiasParams<T>& p, const PixelPair<T>& pair, const PairBlend<T>& blend) {
  if (fabs(blend.alpha) >= T(0.5)) return;
  const T* g = p.grad_out + (blend.alpha > 0 ? pair.p0 : pair.p1) * p.C;
  T weight = 0;
  for (int64_t c = 0; c < p.C; ++c) weight += g[c] * (p.color[pair.p1 * p.C + c] - p.color[pair.p0 * p.C + c]);
  if (weight == 0) return;
  PairVertex<T> grad[2];  // of x, y, w
  edge_position_bwd(p, pair, blend, weight * T(p.pos_gradient_boost), grad);
  const int32_t index[2] = {blend.a, blend.b};
  for (int k = 0; k < 2; ++k) {
    double* target = p.grad_pos + pair.image * p.pos_stride + int64_t(index[k]) * 4;
    atomic_add(target, double(grad[k].along));
    atomic_add(target + 1, double(grad[k].across));
    atomic_add(target + 3, double(grad[k].w));
  }
}

// d alpha along the tangent of pos: its gradient is that of two vertices, times their tangents.
template <class T>
GLR_FUNC T alpha_jvp(const AntialiasParams<T>& p, const PixelPair<T>& pair, const PairBlend<T>& blend) {
  if (!p.tangent_pos || fabs(blend.alpha) >= T(0.5)) return T(0);
  PairVertex<T> grad[2];  // of x, y, w
  edge_position_bwd(p, pair, blend, T(p.pos_gradient_boost), grad);
  const int32_t index[2] = {blend.a, blend.b};
  T sum = T(0);
  for (int k = 0; k < 2; ++k) {
    const T* tangent = p.tangent_pos + pair.image * p.pos_stride + int64_t(index[k]) * 4;
    sum += grad[k].along * tangent[0] + grad[k].across * tangent[1] + grad[k].w * tangent[3];
  }
  return sum;
}

// d out along the tangents of color and pos.
template <class T>
GLR_FUNC void blend_jvp(const AntialiasParams<T>& p, const PixelPair<T>& pair, const PairBlend<T>& blend, bool is_p0) {
  if ((blend.alpha > 0) != is_p0) return;
  const T tangent_alpha = alpha_jvp(p, pair, blend);
  const int64_t p0 = pair.p0 * p.C, p1 = pair.p1 * p.C;
  T* out = p.tangent_out + (is_p0 ? p0 : p1);
  for (int64_t c = 0; c < p.C; ++c) {
    out[c] += tangent_alpha * (p.color[p1 + c] - p.color[p0 + c]);
    if (p.tangent_color) out[c] += blend.alpha * (p.tangent_color[p1 + c] - p.tangent_color[p0 + c]);
  }
}

#ifdef GLR_WARP_SIZE

template <class T>
GLR_KERNEL antialias_find(const AntialiasParams<T>& p) {
  list_pairs(p, [&](const PixelWalk& pixel, bool vertical) {
    const T* id = p.rast + pixel.index * 4 + 3;
    return id[vertical ? 4 * p.W : 4] != id[0];
  });
}
GLR_EXPORT(antialias_find, AntialiasParams)

struct ModifiedPixel {
  template <class T>
  GLR_MEMBER bool operator()(const PairBlend<T>& blend, bool is_p0) const {
    return (blend.alpha > 0) == is_p0;
  }
};

template <class T>
GLR_KERNEL antialias_fwd(const AntialiasParams<T>& p) {
  for_each_listed_blend<T>(p, [&](const ListedPair& place, const PixelPair<T>& own, const PairBlend<T>& own_blend) {
    for_each_blend(p, own_blend.alpha > 0, place, own, ModifiedPixel{},
                   [&](const PixelPair<T>& pair, const PairBlend<T>& blend, bool is_p0, bool) {
                     blend_fwd(p, pair, blend, is_p0);
                   });
  });
}

// What is written does not depend on what was there: deterministic sums take two passes.
template <class T>
GLR_KERNEL antialias_bwd(const AntialiasParams<T>& p) {
  const auto any = [](const PairBlend<T>&, bool) { return true; };
  for_each_listed_blend<T>(p, [&](const ListedPair& place, const PixelPair<T>& own, const PairBlend<T>& own_blend) {
    if (p.grad_pos) blend_position_bwd(p, own, own_blend);
    for (int k = 0; p.grad_color && k < 2; ++k) {
      const int64_t pixel = k == 0 ? own.p0 : own.p1;
      for_each_blend(p, k == 0, place, own, any,
                     [&](const PixelPair<T>& pair, const PairBlend<T>& blend, bool is_p0, bool is_first) {
                       for (int64_t c = pixel * p.C; is_first && c < (pixel + 1) * p.C; ++c)
                         p.grad_color[c] = p.grad_out[c];
                       blend_bwd(p, pair, blend, is_p0);
                     });
    }
  });
}

template <class T>
GLR_KERNEL antialias_jvp(const AntialiasParams<T>& p) {
  for_each_listed_blend<T>(p, [&](const ListedPair& place, const PixelPair<T>& own, const PairBlend<T>& own_blend) {
    for_each_blend(p, own_blend.alpha > 0, place, own, ModifiedPixel{},
                   [&](const PixelPair<T>& pair, const PairBlend<T>& blend, bool is_p0, bool) {
                     blend_jvp(p, pair, blend, is_p0);
                   });
  });
}

#else

template <class T>
GLR_KERNEL antialias_fwd(const AntialiasParams<T>& p) {
  const int64_t size = p.W * p.C;
  for_each_row<T>(p, [&](int64_t row, const RowBlends<T>& blends) {
    std::copy_n(p.color + row * size, size, p.out + row * size);
    blends.for_each(
        [&](const PixelPair<T>& pair, const PairBlend<T>& blend, bool is_p0) { blend_fwd(p, pair, blend, is_p0); });
  });
}

template <class T>
GLR_KERNEL antialias_bwd(const AntialiasParams<T>& p) {
  const int64_t size = p.W * p.C;
  for_each_row<T>(p, [&](int64_t row, const RowBlends<T>& blends) {
    if (p.grad_color) std::copy_n(p.grad_out + row * size, size, p.grad_color + row * size);
    blends.for_each([&](const PixelPair<T>& pair, const PairBlend<T>& blend, bool is_p0) {
      if (p.grad_color) blend_bwd(p, pair, blend, is_p0);
      if (p.grad_pos && is_p0) blend_position_bwd(p, pair, blend);
    });
  });
}

template <class T>
GLR_KERNEL antialias_jvp(const AntialiasParams<T>& p) {
  const int64_t size = p.W * p.C;
  for_each_row<T>(p, [&](int64_t row, const RowBlends<T>& blends) {
    if (p.tangent_color)
      std::copy_n(p.tangent_color + row * size, size, p.tangent_out + row * size);
    else
      std::fill_n(p.tangent_out + row * size, size, T(0));
    blends.for_each(
        [&](const PixelPair<T>& pair, const PairBlend<T>& blend, bool is_p0) { blend_jvp(p, pair, blend, is_p0); });
  });
}

#endif

GLR_EXPORT(antialias_fwd, AntialiasParams)
GLR_EXPORT(antialias_bwd, AntialiasParams)
GLR_EXPORT(antialias_jvp, AntialiasParams)
