// Gradients of visibility: boundaries between the surfaces that two neighbouring pixels A, B (right of A, or above it)
// see move with the surface that ends there. Where a boundary moves by delta pixels from A towards B, box-filtered
// pixels change so that, g being the gradient of the image I,
//   dL / d delta = 1/2 <g_A + g_B, I_A - I_B>
// Horizontal pairs carry the x part and vertical pairs the y part of the flux of the boundary's motion. Everything is
// computed from planes that are linear on the screen, without a division by w: lambda_k, barycentrics over w, solve
//   sum lambda_k (x_k, y_k, w_k) = (f_x, f_y, 1)   at f in normalised device coordinates,   z/w = sum lambda_k z_k
// Source: in the line of Pidhorskyi et al., "Rasterized Edge Gradients", 2024; the divergence theorem; homogeneous
// rasterization (Olano and Greer 1997).
#include "common/triangle_id.cuh"

template <class T>
struct EdgeGradientsParams {
  const T* color;             // [N, H, W, C]
  const T* rast;              // [N, H, W, 4]
  const T* pos;               // [N or 1, V, 4] clip space
  const int32_t* tri;         // [T, 3]
  const int32_t* neighbours;  // [T, 3], across the edge opposite a corner: 3 triangle + opposite corner, -1: none
  const T* grad_out;          // [N, H, W, C]
  double* grad_pos;           // [N or 1, V, 4], zeroed
  const T* tangent_color;     // [N, H, W, C], null if none
  const T* tangent_pos;       // [N or 1, V, 4], null if none
  T* tangent_out;             // [N, H, W, C]
  int64_t N, H, W, C, V, num_triangles;
  int64_t pos_stride;  // elements from one image's positions to the next; 0: shared
  int64_t crease;      // whether jumps of colour within a surface count
};

// A triangle's plane at a point: lambda there, and its change per pixel along x and y.
template <class T>
struct Plane {
  T value[3], along[2][3];
  Vec4<T> corner[3];  // x and y relative to the point, times w

  GLR_MEMBER T depth() const { return value[0] * corner[0].z + value[1] * corner[1].z + value[2] * corner[2].z; }
  GLR_MEMBER T depth_slope(int axis) const {
    return along[axis][0] * corner[0].z + along[axis][1] * corner[1].z + along[axis][2] * corner[2].z;
  }
};

// Two neighbours: A is pixel (x, y) of an image, B the next along the axis.
template <class T>
struct PixelPair {
  int64_t image;
  int32_t x, y;
  int axis;
  int32_t a, b;  // their triangles, -1: none
};

enum PairKind { kOneSurface, kAOccludes, kBOccludes, kIntersection, kCrease };

// What was found out about a pair.
template <class T>
struct Boundary {
  int kind = kOneSurface;
  int32_t triangle = -1;  // that carries the boundary, unless it is an intersection
  T distance = T(0);      // from A's centre towards B's, in pixels
};

constexpr int kMostSteps = 32;  // of a walk, in triangles

template <class T>
GLR_FUNC T pixel_size(const EdgeGradientsParams<T>& p, int axis) {
  return T(2) / T(axis ? p.H : p.W);
}

// The centre of pixel i along an axis.
template <class T>
GLR_FUNC T sample_at(const EdgeGradientsParams<T>& p, int axis, int32_t i) {
  const int64_t size = axis ? p.H : p.W;
  return T(2 * int64_t(i) + 1 - size) / T(size);
}

// The triangle that a pixel sees; -1 if none, or one that does not exist.
template <class T>
GLR_FUNC int32_t triangle_at(const EdgeGradientsParams<T>& p, int64_t pixel) {
  const int32_t triangle = decode_triangle(p.rast[pixel * 4 + 3]);
  VertexIndices v;
  return load_triangle(p.tri, p.num_triangles, p.V, triangle, &v) ? triangle : -1;
}

