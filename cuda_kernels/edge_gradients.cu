// Gradients of visibility: boundaries between the surfaces that two neighbouring pixels A, B (right of A, or above it)
// see move with the surface that ends there. Where a boundary moves by delta pixels from A towards B, box-filtered
// pixels change so that, g being the gradient of the image I,
//   dL / d delta = 1/2 <g_A + g_B, I_A - I_B>
// Horizontal pairs carry the x part and vertical pairs the y part of the flux of the boundary's motion. Everything is
// computed from planes that are linear on the screen, without a division by w: lambda_k, barycentrics over w, solve
//   sum lambda_k (x_k, y_k, w_k) = (f_x, f_y, 1)   at f in normalised device coordinates,   z/w = sum lambda_k z_k
// Source: in the line of Pidhorskyi et al., "Rasterized Edge Gradients", 2024; the divergence theorem; homogeneous
// rasterization (Olano and Greer 1997).
#include "common/depth_rows.cuh"
#include "common/image_planes.cuh"
#include "common/neighbours.cuh"
#include "common/pixel_walk.cuh"

template <class T>
struct EdgeGradientsParams {
  const T* color;             // [N, H, W, C]
  const T* rast;              // [N, H, W, 4]
  const T* pos;               // [N or 1, V, 4] clip space
  const int32_t* tri;         // [T, 3]
  const int32_t* neighbours;  // [T, 3] codes of neighbouring sides, see neighbours.cuh
  const T* grad_out;          // [N, H, W, C]
  double* grad_pos;           // [N or 1, V, 4], zeroed
  const T* tangent_color;     // [N, H, W, C], null if none
  const T* tangent_pos;       // [N or 1, V, 4], null if none
  T* tangent_out;             // [N, H, W, C]
  int64_t N, H, W, C, V, num_triangles;
  int64_t pos_stride;  // elements from one image's positions to the next; 0: shared
  int64_t crease;      // whether jumps of colour within a surface count
};

// Two neighbours: A is pixel (x, y) of an image, B the next along the axis.
struct PixelPair {
  int64_t image;
  int32_t x, y;
  int axis;
  int32_t a, b;  // their triangles, -1: none
};

enum PairKind { kOneSurface, kAOccludes, kBOccludes, kIntersection, kCrease };

// What was found out about a pair.
struct Boundary {
  int kind = kOneSurface;
  int32_t triangle = -1;  // that carries the boundary, unless it is an intersection
  double distance = 0.;   // from A's centre towards B's, in pixels
};

constexpr int kMostSteps = 32;  // of a walk, in triangles

enum WalkEnd { kGaveUp, kFold, kOpenEdge, kReached };

struct Walk {
  int end = kGaveUp;
  int32_t triangle = -1;  // the last one
  double distance = 0.;
};

// Over the surface from a triangle at (fx, fy) along an axis, in pixels times `direction`, to its outline or to the
// triangle that the next pixel sees. Rasterizers snap corners, so that may begin a little behind the pixel's centre.
template <class T>
GLR_FUNC Walk walk(const EdgeGradientsParams<T>& p, int64_t image, int32_t first, int32_t other, double fx, double fy,
                   int axis, double direction) {
  constexpr double kFarthest = 1. + 1. / 128;
  Walk walk;
  walk.triangle = first;
  for (int step = 0; step < kMostSteps; ++step) {
    ScreenPlane plane;
    if (!plane_at(p, image, walk.triangle, fx, fy, &plane)) return walk;
    const PlaneExit exit = exit_of(plane, axis, direction);
    walk.distance = min(exit.distance, 1.);
    if (exit.distance > kFarthest) return walk;
    // Side k goes from vertex k to the next: it lies opposite corner k + 2.
    const int32_t side = walk.triangle * 3 + (exit.opposite == 2 ? 0 : exit.opposite + 1);
    const int32_t next = other_side(p.neighbours, side), triangle = next / 3;
    VertexIndices v;
    if (next < 0 || !load_triangle(p.tri, p.num_triangles, p.V, triangle, &v))
      walk.end = kOpenEdge;
    else if (lies_on_same_side(plane, exit.opposite, corner_at(p, image, opposite_vertex(p.tri, next), fx, fy)))
      walk.end = kFold;
    else if (triangle == other)
      walk.end = kReached;
    if (walk.end != kGaveUp) return walk;
    walk.triangle = triangle;
  }
  return walk;
}

