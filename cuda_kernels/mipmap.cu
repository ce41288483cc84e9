// One mip level from a finer one: every texel is the mean of the finer level over the area that it covers. Along each
// axis, with r = (size of the finer level) / size,
//   out_i = sum_j |[i r, (i + 1) r] n [j, j + 1]| / r * in_j
// Where the sides are halved that is the mean of 2 x 2 texels. Source: box filtering.
#include "common/pixel_walk.cuh"
#include "common/portability.cuh"

template <class T>
struct MipmapParams {
  const T* fine;         // [M, h_fine, w_fine, C]; M counts textures times faces
  T* coarse;             // [M, h, w, C]
  const T* grad_coarse;  // [M, h, w, C]
  T* grad_fine;          // [M, h_fine, w_fine, C], added to
  int64_t M, h, w, h_fine, w_fine, C;
  int64_t halved;  // whether each side is halved, or 1 on both levels
};

// The cells of the other size that a cell meets along an axis.
struct CellRange {
  int64_t begin, end;
};

GLR_FUNC CellRange cells_met(int64_t cell, int64_t size, int64_t other_size) {
  return {cell * other_size / size, ((cell + 1) * other_size + size - 1) / size};
}

// Weight of fine cell j in coarse cell i, from integers: in units of 1 / (both sizes) all borders are integers.
template <class T>
GLR_FUNC T overlap(int64_t i, int64_t size, int64_t j, int64_t fine_size) {
  const int64_t begin = max(i * fine_size, j * size), end = min((i + 1) * fine_size, (j + 1) * size);
  return T(end - begin) / T(fine_size);
}

template <class T>
GLR_FUNC void reduce_texel(const MipmapParams<T>& p, int64_t row, int64_t x) {
  T* out = p.coarse + (row * p.w + x) * p.C;
  for (int64_t c = 0; c < p.C; ++c) out[c] = T(0);
  const int64_t m = row / p.h, y = row % p.h;
  const CellRange rows = cells_met(y, p.h, p.h_fine), columns = cells_met(x, p.w, p.w_fine);
  for (int64_t fy = rows.begin; fy < rows.end; ++fy) {
    for (int64_t fx = columns.begin; fx < columns.end; ++fx) {
      const T weight = overlap<T>(y, p.h, fy, p.h_fine) * overlap<T>(x, p.w, fx, p.w_fine);
      const T* in = p.fine + ((m * p.h_fine + fy) * p.w_fine + fx) * p.C;
      for (int64_t c = 0; c < p.C; ++c) out[c] += weight * in[c];
    }
  }
}

// d out / d in: gathered by the finer texel from the coarse ones that it lies in.
template <class T>
GLR_FUNC void reduce_texel_bwd(const MipmapParams<T>& p, int64_t fine_row, int64_t fx) {
  T* grad = p.grad_fine + (fine_row * p.w_fine + fx) * p.C;
  const int64_t m = fine_row / p.h_fine, fy = fine_row % p.h_fine;
  const CellRange rows = cells_met(fy, p.h_fine, p.h), columns = cells_met(fx, p.w_fine, p.w);
  for (int64_t y = rows.begin; y < rows.end; ++y) {
    for (int64_t x = columns.begin; x < columns.end; ++x) {
      const T weight = overlap<T>(y, p.h, fy, p.h_fine) * overlap<T>(x, p.w, fx, p.w_fine);
      const T* grad_out = p.grad_coarse + ((m * p.h + y) * p.w + x) * p.C;
      for (int64_t c = 0; c < p.C; ++c) grad[c] += weight * grad_out[c];
    }
  }
}

// The common case, halving: a side of 1 counts its only texel twice. With K > 0, C is known to the compiler.
template <int K, class T>
GLR_FUNC void halve_texel(const MipmapParams<T>& p, int64_t row, int64_t x) {
  const int64_t C = K > 0 ? K : p.C;
  const int64_t fine_row = p.h_fine > 1 ? 2 * row : row, fx = p.w_fine > 1 ? 2 * x : x;
  const int64_t right = p.w_fine > 1 ? C : 0, up = p.h_fine > 1 ? p.w_fine * C : 0;
  const T* in = p.fine + (fine_row * p.w_fine + fx) * C;
  T mean[K > 0 ? K : 1];
  T* out = K > 0 ? mean : p.coarse + (row * p.w + x) * C;
  for (int64_t c = 0; c < C; ++c) out[c] = T(0.25) * ((in[c] + in[c + right]) + (in[c + up] + in[c + up + right]));
  for (int c = 0; c < K; ++c) p.coarse[(row * p.w + x) * K + c] = mean[c];
}

template <class T>
GLR_FUNC void halve_texel_bwd(const MipmapParams<T>& p, int64_t fine_row, int64_t fx) {
  const int64_t row = p.h_fine > 1 ? fine_row / 2 : fine_row, x = p.w_fine > 1 ? fx / 2 : fx;
  const T weight = (p.h_fine > 1 ? T(0.5) : T(1)) * (p.w_fine > 1 ? T(0.5) : T(1));
  const T* grad_out = p.grad_coarse + (row * p.w + x) * p.C;
  T* grad = p.grad_fine + (fine_row * p.w_fine + fx) * p.C;
  for (int64_t c = 0; c < p.C; ++c) grad[c] += weight * grad_out[c];
}

template <class T>
GLR_KERNEL mipmap_fwd(const MipmapParams<T>& p) {
  GLR_FOR_EACH_PIXEL(row, x, p.M * p.h, p.w) {
    if (!p.halved)
      reduce_texel(p, row, x);
    else if (p.C == 3)
      halve_texel<3>(p, row, x);
    else if (p.C == 4)
      halve_texel<4>(p, row, x);
    else
      halve_texel<0>(p, row, x);
  }
}
GLR_EXPORT(mipmap_fwd, MipmapParams)

template <class T>
GLR_KERNEL mipmap_bwd(const MipmapParams<T>& p) {
  GLR_FOR_EACH_PIXEL(row, x, p.M * p.h_fine, p.w_fine) {
    if (p.halved)
      halve_texel_bwd(p, row, x);
    else
      reduce_texel_bwd(p, row, x);
  }
}
GLR_EXPORT(mipmap_bwd, MipmapParams)
