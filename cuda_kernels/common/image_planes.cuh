// Triangles of an image as planes at its pixels, for kernels whose parameters have pos [N or 1, V, 4], pos_stride, tri
// [T, 3], num_triangles, V, H and W (and rast [N, H, W, 4]).
#pragma once

#include "screen_plane.cuh"
#include "triangle_id.cuh"

template <class Params>
GLR_FUNC double pixel_size(const Params& p, int axis) {
  return 2. / double(int32_t(axis ? p.H : p.W));
}

// The centre of pixel i along an axis.
template <class Params>
GLR_FUNC double sample_at(const Params& p, int axis, int32_t i) {
  const int32_t size = int32_t(axis ? p.H : p.W);
  return double(int32_t(2 * uint32_t(i) + 1 - uint32_t(size))) / double(size);  // 2 i alone may be 2^31
}

// The triangle that a pixel sees; -1 if none, or one that does not exist.
template <class Params>
GLR_FUNC int32_t triangle_at(const Params& p, int64_t pixel) {
  const int32_t triangle = decode_triangle(p.rast[pixel * 4 + 3]);
  VertexIndices v;
  return load_triangle(p.tri, p.num_triangles, p.V, triangle, &v) ? triangle : -1;
}

// A vertex relative to (fx, fy).
template <class Params>
GLR_FUNC Vec4<double> corner_at(const Params& p, int64_t image, int32_t vertex, double fx, double fy) {
  const auto v = load4(p.pos + image * p.pos_stride + int64_t(vertex) * 4);
  return {double(v.x) - fx * double(v.w), double(v.y) - fy * double(v.w), double(v.z), double(v.w)};
}

// The plane of a triangle at (fx, fy); false if it is seen edge-on.
template <class Params>
GLR_FUNC bool plane_at(const Params& p, int64_t image, int32_t triangle, double fx, double fy, ScreenPlane* plane) {
  for (int k = 0; k < 3; ++k) plane->corner[k] = corner_at(p, image, p.tri[int64_t(triangle) * 3 + k], fx, fy);
  return set_plane(pixel_size(p, 0), pixel_size(p, 1), plane);
}
