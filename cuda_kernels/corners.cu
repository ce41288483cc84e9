// Puts the vertices of every triangle into an order that depends on where they are and not on how they are listed.
// OpenGL computes depths in float32, and rounds them differently for every order of the same three vertices.
#include "common/portability.cuh"
#include "common/triangle_id.cuh"

template <class T>
struct CornersParams {
  const T* pos;        // [V, 4] clip space, of one image
  const int32_t* tri;  // [T, 3]
  int32_t* ordered;    // [T, 3]
  int64_t V, num_triangles;
  int64_t keep_facing;  // whether vertices may only be rotated
};

template <class T>
GLR_FUNC bool comes_before(const T* a, const T* b) {
  for (int c = 0; c < 4; ++c)
    if (a[c] != b[c]) return a[c] < b[c];
  return false;
}

template <class T>
GLR_FUNC void order(const T* pos, bool keep_facing, int32_t* v) {
  const auto before = [&](int i, int j) { return comes_before(pos + int64_t(v[i]) * 4, pos + int64_t(v[j]) * 4); };
  const int least = before(1, 0) ? (before(2, 1) ? 2 : 1) : (before(2, 0) ? 2 : 0);
  const int32_t a = v[least], b = v[(least + 1) % 3], c = v[(least + 2) % 3];
  v[0] = a, v[1] = b, v[2] = c;
  if (!keep_facing && before(2, 1)) v[1] = c, v[2] = b;
}

template <class T>
GLR_KERNEL corners_order(const CornersParams<T>& p) {
  GLR_FOR_EACH(t, p.num_triangles) {
    int32_t* v = p.ordered + t * 3;
    for (int i = 0; i < 3; ++i) v[i] = p.tri[t * 3 + i];
    VertexIndices in_range;
    if (load_triangle(p.tri, p.num_triangles, p.V, int32_t(t), &in_range)) order(p.pos, p.keep_facing != 0, v);
  }
}
GLR_EXPORT(corners_order, CornersParams)