template <class T>
GLR_FUNC Vec4<T> corner_at(const EdgeGradientsParams<T>& p, int64_t image, int64_t corner, T fx, T fy) {
  const Vec4<T> v = load4(p.pos + image * p.pos_stride + int64_t(p.tri[corner]) * 4);
  return {v.x - fx * v.w, v.y - fy * v.w, v.z, v.w};
}

// The plane of a triangle at (fx, fy); false if it is seen edge-on.
template <class T>
GLR_FUNC bool plane_at(const EdgeGradientsParams<T>& p, int64_t image, int32_t triangle, T fx, T fy, Plane<T>* plane) {
  Vec4<T>* q = plane->corner;
  for (int k = 0; k < 3; ++k) q[k] = corner_at(p, image, int64_t(triangle) * 3 + k, fx, fy);
  T a[3];
  for (int k = 0; k < 3; ++k) {
    const Vec4<T>&i = q[k == 2 ? 0 : k + 1], &j = q[k == 0 ? 2 : k - 1];
    a[k] = i.x * j.y - j.x * i.y;
  }
  const T det = a[0] * q[0].w + a[1] * q[1].w + a[2] * q[2].w, scale = T(1) / det;
  const T to_x = scale * pixel_size(p, 0), to_y = scale * pixel_size(p, 1);
  for (int k = 0; k < 3; ++k) {
    const Vec4<T>&i = q[k == 2 ? 0 : k + 1], &j = q[k == 0 ? 2 : k - 1];
    plane->value[k] = a[k] * scale;
    plane->along[0][k] = (j.w * i.y - i.w * j.y) * to_x;
    plane->along[1][k] = (i.w * j.x - j.w * i.x) * to_y;
  }
  return det != 0 && isfinite(scale);
}

// On which side of the edge opposite corner k the vertex q lies, times the side of corner k itself.
template <class T>
GLR_FUNC bool lies_on_same_side(const Plane<T>& plane, int k, const Vec4<T>& q) {
  const Vec4<T>&i = plane.corner[k == 2 ? 0 : k + 1], &j = plane.corner[k == 0 ? 2 : k - 1], &own = plane.corner[k];
  const T along_w = i.x * j.y - j.x * i.y, along_x = i.y * j.w - j.y * i.w, along_y = j.x * i.w - i.x * j.w;
  const T side = q.x * along_x + q.y * along_y + q.w * along_w;
  const T own_side = own.x * along_x + own.y * along_y + own.w * along_w;
  return (side > 0 && own_side > 0) || (side < 0 && own_side < 0);
}

// Height over longest edge of a triangle on the screen; 0 with a corner behind the eye.
template <class T>
GLR_FUNC T shape_of(const EdgeGradientsParams<T>& p, const Plane<T>& plane) {
  const Vec4<T>* q = plane.corner;
  if (!(q[0].w > 0 && q[1].w > 0 && q[2].w > 0)) return T(0);
  T x[3], y[3];
  for (int k = 0; k < 3; ++k) x[k] = q[k].x / q[k].w * T(p.W), y[k] = q[k].y / q[k].w * T(p.H);
  const T ax = x[1] - x[0], ay = y[1] - y[0], bx = x[2] - x[0], by = y[2] - y[0], cx = bx - ax, cy = by - ay;
  const T longest = max(max(ax * ax + ay * ay, bx * bx + by * by), cx * cx + cy * cy);
  return longest > 0 ? fabs(ax * by - ay * bx) / longest : T(0);
}

// The edge through which a line leaves a triangle: the one whose lambda vanishes first.
template <class T>
struct Exit {
  int side = 0;              // opposite which corner
  T distance = T(INFINITY);  // in pixels, 0 if the line has left already
};

template <class T>
GLR_FUNC Exit<T> exit_of(const Plane<T>& plane, int axis, T direction) {
  Exit<T> exit;
  for (int k = 0; k < 3; ++k) {
    const T slope = direction * (axis ? plane.along[1][k] : plane.along[0][k]), t = -plane.value[k] / slope;
    if (slope < 0 && t < exit.distance) exit.side = k, exit.distance = t;
  }
  exit.distance = max(exit.distance, T(0));
  return exit;
}

