// The corners of a triangle, in double precision.
#pragma once

#include "triangle_id.cuh"

// V: double, or several of them.
template <class V>
struct CornersOf {
  V x[3], y[3], z[3], w[3];
};

using Corners = CornersOf<double>;

template <class T>
GLR_FUNC Corners load_corners(const T* pos, const VertexIndices& v) {
  const Vec4<T> v0 = load4(pos + int64_t(v.v0) * 4), v1 = load4(pos + int64_t(v.v1) * 4);
  const Vec4<T> v2 = load4(pos + int64_t(v.v2) * 4);
  return {{v0.x, v1.x, v2.x}, {v0.y, v1.y, v2.y}, {v0.z, v1.z, v2.z}, {v0.w, v1.w, v2.w}};
}