// Which of the surfaces of two neighbours is in front, from the depths and slopes of their planes, each at its own
// centre; nothing of planes that are not known (NaN).
GLR_FUNC Boundary compare_depths(double za, double slope_a, double zb, double slope_b) {
  Boundary found;
  const double at_a = zb - slope_b - za, at_b = za + slope_a - zb;  // how much nearer a pixel's own triangle is there
  const double least = 0.2 * (fabs(slope_a) + fabs(slope_b)) + 1e-6;
  if (at_a > least && at_b < -least)
    found.kind = kAOccludes;
  else if (at_a < -least && at_b > least)
    found.kind = kBOccludes;
  else if (at_a > 0 && at_b > 0 && at_a + at_b > least)
    found.kind = kIntersection, found.distance = at_a / (at_a + at_b);
  return found;
}

// The same of a pair.
template <class T>
GLR_FUNC Boundary compare_pair(const EdgeGradientsParams<T>& p, const PixelPair& pair) {
  const int axis = pair.axis;
  Boundary found;
  if (pair.a < 0 || pair.b < 0) {
    found.kind = pair.a >= 0 ? kAOccludes : kBOccludes;
    return found;
  }
  ScreenPlane a, b;
  if (!plane_at(p, pair.image, pair.a, sample_at(p, 0, pair.x), sample_at(p, 1, pair.y), &a)) return found;
  const double bx = sample_at(p, 0, pair.x + !axis), by = sample_at(p, 1, pair.y + axis);
  if (!plane_at(p, pair.image, pair.b, bx, by, &b)) return found;
  return compare_depths(a.depth(), a.depth_slope(axis), b.depth(), b.depth_slope(axis));
}

// Where a surface that occludes another ends between two neighbours; one surface if it reaches the other's triangle.
template <class T>
GLR_FUNC void find_outline(const EdgeGradientsParams<T>& p, const PixelPair& pair, Boundary* found) {
  const bool from_b = found->kind == kBOccludes;
  const int32_t bx = pair.x + (from_b && !pair.axis), by = pair.y + (from_b && pair.axis);
  const double fx = sample_at(p, 0, bx), fy = sample_at(p, 1, by);
  const int32_t own = from_b ? pair.b : pair.a, other = from_b ? pair.a : pair.b;
  const Walk walked = walk(p, pair.image, own, other, fx, fy, pair.axis, from_b ? -1. : 1.);
  if (walked.end == kReached) found->kind = kOneSurface;
  if (found->kind == kOneSurface || found->kind == kIntersection) return;
  const bool ended = walked.end == kFold || walked.end == kOpenEdge;
  found->triangle = ended ? walked.triangle : own;
  double distance = walked.distance;
  if (walked.end != kFold) {
    // On a smooth surface the plane of the triangle has the outline's depth 2/3 pixels further, on average. Planes of
    // slivers, which lead far away, are followed less far.
    ScreenPlane plane;
    plane_at(p, pair.image, found->triangle, fx, fy, &plane);
    const double limit = 100. * shape_of(plane, pixel_size(p, 0), pixel_size(p, 1));
    distance = ended ? max(distance, min(0.5, limit)) : min(2. / 3, limit);
  }
  found->distance = from_b ? 1. - distance : distance;
}

// The pair of a pixel and its next one along an axis; false if both see the same.
template <class T>
GLR_FUNC bool load_pair(const EdgeGradientsParams<T>& p, int64_t image, int32_t x, int32_t y, int axis,
                        PixelPair* pair) {
  const int64_t pixel = (image * p.H + y) * p.W + x;
  *pair = {image, x, y, axis, triangle_at(p, pixel), triangle_at(p, pixel + (axis ? p.W : 1))};
  return pair->a != pair->b;
}