enum WalkEnd { kGaveUp, kFold, kReached, kOpenEdge };

template <class T>
struct Walk {
  int end = kGaveUp;
  int32_t triangle = -1;  // the last one
  T distance = T(0);
};

// Over the surface from a triangle at (fx, fy) along an axis, in pixels times `direction`, to its outline or one pixel
// far.
template <class T>
GLR_FUNC Walk<T> walk(const EdgeGradientsParams<T>& p, int64_t image, int32_t triangle, T fx, T fy, int axis,
                      T direction) {
  Walk<T> walk;
  walk.triangle = triangle;
  for (int step = 0; step < kMostSteps; ++step) {
    Plane<T> plane;
    if (!plane_at(p, image, walk.triangle, fx, fy, &plane)) return walk;
    const Exit<T> exit = exit_of(plane, axis, direction);
    walk.distance = min(exit.distance, T(1));
    if (exit.distance > 1) {
      walk.end = kReached;
      return walk;
    }
    const int32_t half_edge = p.neighbours[int64_t(walk.triangle) * 3 + exit.side];
    VertexIndices v;
    if (half_edge < 0 || !load_triangle(p.tri, p.num_triangles, p.V, half_edge / 3, &v)) {
      walk.end = kOpenEdge;
      return walk;
    }
    if (lies_on_same_side(plane, exit.side, corner_at(p, image, half_edge, fx, fy))) {
      walk.end = kFold;
      return walk;
    }
    walk.triangle = half_edge / 3;
  }
  return walk;
}

// Which of two surfaces occludes the other, from their planes at both centres.
template <class T>
GLR_FUNC Boundary<T> compare_depths(const EdgeGradientsParams<T>& p, const PixelPair<T>& pair) {
  const int axis = pair.axis;
  Boundary<T> found;
  Plane<T> a, b;
  if (!plane_at(p, pair.image, pair.a, sample_at(p, 0, pair.x), sample_at(p, 1, pair.y), &a)) return found;
  const T bx = sample_at(p, 0, pair.x + !axis), by = sample_at(p, 1, pair.y + axis);
  if (!plane_at(p, pair.image, pair.b, bx, by, &b)) return found;
  const T slope_a = axis ? a.depth_slope(1) : a.depth_slope(0), slope_b = axis ? b.depth_slope(1) : b.depth_slope(0);
  const T za = a.depth(), zb = b.depth();
  const T at_a = zb - slope_b - za, at_b = za + slope_a - zb;  // by how much a pixel's own triangle is nearer there
  const T least = T(0.2) * (fabs(slope_a) + fabs(slope_b)) + T(1e-6);
  if (at_a > least && at_b < -least)
    found.kind = kAOccludes;
  else if (at_a < -least && at_b > least)
    found.kind = kBOccludes;
  else if (at_a > 0 && at_b > 0 && at_a + at_b > least)
    found.kind = kIntersection, found.distance = at_a / (at_a + at_b);
  return found;
}

// Where a surface that occludes another ends between two neighbours; one surface if it reaches the other's triangle.
template <class T>
GLR_FUNC void find_outline(const EdgeGradientsParams<T>& p, const PixelPair<T>& pair, Boundary<T>* found) {
  const bool from_b = found->kind == kBOccludes;
  const int32_t bx = pair.x + (from_b && !pair.axis), by = pair.y + (from_b && pair.axis);
  const T fx = sample_at(p, 0, bx), fy = sample_at(p, 1, by);
  const int32_t own = from_b ? pair.b : pair.a, other = from_b ? pair.a : pair.b;
  const Walk<T> walked = walk(p, pair.image, own, fx, fy, pair.axis, from_b ? T(-1) : T(1));
  if (walked.end == kReached && walked.triangle == other) found->kind = kOneSurface;
  if (found->kind == kOneSurface || found->kind == kIntersection) return;
  const bool ended = walked.end == kFold || walked.end == kOpenEdge;
  found->triangle = ended ? walked.triangle : own;
  T distance = walked.distance;
  if (walked.end != kFold) {
    // On a smooth surface the plane of the triangle has the outline's depth 2/3 pixels further, on average. Planes of
    // slivers, which lead far away, are followed less far.
    Plane<T> plane;
    plane_at(p, pair.image, found->triangle, fx, fy, &plane);
    const T limit = T(100) * shape_of(p, plane);
    distance = ended ? max(distance, min(T(0.5), limit)) : min(T(2. / 3), limit);
  }
  found->distance = from_b ? T(1) - distance : distance;
}

