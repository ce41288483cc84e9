// A triangle as a plane over the screen, without a division by w: nothing grows towards the horizon, and corners may
// lie behind the eye. lambda_k, barycentrics over w, solve sum lambda_k (x_k, y_k, w_k) = (f_x, f_y, 1) at a point f in
// normalised device coordinates; they are linear on the screen, and so is z/w = sum lambda_k z_k. In double precision
// and relative to f, since differences of neighbouring numbers are all that is left of small triangles.
// Source: homogeneous rasterization (Olano and Greer 1997).
#pragma once

#include "portability.cuh"

// lambda at a point, and its change per pixel along x and y.
struct ScreenPlane {
  double value[3], along[2][3];
  Vec4<double> corner[3];  // (x - f_x w, y - f_y w, z, w)

  GLR_MEMBER double depth() const { return value[0] * corner[0].z + value[1] * corner[1].z + value[2] * corner[2].z; }
  // Chosen rather than indexed, so that a GPU keeps the struct in registers.
  GLR_MEMBER double slope(int axis, int k) const { return axis ? along[1][k] : along[0][k]; }
  GLR_MEMBER double depth_slope(int axis) const {
    return slope(axis, 0) * corner[0].z + slope(axis, 1) * corner[1].z + slope(axis, 2) * corner[2].z;
  }
};

// From the corners, with pixels of these sizes; false for a triangle that is seen edge-on.
GLR_FUNC bool set_plane(double pixel_x, double pixel_y, ScreenPlane* plane) {
  // Without loops, which would keep the host's compiler from computing several planes side by side.
  const Vec4<double>&q0 = plane->corner[0], &q1 = plane->corner[1], &q2 = plane->corner[2];
  const double a0 = q1.x * q2.y - q2.x * q1.y, a1 = q2.x * q0.y - q0.x * q2.y, a2 = q0.x * q1.y - q1.x * q0.y;
  const double det = a0 * q0.w + a1 * q1.w + a2 * q2.w, scale = 1. / det;
  const double to_x = scale * pixel_x, to_y = scale * pixel_y;
  plane->value[0] = a0 * scale, plane->value[1] = a1 * scale, plane->value[2] = a2 * scale;
  plane->along[0][0] = (q2.w * q1.y - q1.w * q2.y) * to_x;
  plane->along[0][1] = (q0.w * q2.y - q2.w * q0.y) * to_x;
  plane->along[0][2] = (q1.w * q0.y - q0.w * q1.y) * to_x;
  plane->along[1][0] = (q1.w * q2.x - q2.w * q1.x) * to_y;
  plane->along[1][1] = (q2.w * q0.x - q0.w * q2.x) * to_y;
  plane->along[1][2] = (q0.w * q1.x - q1.w * q0.x) * to_y;
  return (det != 0) & (fabs(scale) < INFINITY);
}

// Whether a vertex lies on the same side of the edge opposite corner k as that corner.
GLR_FUNC bool lies_on_same_side(const ScreenPlane& plane, int k, const Vec4<double>& q) {
  const Vec4<double>&i = plane.corner[k == 2 ? 0 : k + 1], &j = plane.corner[k == 0 ? 2 : k - 1];
  const Vec4<double>& own = plane.corner[k];
  const double x = i.y * j.w - j.y * i.w, y = j.x * i.w - i.x * j.w, w = i.x * j.y - j.x * i.y;
  const double side = q.x * x + q.y * y + q.w * w, own_side = own.x * x + own.y * y + own.w * w;
  return (side > 0 && own_side > 0) || (side < 0 && own_side < 0);
}

// Height over longest edge on the screen; 0 with a corner behind the eye.
GLR_FUNC double shape_of(const ScreenPlane& plane, double pixel_x, double pixel_y) {
  const Vec4<double>* q = plane.corner;
  if (!(q[0].w > 0 && q[1].w > 0 && q[2].w > 0)) return 0.;
  double x[3], y[3];
  for (int k = 0; k < 3; ++k) x[k] = q[k].x / (q[k].w * pixel_x), y[k] = q[k].y / (q[k].w * pixel_y);
  const double ax = x[1] - x[0], ay = y[1] - y[0], bx = x[2] - x[0], by = y[2] - y[0], cx = bx - ax, cy = by - ay;
  const double longest = max(max(ax * ax + ay * ay, bx * bx + by * by), cx * cx + cy * cy);
  return longest > 0 ? fabs(ax * by - ay * bx) / longest : 0.;
}

// The edge through which a line leaves a triangle: the one whose lambda vanishes first.
struct PlaneExit {
  int opposite = 0;            // the corner opposite the edge
  double distance = INFINITY;  // in pixels, 0 if the line has left already
};

// Of the line from the point along an axis, forwards or (direction -1) backwards.
GLR_FUNC PlaneExit exit_of(const ScreenPlane& plane, int axis, double direction) {
  PlaneExit exit;
  for (int k = 0; k < 3; ++k) {
    const double slope = direction * plane.slope(axis, k), t = -plane.value[k] / slope;
    if (slope < 0 && t < exit.distance) exit.opposite = k, exit.distance = t;
  }
  exit.distance = max(exit.distance, 0.);
  return exit;
}
