// Lookups in volume textures: the nearest texel, or linear interpolation between the eight around a point.
//   out = sum_i a_i b_i c_i texel_i,   a, b, c = (1 - f, f) along each axis, f from one texel centre to the next
// Source: the OpenGL specification, "Texture Minification" (three-dimensional NEAREST and LINEAR); the chain rule.
#include "common/channels.cuh"
#include "common/pixel_spans.cuh"
#include "common/texel.cuh"

template <class T>
struct Texture3dParams {
  const T* tex;          // [M, D, h, w, C], M = N or 1
  const T* uvw;          // [N, H, W, 3]
  T* out;                // [N, H, W, C]
  const T* grad_out;     // [N, H, W, C]
  void* grad_tex;        // [copies, M, D, h, w, C] of T or double, zeroed; null if not wanted
  T* grad_uvw;           // [N, H, W, 3]; null if not wanted
  const T* tangent_tex;  // [M, D, h, w, C]; null if none
  const T* tangent_uvw;  // [N, H, W, 3]; null if none
  T* tangent_out;        // [N, H, W, C]
  int64_t N, H, W, M, D, h, w, C;
  int64_t image_reciprocal;  // of H W
  int64_t boundary;          // a Boundary, but for CUBE
  int64_t linear;            // whether to interpolate
  int64_t copies;            // of the texture's gradient: one, or one per thread
  int64_t shared_gradient;   // whether several threads add to one copy
  int64_t double_gradient;   // whether it is summed in double
};

enum Filter { NEAREST, LINEAR };

// The texels that a point reads: its nearest as corner 0, or the corners 0..7 around it, x first.
template <class T>
struct Cell {
  AxisTexels<T> x, y, z;
  bool is_finite;  // else nothing is read
};

template <Filter F, Boundary B, class T>
GLR_FUNC AxisTexels<T> axis_of_cell(T coordinate, int64_t size) {
  if (F == LINEAR) return axis_texels<B>(coordinate, int32_t(size));
  const int32_t i = axis_nearest<B>(coordinate, int32_t(size));
  return {i, i, T(0), T(0)};
}

// The texel at a corner, counted from the first of the image's texture; -1 reads zero (boundary mode 'zero' alone).
template <Boundary B, class T>
GLR_FUNC int64_t texel_at(const Texture3dParams<T>& p, const Cell<T>& cell, int corner) {
  const int32_t x = corner & 1 ? cell.x.i1 : cell.x.i0;
  const int32_t y = corner & 2 ? cell.y.i1 : cell.y.i0;
  const int32_t z = corner & 4 ? cell.z.i1 : cell.z.i0;
  if (B == ZERO && (x < 0 || y < 0 || z < 0)) return -1;
  return (z * p.h + y) * p.w + x;
}

// Where an image's texture begins, in elements.
template <class T>
GLR_FUNC int64_t texture_offset(const Texture3dParams<T>& p, int64_t image) {
  return p.M > 1 ? image * p.D * p.h * p.w * p.C : 0;
}

// Where this thread's copy of the textures' gradient begins, in elements.
template <class T>
GLR_FUNC int64_t copy_offset(const Texture3dParams<T>& p) {
  return p.copies > 1 ? thread_index() * p.M * p.D * p.h * p.w * p.C : 0;
}

// Finds the cells of a span's points; prefetches their texels.
template <Filter F, Boundary B, class T>
GLR_FUNC void find_cells(const Texture3dParams<T>& p, const PixelSpan& span, Cell<T>* cells) {
  for (int32_t j = 0; j < span.count; ++j) {
    const T *uvw = p.uvw + (span.first + j) * 3, u = uvw[0], v = uvw[1], w = uvw[2];
    cells[j].is_finite = isfinite(u) && isfinite(v) && isfinite(w);
    if (!cells[j].is_finite) continue;
    cells[j].x = axis_of_cell<F, B>(u, p.w);
    cells[j].y = axis_of_cell<F, B>(v, p.h);
    cells[j].z = axis_of_cell<F, B>(w, p.D);
    for (int corner = 0; corner < (F == LINEAR ? 8 : 1); corner += 2) {
      const int64_t i = texture_offset(p, span.image) + max(texel_at<B>(p, cells[j], corner), int64_t(0)) * p.C;
      prefetch<false>(p.tex + i);
      if (p.grad_tex && !p.double_gradient) prefetch<true>(static_cast<T*>(p.grad_tex) + copy_offset(p) + i);
    }
  }
}

template <class T>
GLR_FUNC T axis_weight(const AxisTexels<T>& axis, int upper) {
  return upper ? axis.weight1 : T(1) - axis.weight1;
}

template <class T>
GLR_FUNC T corner_weight(const Cell<T>& cell, int corner) {
  return axis_weight(cell.x, corner & 1) * axis_weight(cell.y, corner & 2) * axis_weight(cell.z, corner & 4);
}