// The boundary between two neighbours that see different triangles.
template <class T>
GLR_FUNC Boundary<T> find_boundary(const EdgeGradientsParams<T>& p, const PixelPair<T>& pair) {
  Boundary<T> found;
  if (pair.a >= 0 && pair.b >= 0)
    found = compare_depths(p, pair);
  else
    found.kind = pair.a >= 0 ? kAOccludes : kBOccludes;
  if (found.kind != kOneSurface) find_outline(p, pair, &found);
  return found;
}

// The pair of a pixel and its next one along an axis; false if both see the same.
template <class T>
GLR_FUNC bool load_pair(const EdgeGradientsParams<T>& p, int64_t image, int32_t x, int32_t y, int axis,
                        PixelPair<T>* pair) {
  const int64_t pixel = (image * p.H + y) * p.W + x;
  *pair = {image, x, y, axis, triangle_at(p, pixel), triangle_at(p, pixel + (axis ? p.W : 1))};
  return pair->a != pair->b;
}

// Whether pixel (x, y) and its next one see one surface.
template <class T>
GLR_STEP bool is_one_surface(const EdgeGradientsParams<T>& p, int64_t image, int32_t x, int32_t y, int axis) {
  PixelPair<T> pair;
  return !load_pair(p, image, x, y, axis, &pair) || find_boundary(p, pair).kind == kOneSurface;
}

// The colours on both sides of a boundary, each extrapolated from the pixel behind.
template <class T>
struct Jump {
  const T *a, *b, *behind_a, *behind_b;
  T step_a, step_b;
  GLR_MEMBER T operator()(int64_t c) const {
    return a[c] + step_a * (a[c] - behind_a[c]) - (b[c] + step_b * (b[c] - behind_b[c]));
  }
};

template <class T>
GLR_FUNC Jump<T> jump_at(const EdgeGradientsParams<T>& p, const PixelPair<T>& pair) {
  const int axis = pair.axis;
  const int64_t next = axis ? p.W * p.C : p.C;
  const T* a = p.color + ((pair.image * p.H + pair.y) * p.W + pair.x) * p.C;
  Jump<T> jump = {a, a + next, a, a + next, T(0), T(0)};
  const int32_t x0 = pair.x - !axis, y0 = pair.y - axis, x1 = pair.x + !axis, y1 = pair.y + axis;
  if (pair.a >= 0 && x0 >= 0 && y0 >= 0 && is_one_surface(p, pair.image, x0, y0, axis))
    jump.behind_a = a - next, jump.step_a = T(2. / 3);
  if (pair.b >= 0 && (axis ? y1 + 1 < p.H : x1 + 1 < p.W) && is_one_surface(p, pair.image, x1, y1, axis))
    jump.behind_b = a + 2 * next, jump.step_b = T(2. / 3);
  return jump;
}

