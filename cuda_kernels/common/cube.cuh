// Cube maps: which face a direction meets, where on it, and which texel lies beyond a face's edge.
// Source: the cube map of OpenGL (core profile 4.5, section 8.13), with the tie rules of the documentation.
#pragma once

#include "portability.cuh"

// Faces 0..5 are +x, -x, +y, -y, +z, -z. The coordinates of a face are a signed permutation of x, y, z.
template <class V>
struct FaceVector {
  V major, sc, tc;  // along the outward normal, to the right and up on the face
};
template <class V>
struct Vector3 {
  V x, y, z;
};

template <class V>
GLR_FUNC int32_t cube_face_of(const Vector3<V>& d) {
  const V ax = d.x < 0 ? -d.x : d.x, ay = d.y < 0 ? -d.y : d.y, az = d.z < 0 ? -d.z : d.z;
  if (az > ax && az > ay) return d.z < 0 ? 5 : 4;
  if (ay > ax) return d.y < 0 ? 3 : 2;
  return d.x < 0 ? 1 : 0;
}

template <class V>
GLR_FUNC FaceVector<V> to_face(int32_t face, const Vector3<V>& d) {
  switch (face) {
    case 0:
      return {d.x, -d.z, -d.y};
    case 1:
      return {-d.x, d.z, -d.y};
    case 2:
      return {d.y, d.x, d.z};
    case 3:
      return {-d.y, d.x, -d.z};
    case 4:
      return {d.z, d.x, -d.y};
    default:
      return {-d.z, -d.x, -d.y};
  }
}

// The inverse of to_face, and its transpose: it also carries gradients back.
template <class V>
GLR_FUNC Vector3<V> from_face(int32_t face, const FaceVector<V>& f) {
  switch (face) {
    case 0:
      return {f.major, -f.tc, -f.sc};
    case 1:
      return {-f.major, -f.tc, f.sc};
    case 2:
      return {f.sc, f.major, f.tc};
    case 3:
      return {f.sc, -f.major, -f.tc};
    case 4:
      return {f.sc, -f.tc, f.major};
    default:
      return {-f.sc, -f.tc, -f.major};
  }
}

// s (or t) of a direction, in [0, 1].
template <class T>
GLR_FUNC T cube_coordinate(T numerator, T major) {
  const T c = (numerator / major + T(1)) * T(0.5);
  return c > T(0) ? min(c, T(1)) : T(0);
}

// d (s, t) / d direction.
template <class T>
GLR_FUNC FaceVector<T> cube_coordinates_bwd(const FaceVector<T>& f, T grad_s, T grad_t) {
  const T scale = T(0.5) / f.major;
  return {-(grad_s * f.sc + grad_t * f.tc) / f.major * scale, grad_s * scale, grad_t * scale};
}

// The change of s (or t) along a change of direction, by the quotient rule.
template <class T>
GLR_FUNC T cube_tangent(T numerator, T major, T d_numerator, T d_major) {
  return T(0.5) * (d_numerator - numerator / major * d_major) / major;
}

// d tangent along tangents of the direction and of its change.
template <class T>
GLR_FUNC T cube_tangent_jvp(T numerator, T major, T d_numerator, T d_major, T tangent_numerator, T tangent_major,
                            T tangent_d_numerator, T tangent_d_major) {
  const T ratio = numerator / major, tangent_ratio = (tangent_numerator - ratio * tangent_major) / major;
  const T change = d_numerator - ratio * d_major;
  const T tangent_change = tangent_d_numerator - tangent_ratio * d_major - ratio * tangent_d_major;
  return T(0.5) * (tangent_change - change * tangent_major / major) / major;
}

// d tangent / d (direction, its change), added to the gradients.
template <class T>
GLR_FUNC void cube_tangent_bwd(T numerator, T major, T d_numerator, T d_major, T grad, T* grad_numerator, T* grad_major,
                               T* grad_d_numerator, T* grad_d_major) {
  const T ratio = numerator / major, scaled = T(0.5) * grad / major;
  *grad_d_numerator += scaled;
  *grad_d_major -= ratio * scaled;
  *grad_numerator -= scaled * d_major / major;
  *grad_major += scaled * (T(2) * ratio * d_major - d_numerator) / major;
}

// The texel at (x, y) of a face, where x or y (not both) may be one step beyond an edge: then it is a texel of the
// neighbouring face. In units of half a texel the cube has half side `size`, texel centres have odd distances to one
// another, and the step beyond an edge becomes a step down the neighbouring face.
GLR_FUNC int64_t cube_texel(int32_t face, int32_t x, int32_t y, int32_t size) {
  FaceVector<int32_t> centre{size, 2 * x + 1 - size, 2 * y + 1 - size};
  if (centre.sc < -size || centre.sc > size) centre = {size - 1, centre.sc < 0 ? -size : size, centre.tc};
  if (centre.tc < -size || centre.tc > size) centre = {size - 1, centre.sc, centre.tc < 0 ? -size : size};
  const Vector3<int32_t> point = from_face(face, centre);
  const int32_t target = cube_face_of(point);
  const FaceVector<int32_t> there = to_face(target, point);
  const int32_t tx = (there.sc + size - 1) / 2, ty = (there.tc + size - 1) / 2;
  return (int64_t(target) * size + ty) * size + tx;
}
