// Which texels a point of a texture reads, with which weights.
#pragma once

#include "texture_point.cuh"

// The two texels around a point along one axis; outside the texture -1, which reads zero.
template <class T>
struct AxisTexels {
  int32_t i0, i1;
  T weight1;  // of i1; i0 has 1 - weight1
  T slope;    // d weight1 / d coordinate
};

// Coordinates are finite; sides are at most 2^24, up to which float32 counts exactly. Without branches: vectorizable.
template <Boundary B, class T>
GLR_FUNC AxisTexels<T> axis_texels(T coordinate, int32_t size) {
  const T scale = T(size), half = T(0.5);
  if (B == WRAP) {
    const T c = (coordinate - floor(coordinate)) * scale - half, base = floor(c);
    const int32_t i = min(int32_t(base), size - 1);
    return {i < 0 ? size - 1 : i, i + 1 < size ? i + 1 : 0, c - base, scale};
  }
  if (B == CLAMP) {
    const T last = T(size - 1), c = coordinate * scale - half;
    const T inside = clamp(c, T(0), last);
    const int32_t i = int32_t(inside);
    return {i, min(i + 1, size - 1), inside - T(i), scale * T((c > T(0)) & (c < last))};
  }
  const T c = clamp(coordinate * scale - half, T(-2), scale + T(1)), base = floor(c);
  const int32_t i = int32_t(base);
  if (B == CUBE) return {i, i + 1, c - base, scale};  // from -1 to size: up to one texel beyond the face
  return {(i >= 0) & (i < size) ? i : -1, (i + 1 >= 0) & (i + 1 < size) ? i + 1 : -1, c - base, scale};
}

// The texel that holds a point along one axis; -1 reads zero.
template <Boundary B, class T>
GLR_FUNC int32_t axis_nearest(T coordinate, int32_t size) {
  const T u = B == WRAP ? coordinate - floor(coordinate) : coordinate;
  const T i = floor(u * T(size)), inside = clamp(i, T(0), T(size - 1));
  return B == ZERO && i != inside ? -1 : int32_t(inside);
}

// Counts the texels of a level.
#ifdef TEXEL_INDEX  // on a GPU, where that is int32_t for all but the largest textures
using TexelIndex = TEXEL_INDEX;
#else
using TexelIndex = int64_t;
#endif

// The four texels around a point and their weights: 0 and 1 lie below, 2 and 3 above, 1 and 3 to the right.
template <class T>
struct Footprint {
  TexelIndex texel[4];  // of the level; -1: reads zero (boundary mode 'zero' alone)
  T weight[4];
  int32_t missing;  // cube maps: the texel that is not there, at a corner of the cube; else -1
};

// Whether a cube map's footprint reaches beyond the edges of its face.
template <class T>
GLR_FUNC bool crosses_edge(const AxisTexels<T>& x, const AxisTexels<T>& y, int32_t size) {
  return (min(x.i0, y.i0) < 0) | (max(x.i1, y.i1) >= size);
}

// Gives such a footprint the neighbouring faces' texels. At a corner of the cube three faces meet and the fourth texel
// is missing: it is the mean of the others, which take over its weight.
template <class T>
GLR_FUNC void cross_cube_edge(int32_t face, const AxisTexels<T>& x, const AxisTexels<T>& y, int32_t size,
                              Footprint<T>* f) {
  for (int i = 0; i < 4; ++i) {
    const int32_t tx = i & 1 ? x.i1 : x.i0, ty = i & 2 ? y.i1 : y.i0;
    if ((tx < 0 || tx >= size) && (ty < 0 || ty >= size))
      f->missing = i;
    else
      f->texel[i] = TexelIndex(cube_texel(face, tx, ty, size));
  }
  if (f->missing < 0) return;
  const T third = f->weight[f->missing] / T(3);
  for (int i = 0; i < 4; ++i) f->weight[i] = i == f->missing ? T(0) : f->weight[i] + third;
  f->texel[f->missing] = f->texel[f->missing ^ 1];
}

template <Boundary B, class T>
GLR_FUNC TexelIndex nearest_texel(T s, T t, int32_t face, int32_t w, int32_t h) {
  const int32_t x = axis_nearest<B>(s, w), y = axis_nearest<B>(t, h);
  if (face < 0 || (B == ZERO && (x < 0 || y < 0))) return -1;
  return ((B == CUBE ? TexelIndex(face) * h : 0) + y) * w + x;
}
