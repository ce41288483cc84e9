// Where texture coordinates and their screen-space derivatives lie on a texture.
#pragma once

#include "cube.cuh"
#include "mip_level.cuh"

enum Boundary { WRAP, CLAMP, ZERO, CUBE };

// The coordinates as they are given: (s, t), for cube maps a direction.
template <Boundary B, class T>
struct Coordinates {
  static constexpr int D = B == CUBE ? 3 : 2;
  T at[D];
};

// A point on a texture, or on one of its faces.
template <class T>
struct TexturePoint {
  T s, t;
  int32_t face;
};

// False for coordinates that are not finite and for a direction of no length.
template <Boundary B, class T>
GLR_FUNC bool is_somewhere(const Coordinates<B, T>& uv) {
  bool finite = true, nonzero = B != CUBE;
  for (int d = 0; d < uv.D; ++d) finite = finite & bool(isfinite(uv.at[d])), nonzero = nonzero | (uv.at[d] != T(0));
  return finite & nonzero;
}

template <class T>
GLR_FUNC Vector3<T> direction_of(const Coordinates<CUBE, T>& uv) {
  return {uv.at[0], uv.at[1], uv.at[2]};
}

template <Boundary B, class T>
GLR_FUNC TexturePoint<T> point_at(const Coordinates<B, T>& uv) {
  if constexpr (B == CUBE) {
    const int32_t face = cube_face_of(direction_of(uv));
    const FaceVector<T> f = to_face(face, direction_of(uv));
    return {cube_coordinate(f.sc, f.major), cube_coordinate(f.tc, f.major), face};
  } else {
    return {uv.at[0], uv.at[1], 0};
  }
}

// d point / d uv.
template <Boundary B, class T>
GLR_FUNC Coordinates<B, T> point_bwd(const Coordinates<B, T>& uv, int32_t face, T grad_s, T grad_t) {
  if constexpr (B == CUBE) {
    const FaceVector<T> f = to_face(face, direction_of(uv));
    const Vector3<T> grad = from_face(face, cube_coordinates_bwd(f, grad_s, grad_t));
    return {{grad.x, grad.y, grad.z}};
  } else {
    return {{grad_s, grad_t}};
  }
}

// uv_da of a pixel, da[2 D], in texels of a level with sides w and h; for cube maps carried to the face.
template <Boundary B, class T>
GLR_FUNC TexelJacobian<T> jacobian_at(const Coordinates<B, T>& uv, const T* da, T w, T h) {
  if constexpr (B == CUBE) {
    const int32_t face = cube_face_of(direction_of(uv));
    const FaceVector<T> f = to_face(face, direction_of(uv));
    const FaceVector<T> fx = to_face(face, Vector3<T>{da[0], da[2], da[4]});
    const FaceVector<T> fy = to_face(face, Vector3<T>{da[1], da[3], da[5]});
    return {w * cube_tangent(f.sc, f.major, fx.sc, fx.major), w * cube_tangent(f.sc, f.major, fy.sc, fy.major),
            h * cube_tangent(f.tc, f.major, fx.tc, fx.major), h * cube_tangent(f.tc, f.major, fy.tc, fy.major)};
  } else {
    return {w * da[0], w * da[1], h * da[2], h * da[3]};
  }
}

// d jacobian / d (uv, da), added to grad_uv[D] and grad_da[2 D].
template <Boundary B, class T>
GLR_FUNC void jacobian_bwd(const Coordinates<B, T>& uv, const T* da, T w, T h, const TexelJacobian<T>& grad, T* grad_uv,
                           T* grad_da) {
  if constexpr (B == CUBE) {
    const int32_t face = cube_face_of(direction_of(uv));
    const FaceVector<T> f = to_face(face, direction_of(uv));
    const FaceVector<T> fx = to_face(face, Vector3<T>{da[0], da[2], da[4]});
    const FaceVector<T> fy = to_face(face, Vector3<T>{da[1], da[3], da[5]});
    FaceVector<T> g{0, 0, 0}, gx{0, 0, 0}, gy{0, 0, 0};
    cube_tangent_bwd(f.sc, f.major, fx.sc, fx.major, w * grad.s_x, &g.sc, &g.major, &gx.sc, &gx.major);
    cube_tangent_bwd(f.sc, f.major, fy.sc, fy.major, w * grad.s_y, &g.sc, &g.major, &gy.sc, &gy.major);
    cube_tangent_bwd(f.tc, f.major, fx.tc, fx.major, h * grad.t_x, &g.tc, &g.major, &gx.tc, &gx.major);
    cube_tangent_bwd(f.tc, f.major, fy.tc, fy.major, h * grad.t_y, &g.tc, &g.major, &gy.tc, &gy.major);
    const Vector3<T> by_uv = from_face(face, g), by_x = from_face(face, gx), by_y = from_face(face, gy);
    grad_uv[0] += by_uv.x, grad_uv[1] += by_uv.y, grad_uv[2] += by_uv.z;
    grad_da[0] += by_x.x, grad_da[2] += by_x.y, grad_da[4] += by_x.z;
    grad_da[1] += by_y.x, grad_da[3] += by_y.y, grad_da[5] += by_y.z;
  } else {
    grad_da[0] += w * grad.s_x, grad_da[1] += w * grad.s_y, grad_da[2] += h * grad.t_x, grad_da[3] += h * grad.t_y;
  }
}