// Whether pixel (x, y) and its next one see one surface.
template <class T>
GLR_STEP bool is_one_surface(const EdgeGradientsParams<T>& p, int64_t image, int32_t x, int32_t y, int axis) {
  PixelPair pair;
  if (!load_pair(p, image, x, y, axis, &pair)) return true;
  Boundary found = compare_pair(p, pair);
  if (found.kind != kOneSurface) find_outline(p, pair, &found);
  return found.kind == kOneSurface;
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
GLR_FUNC Jump<T> jump_at(const EdgeGradientsParams<T>& p, const PixelPair& pair) {
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

// A ridge between two pixels of one triangle and two of another across which the colour jumps by more than twice what
// it changes on both sides; carried by A's triangle, where that ends.
template <class T>
GLR_FUNC bool find_crease(const EdgeGradientsParams<T>& p, const PixelPair& pair, Boundary* found, Jump<T>* jump) {
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
  ScreenPlane plane;
  if (!(across > T(4) * inside) ||
      !plane_at(p, pair.image, pair.a, sample_at(p, 0, pair.x), sample_at(p, 1, pair.y), &plane))
    return false;
  found->kind = kCrease, found->triangle = pair.a;
  found->distance = min(exit_of(plane, axis, 1.).distance, 1.);
  return true;
}

// Calls visit(vertex, d) with the derivative d of the boundary's place, in pixels along the pair's axis, with respect
// to x, y, z, w of each vertex.
template <class T, class Visit>
GLR_FUNC void for_each_derivative(const EdgeGradientsParams<T>& p, const PixelPair& pair, const Boundary& found,
                                  const Visit& visit) {
  const int axis = pair.axis;
  const double move = found.distance * pixel_size(p, axis);
  const double fx = sample_at(p, 0, pair.x) + (axis ? 0. : move), fy = sample_at(p, 1, pair.y) + (axis ? move : 0.);
  ScreenPlane plane;
  if (found.kind != kIntersection) {  // the point moves as its triangle does
    if (!plane_at(p, pair.image, found.triangle, fx, fy, &plane)) return;
    for (int k = 0; k < 3; ++k) {
      const double d = plane.value[k] / pixel_size(p, axis), dw = -d * (axis ? fy : fx);
      visit(p.tri[int64_t(found.triangle) * 3 + k], axis ? Vec4<double>{0., d, 0., dw} : Vec4<double>{d, 0., 0., dw});
    }
    return;
  }
  // The line z_A = z_B moves along its normal, the gradient of z_A - z_B; d z = sum lambda_k (dz_k - z_x dx_k - ...).
  ScreenPlane other;
  if (!plane_at(p, pair.image, pair.a, fx, fy, &plane) || !plane_at(p, pair.image, pair.b, fx, fy, &other)) return;
  const double nx = plane.depth_slope(0) - other.depth_slope(0), ny = plane.depth_slope(1) - other.depth_slope(1);
  const double along_axis = (axis ? ny : nx) / (nx * nx + ny * ny);
  for (int s = 0; s < 2; ++s) {
    const ScreenPlane& one = s ? other : plane;
    const double zx = one.depth_slope(0) / pixel_size(p, 0), zy = one.depth_slope(1) / pixel_size(p, 1);
    const double zw = zx * fx + zy * fy - one.depth();
    for (int k = 0; k < 3; ++k) {
      const double g = (s ? along_axis : -along_axis) * one.value[k];
      visit(p.tri[int64_t(s ? pair.b : pair.a) * 3 + k], Vec4<double>{-zx * g, -zy * g, g, g * zw});
    }
  }
}

// From what the depths of a pair say to its boundary; false if there is none.
template <class T>
GLR_FUNC bool find_boundary(const EdgeGradientsParams<T>& p, const PixelPair& pair, Boundary* found, Jump<T>* jump) {
  if (found->kind != kOneSurface) find_outline(p, pair, found);
  if (found->kind == kOneSurface) return find_crease(p, pair, found, jump);
  *jump = jump_at(p, pair);
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

// Adds the gradients of a boundary, d loss / d its place times d its place / d pos.
template <class T>
GLR_FUNC void boundary_bwd(const EdgeGradientsParams<T>& p, const PixelPair& pair, Boundary found) {
  const int axis = pair.axis;
  Jump<T> jump;
  if (!find_boundary(p, pair, &found, &jump)) return;
  const T* g = p.grad_out + ((pair.image * p.H + pair.y) * p.W + pair.x) * p.C;
  const int64_t next = axis ? p.W * p.C : p.C;
  T weight = T(0);
  for (int64_t c = 0; c < p.C; ++c) weight += (g[c] + g[c + next]) * jump(c);
  if (weight == 0) return;
  const double half = 0.5 * double(weight);
  const bool intersects = found.kind == kIntersection;
  for_each_derivative(p, pair, found, [&](int32_t vertex, const Vec4<double>& d) {
    double* target = p.grad_pos + pair.image * p.pos_stride + int64_t(vertex) * 4;
    if (axis == 0 || intersects) atomic_add(target, half * d.x);
    if (axis == 1 || intersects) atomic_add(target + 1, half * d.y);
    if (intersects) atomic_add(target + 2, half * d.z);
    atomic_add(target + 3, half * d.w);
  });
}

#ifdef GLR_WARP_SIZE

template <class T>
GLR_KERNEL edge_gradients_bwd(const EdgeGradientsParams<T>& p) {
  GLR_FOR_EACH_PIXEL(row, x, p.N * p.H, p.W) {
    const int64_t image = row / p.H;
    const int32_t y = int32_t(row - image * p.H);
    for (int axis = 0; axis < 2; ++axis) {
      PixelPair pair;
      if (id_differs(p, row, y, x, axis, 1) && load_pair(p, image, x, y, axis, &pair))
        boundary_bwd(p, pair, compare_pair(p, pair));
    }
  }
}

#else

// Most pairs that see different triangles see one surface: what tells is found once for every pixel, in rows.
template <class T>
GLR_KERNEL edge_gradients_bwd(const EdgeGradientsParams<T>& p) {
  for_each_differing_pair(
      p, [&](int64_t image, int32_t x, int32_t y, int axis, const PixelDepth& a, const PixelDepth& b) {
        Boundary found;
        if (a.triangle < 0 || b.triangle < 0)
          found.kind = a.triangle >= 0 ? kAOccludes : kBOccludes;
        else
          found = compare_depths(a.depth, axis ? a.slope_y : a.slope_x, b.depth, axis ? b.slope_y : b.slope_x);
        if (found.kind != kOneSurface || p.crease)
          boundary_bwd(p, PixelPair{image, x, y, axis, a.triangle, b.triangle}, found);
      });
}

#endif
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
      PixelPair pair;
      Boundary found;
      Jump<T> jump;
      if (!id_differs(p, row, y, x, axis, before ? -1 : 1) ||
          !load_pair(p, image, x - (before && !axis), y - (before && axis), axis, &pair))
        continue;
      found = compare_pair(p, pair);
      if (!find_boundary(p, pair, &found, &jump)) continue;
      double motion = 0;
      for_each_derivative(p, pair, found, [&](int32_t vertex, const Vec4<double>& d) {
        const Vec4<T> t = load4(p.tangent_pos + image * p.pos_stride + int64_t(vertex) * 4);
        motion += d.x * t.x + d.y * t.y + d.z * t.z + d.w * t.w;
      });
      for (int64_t c = 0; c < p.C; ++c) out[c] += T(0.5 * motion) * jump(c);
    }
  }
}
GLR_EXPORT(edge_gradients_jvp, EdgeGradientsParams)
