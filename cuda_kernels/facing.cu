// Which triangles draw nothing: the same decision for every way to rasterize.
#include "common/facing.cuh"

#include "common/triangle_id.cuh"

template <class T>
struct FacingParams {
  const T* pos;        // [N, V, 4] clip space
  const int32_t* tri;  // [T, 3]
  int32_t* unseen;     // [N, T] 0: may be seen, 1: edge-on to rounding, 2: no area, 3: broken
  int64_t N, V, num_triangles;
};

template <class T>
GLR_FUNC int32_t unseen_because(const T* pos, const VertexIndices& v) {
  const int64_t index[3] = {v.v0, v.v1, v.v2};
  double x[3], y[3], z[3], w[3];
  bool finite = true;
  for (int i = 0; i < 3; ++i) {
    const Vec4<T> corner = load4(pos + index[i] * 4);
    x[i] = corner.x, y[i] = corner.y, z[i] = corner.z, w[i] = corner.w;
    finite &= isfinite(x[i]) && isfinite(y[i]) && isfinite(z[i]) && isfinite(w[i]);
  }
  if (!finite) return 3;
  const Facing facing = facing_of<T>(x, y, z, w);
  return facing == Facing::kNoArea ? 2 : facing == Facing::kEdgeOn ? 1 : 0;
}

template <class T>
GLR_KERNEL facing_find(const FacingParams<T>& p) {
  GLR_FOR_EACH(i, p.N * p.num_triangles) {
    const int64_t image = i / p.num_triangles;
    VertexIndices v;
    const bool exists = load_triangle(p.tri, p.num_triangles, p.V, int32_t(i - image * p.num_triangles), &v);
    p.unseen[i] = exists ? unseen_because(p.pos + image * p.V * 4, v) : 3;
  }
}
GLR_EXPORT(facing_find, FacingParams)