// d axis_weight / d coordinate.
template <class T>
GLR_FUNC T axis_weight_bwd(const AxisTexels<T>& axis, int upper) {
  return upper ? axis.slope : -axis.slope;
}

// d corner_weight / d uvw, times grad and added to grad_uvw.
template <class T>
GLR_FUNC void corner_weight_bwd(const Cell<T>& cell, int corner, T grad, T grad_uvw[3]) {
  const T a = axis_weight(cell.x, corner & 1), b = axis_weight(cell.y, corner & 2), c = axis_weight(cell.z, corner & 4);
  grad_uvw[0] += grad * axis_weight_bwd(cell.x, corner & 1) * (b * c);
  grad_uvw[1] += grad * axis_weight_bwd(cell.y, corner & 2) * (a * c);
  grad_uvw[2] += grad * axis_weight_bwd(cell.z, corner & 4) * (a * b);
}

// One pixel, out[C]. With K > 0, C is known to the compiler.
template <Filter F, Boundary B, int K, class T>
GLR_FUNC void texture3d_pixel(const Texture3dParams<T>& p, const Cell<T>& cell, int64_t image, T* out) {
  const int64_t C = K > 0 ? K : p.C;
  for (int64_t c = 0; c < C; ++c) out[c] = T(0);
  if (!cell.is_finite) return;
  const T* texels = p.tex + texture_offset(p, image);
  GLR_UNROLL(8)
  for (int corner = 0; corner < (F == LINEAR ? 8 : 1); ++corner) {
    const int64_t texel = texel_at<B>(p, cell, corner);
    if (texel < 0) continue;
    const T weight = corner_weight(cell, corner);
    for (int64_t c = 0; c < C; ++c) out[c] += weight * texels[texel * C + c];
  }
}

// d corner_weight along a tangent of the coordinates, which has been multiplied by the axes' slopes.
template <class T>
GLR_FUNC T corner_weight_jvp(const Cell<T>& cell, int corner, const Vec4<T>& tangent) {
  const T a = axis_weight(cell.x, corner & 1), b = axis_weight(cell.y, corner & 2), c = axis_weight(cell.z, corner & 4);
  const T da = corner & 1 ? tangent.x : -tangent.x, db = corner & 2 ? tangent.y : -tangent.y;
  const T dc = corner & 4 ? tangent.z : -tangent.z;
  return da * (b * c) + db * (a * c) + dc * (a * b);
}

// d out along the tangents of (tex, uvw), tangent_out[C].
template <Filter F, Boundary B, int K, class T>
GLR_FUNC void texture3d_pixel_jvp(const Texture3dParams<T>& p, const Cell<T>& cell, int64_t image, int64_t pixel,
                                  T* tangent_out) {
  const int64_t C = K > 0 ? K : p.C, offset = texture_offset(p, image);
  for (int64_t c = 0; c < C; ++c) tangent_out[c] = T(0);
  if (!cell.is_finite) return;
  const bool moves = F == LINEAR && p.tangent_uvw;
  Vec4<T> along = {0, 0, 0, 0};
  if (moves) {
    const T* tangent = p.tangent_uvw + pixel * 3;
    along = {cell.x.slope * tangent[0], cell.y.slope * tangent[1], cell.z.slope * tangent[2], T(0)};
  }
  GLR_UNROLL(8)
  for (int corner = 0; corner < (F == LINEAR ? 8 : 1); ++corner) {
    const int64_t texel = texel_at<B>(p, cell, corner);
    if (texel < 0) continue;
    if (p.tangent_tex) {
      const T weight = corner_weight(cell, corner);
      const T* texels = p.tangent_tex + offset + texel * C;
      for (int64_t c = 0; c < C; ++c) tangent_out[c] += weight * texels[c];
    }
    if (moves) {
      const T weight = corner_weight_jvp(cell, corner, along);
      const T* texels = p.tex + offset + texel * C;
      for (int64_t c = 0; c < C; ++c) tangent_out[c] += weight * texels[c];
    }
  }
}

template <int K, class S, class T>
GLR_FUNC void add_to_texel(const Texture3dParams<T>& p, S* texel, T weight, const T* grad) {
  const int64_t C = K > 0 ? K : p.C;
  if (p.shared_gradient)
    for (int64_t c = 0; c < C; ++c) atomic_add(&texel[c], S(weight * grad[c]));
  else
    for (int64_t c = 0; c < C; ++c) texel[c] += weight * grad[c];
}