// A ridge between two pixels of one triangle and two of another across which the colour jumps by more than it changes
// on both sides; carried by A's triangle, where that ends.
template <class T>
GLR_FUNC bool find_crease(const EdgeGradientsParams<T>& p, const PixelPair<T>& pair, Boundary<T>* found,
                          Jump<T>* jump) {
  const int axis = pair.axis;
  const int32_t i = axis ? pair.y : pair.x;
  if (!p.crease || pair.a < 0 || pair.b < 0 || i < 1 || i + 2 >= (axis ? p.H : p.W)) return false;
  const int64_t step = axis ? p.W : 1, pixel = (pair.image * p.H + pair.y) * p.W + pair.x;
  const T* id = p.rast + pixel * 4 + 3;
  if (id[-4 * step] != id[0] || id[8 * step] != id[4 * step]) return false;
  const T* a = p.color + pixel * p.C;
  *jump = {a, a + step * p.C, a - step * p.C, a + 2 * step * p.C, T(0.5), T(0.5)};
  T across = T(0), inside = T(0);
  for (int64_t c = 0; c < p.C; ++c) {
    const T j = (*jump)(c), ja = jump->a[c] - jump->behind_a[c], jb = jump->b[c] - jump->behind_b[c];
    across += j * j, inside += ja * ja + jb * jb;
  }
  Plane<T> plane;
  if (!(across > inside) || !plane_at(p, pair.image, pair.a, sample_at(p, 0, pair.x), sample_at(p, 1, pair.y), &plane))
    return false;
  found->kind = kCrease, found->triangle = pair.a;
  found->distance = min(exit_of(plane, axis, T(1)).distance, T(1));
  return true;
}

// Calls visit(vertex, d) with the derivative d of the boundary's place, in pixels along the pair's axis, with respect
// to x, y, z, w of each vertex.
template <class T, class Visit>
GLR_FUNC void for_each_derivative(const EdgeGradientsParams<T>& p, const PixelPair<T>& pair, const Boundary<T>& found,
                                  const Visit& visit) {
  const int axis = pair.axis;
  const T move = found.distance * pixel_size(p, axis);
  const T fx = sample_at(p, 0, pair.x) + (axis ? T(0) : move), fy = sample_at(p, 1, pair.y) + (axis ? move : T(0));
  Plane<T> plane;
  if (found.kind != kIntersection) {  // the point moves as its triangle does
    if (!plane_at(p, pair.image, found.triangle, fx, fy, &plane)) return;
    for (int k = 0; k < 3; ++k) {
      const T d = plane.value[k] / pixel_size(p, axis), dw = -d * (axis ? fy : fx);
      visit(p.tri[int64_t(found.triangle) * 3 + k], axis ? Vec4<T>{T(0), d, T(0), dw} : Vec4<T>{d, T(0), T(0), dw});
    }
    return;
  }
  // The line z_A = z_B moves along its normal, the gradient of z_A - z_B; d z = sum lambda_k (dz_k - z_x dx_k - ...).
  Plane<T> other;
  if (!plane_at(p, pair.image, pair.a, fx, fy, &plane) || !plane_at(p, pair.image, pair.b, fx, fy, &other)) return;
  const T nx = plane.depth_slope(0) - other.depth_slope(0), ny = plane.depth_slope(1) - other.depth_slope(1);
  const T along_axis = (axis ? ny : nx) / (nx * nx + ny * ny);
  for (int s = 0; s < 2; ++s) {
    const Plane<T>& one = s ? other : plane;
    const T zx = one.depth_slope(0) / pixel_size(p, 0), zy = one.depth_slope(1) / pixel_size(p, 1);
    const T zw = zx * fx + zy * fy - one.depth();
    for (int k = 0; k < 3; ++k) {
      const T g = (s ? along_axis : -along_axis) * one.value[k];
      visit(p.tri[int64_t(s ? pair.b : pair.a) * 3 + k], Vec4<T>{-zx * g, -zy * g, g, g * zw});
    }
  }
}

// The boundary of pixel (x, y) and its next one along an axis; false if there is none.
template <class T>
GLR_FUNC bool load_boundary(const EdgeGradientsParams<T>& p, int64_t image, int32_t x, int32_t y, int axis,
                            PixelPair<T>* pair, Boundary<T>* found, Jump<T>* jump) {
  if (!load_pair(p, image, x, y, axis, pair)) return false;
  *found = find_boundary(p, *pair);
  if (found->kind == kOneSurface) return find_crease(p, *pair, found, jump);
  *jump = jump_at(p, *pair);
  return true;
}

// Whether a pixel's next one along an axis, or the one before, has another id.
template <class T>
GLR_FUNC bool id_differs(const EdgeGradientsParams<T>& p, int64_t row, int32_t y, int32_t x, int axis, int32_t step) {
  const int64_t other = (axis ? y : x) + step;
  if (other < 0 || other >= (axis ? p.H : p.W)) return false;
  const T* id = p.rast + (row * p.W + x) * 4 + 3;
  return id[(axis ? p.W : 1) * 4 * step] != id[0];
}

template <class T>
GLR_KERNEL edge_gradients_bwd(const EdgeGradientsParams<T>& p) {
  GLR_FOR_EACH_PIXEL(row, x, p.N * p.H, p.W) {
    const int64_t image = row / p.H;
    const int32_t y = int32_t(row - image * p.H);
    for (int axis = 0; axis < 2; ++axis) {
      PixelPair<T> pair;
      Boundary<T> found;
      Jump<T> jump;
      if (!id_differs(p, row, y, x, axis, 1) || !load_boundary(p, image, x, y, axis, &pair, &found, &jump)) continue;
      const T* g = p.grad_out + (row * p.W + x) * p.C;
      const int64_t next = axis ? p.W * p.C : p.C;
      T weight = T(0);
      for (int64_t c = 0; c < p.C; ++c) weight += (g[c] + g[c + next]) * jump(c);
      if (weight == 0) continue;
      for_each_derivative(p, pair, found, [&](int32_t vertex, const Vec4<T>& d) {
        double* target = p.grad_pos + image * p.pos_stride + int64_t(vertex) * 4;
        const double half = 0.5 * double(weight);
        if (axis == 0 || found.kind == kIntersection) atomic_add(target, half * double(d.x));
        if (axis == 1 || found.kind == kIntersection) atomic_add(target + 1, half * double(d.y));
        if (found.kind == kIntersection) atomic_add(target + 2, half * double(d.z));
        atomic_add(target + 3, half * double(d.w));
      });
    }
  }
}
GLR_EXPORT(edge_gradients_bwd, EdgeGradientsParams)

// The change of the image along the tangent of pos: of both pixels of a pair, half the jump times the motion.
template <class T>
GLR_KERNEL edge_gradients_jvp(const EdgeGradientsParams<T>& p) {
  GLR_FOR_EACH_PIXEL(row, x, p.N * p.H, p.W) {
    const int64_t image = row / p.H, pixel = row * p.W + x;
    const int32_t y = int32_t(row - image * p.H);
    T* out = p.tangent_out + pixel * p.C;
    for (int64_t c = 0; c < p.C; ++c) out[c] = p.tangent_color ? p.tangent_color[pixel * p.C + c] : T(0);
    for (int k = 0; k < 4 && p.tangent_pos; ++k) {
      const int axis = k & 1, before = k >> 1;
      PixelPair<T> pair;
      Boundary<T> found;
      Jump<T> jump;
      if (!id_differs(p, row, y, x, axis, before ? -1 : 1) ||
          !load_boundary(p, image, x - (before && !axis), y - (before && axis), axis, &pair, &found, &jump))
        continue;
      T motion = T(0);
      for_each_derivative(p, pair, found, [&](int32_t vertex, const Vec4<T>& d) {
        const Vec4<T> t = load4(p.tangent_pos + image * p.pos_stride + int64_t(vertex) * 4);
        motion += d.x * t.x + d.y * t.y + d.z * t.z + d.w * t.w;
      });
      for (int64_t c = 0; c < p.C; ++c) out[c] += T(0.5) * motion * jump(c);
    }
  }
}
GLR_EXPORT(edge_gradients_jvp, EdgeGradientsParams)