// d out / d (tex, uvw): added to grad_tex, and to grad_uvw[3].
template <Filter F, Boundary B, int K, class T>
GLR_FUNC void texture3d_pixel_bwd(const Texture3dParams<T>& p, const Cell<T>& cell, int64_t image, const T* grad_out,
                                  T grad_uvw[3]) {
  const int64_t C = K > 0 ? K : p.C;
  bool any = false;
  for (int64_t c = 0; c < C; ++c) any = any || grad_out[c] != T(0);
  if (!any || !cell.is_finite) return;
  const int64_t offset = texture_offset(p, image), copy = copy_offset(p);
  GLR_UNROLL(8)
  for (int corner = 0; corner < (F == LINEAR ? 8 : 1); ++corner) {
    const int64_t texel = texel_at<B>(p, cell, corner);
    if (texel < 0) continue;
    const int64_t i = offset + texel * C;
    if (p.grad_tex && p.double_gradient)
      add_to_texel<K>(p, static_cast<double*>(p.grad_tex) + copy + i, corner_weight(cell, corner), grad_out);
    else if (p.grad_tex)
      add_to_texel<K>(p, static_cast<T*>(p.grad_tex) + copy + i, corner_weight(cell, corner), grad_out);
    if (F == NEAREST || !p.grad_uvw) continue;
    T dot = T(0);
    for (int64_t c = 0; c < C; ++c) dot += grad_out[c] * p.tex[i + c];
    corner_weight_bwd(cell, corner, dot, grad_uvw);
  }
}

// The loops over all pixels, by what is known before they begin.
struct Forward {
  template <Filter F, Boundary B, int K, class T>
  static GLR_MEMBER void run(const Texture3dParams<T>& p) {
    GLR_FOR_EACH_SPAN(span, p) {
      Cell<T> cells[kSpan];
      find_cells<F, B>(p, span, cells);
      for (int32_t j = 0; j < span.count; ++j) {
        T sum[K > 0 ? K : 1];  // in registers
        T* out = p.out + (span.first + j) * p.C;
        texture3d_pixel<F, B, K>(p, cells[j], span.image, K > 0 ? sum : out);
        for (int c = 0; c < K; ++c) out[c] = sum[c];
      }
    }
  }
};

struct Jvp {
  template <Filter F, Boundary B, int K, class T>
  static GLR_MEMBER void run(const Texture3dParams<T>& p) {
    GLR_FOR_EACH_SPAN(span, p) {
      Cell<T> cells[kSpan];
      find_cells<F, B>(p, span, cells);
      for (int32_t j = 0; j < span.count; ++j) {
        const int64_t pixel = span.first + j;
        T sum[K > 0 ? K : 1];  // in registers
        T* out = p.tangent_out + pixel * p.C;
        texture3d_pixel_jvp<F, B, K>(p, cells[j], span.image, pixel, K > 0 ? sum : out);
        for (int c = 0; c < K; ++c) out[c] = sum[c];
      }
    }
  }
};

struct Backward {
  template <Filter F, Boundary B, int K, class T>
  static GLR_MEMBER void run(const Texture3dParams<T>& p) {
    GLR_FOR_EACH_SPAN(span, p) {
      Cell<T> cells[kSpan];
      find_cells<F, B>(p, span, cells);
      for (int32_t j = 0; j < span.count; ++j) {
        const int64_t pixel = span.first + j;
        const T* grad_out = p.grad_out + pixel * p.C;
        T local[K > 0 ? K : 1], grad_uvw[3] = {T(0), T(0), T(0)};
        for (int c = 0; c < K; ++c) local[c] = grad_out[c];
        texture3d_pixel_bwd<F, B, K>(p, cells[j], span.image, K > 0 ? local : grad_out, grad_uvw);
        for (int d = 0; p.grad_uvw && d < 3; ++d) p.grad_uvw[pixel * 3 + d] = grad_uvw[d];
      }
    }
  }
};

template <class Pass, Filter F, Boundary B, class T>
GLR_FUNC void run_with_channels(const Texture3dParams<T>& p) {
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
GLR_FUNC void run_with_boundary(const Texture3dParams<T>& p) {
#ifdef TEXTURE_BOUNDARY
  return run_with_channels<Pass, F, TEXTURE_BOUNDARY>(p);
#else
  switch (p.boundary) {
    case WRAP:
      return run_with_channels<Pass, F, WRAP>(p);
    case CLAMP:
      return run_with_channels<Pass, F, CLAMP>(p);
    default:
      return run_with_channels<Pass, F, ZERO>(p);
  }
#endif
}

template <class Pass, class T>
GLR_FUNC void run_with_filter(const Texture3dParams<T>& p) {
  return p.linear ? run_with_boundary<Pass, LINEAR>(p) : run_with_boundary<Pass, NEAREST>(p);
}

template <class T>
GLR_KERNEL texture3d_fwd(const Texture3dParams<T>& p) {
  run_with_filter<Forward>(p);
}
GLR_EXPORT(texture3d_fwd, Texture3dParams)

template <class T>
GLR_KERNEL texture3d_jvp(const Texture3dParams<T>& p) {
  run_with_filter<Jvp>(p);
}
GLR_EXPORT(texture3d_jvp, Texture3dParams)

template <class T>
GLR_KERNEL texture3d_bwd(const Texture3dParams<T>& p) {
  run_with_filter<Backward>(p);
}
GLR_EXPORT(texture3d_bwd, Texture3dParams)
