// Gradients of visibility: boundaries between the surfaces that two neighbouring pixels A, B (right of A, or above it)
// see move with the surface that ends there. Where a boundary moves by delta pixels from A towards B, box-filtered
// pixels change so that, g being the gradient of the image I,
//   dL / d delta = 1/2 <g_A + g_B, I_A - I_B>
// Horizontal pairs carry the x part and vertical pairs the y part of the flux of the boundary's motion. Everything is
// computed from planes that are linear on the screen, without a division by w: lambda_k, barycentrics over w, solve
//   sum lambda_k (x_k, y_k, w_k) = (f_x, f_y, 1)   at f in normalised device coordinates,   z/w = sum lambda_k z_k
// Source: in the line of Pidhorskyi et al., "Rasterized Edge Gradients", 2024; the divergence theorem; homogeneous
// rasterization (Olano and Greer 1997).
#include "common/crease_rows.cuh"
#include "common/pixel_walk.cuh"
#include "common/surface_pair.cuh"
#ifdef GLR_WARP_SIZE
#include "common/listed_pairs.cuh"
#endif

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
  int64_t* pairs;             // [2 N H W] GPU: what may be a boundary, in any order
  uint64_t* num_pairs;        // [1] GPU: how many, zeroed
  int64_t N, H, W, C, V, num_triangles;
  int64_t pos_stride;                           // elements from one image's positions to the next; 0: shared
  int64_t width_reciprocal, height_reciprocal;  // of W and H
  int64_t crease;                               // which jumps of colour within a surface count: a CreaseMode
};

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
  found->distance = distance;
}

// Whether pixel (x, y) and its next one see one surface without a crease.
template <class T>
GLR_STEP bool continues(const EdgeGradientsParams<T>& p, int64_t image, int32_t x, int32_t y, int axis) {
  PixelPair pair;
  if (!load_pair(p, image, x, y, axis, &pair)) return true;
  Boundary found = compare_pair(p, pair);
  if (found.kind != kOneSurface) find_outline(p, pair, &found);
  Jump<T> jump;
  return found.kind == kOneSurface && !find_crease(p, pair, &jump);
}

// The colours on both sides of an outline or intersection.
template <class T>
GLR_FUNC Jump<T> jump_at(const EdgeGradientsParams<T>& p, const PixelPair& pair) {
  const int axis = pair.axis;
  const int64_t next = (axis ? p.W : 1) * p.C;
  const int32_t x0 = pair.x - !axis, y0 = pair.y - axis, x1 = pair.x + !axis, y1 = pair.y + axis;
  Jump<T> jump = jump_between(p, pair);
  if (pair.a >= 0 && x0 >= 0 && y0 >= 0 && continues(p, pair.image, x0, y0, axis))
    jump.behind_a = jump.a - next, jump.step_a = T(2. / 3);
  if (pair.b >= 0 && (axis ? y1 + 1 < p.H : x1 + 1 < p.W) && continues(p, pair.image, x1, y1, axis))
    jump.behind_b = jump.b + next, jump.step_b = T(2. / 3);
  return jump;
}

// Calls visit(vertex, d) with the derivative d, times `share`, of the place of a triangle's point with respect to x, y,
// z, w of each vertex: `moved` pixels along the axis from (fx, fy), where the plane is known.
template <class T, class Visit>
GLR_FUNC void visit_point(const EdgeGradientsParams<T>& p, const ScreenPlane& plane, int32_t triangle, int axis,
                          double moved, double fx, double fy, double share, const Visit& visit) {
  const double size = pixel_size(p, axis), at = (axis ? fy : fx) + moved * size;
  for (int k = 0; k < 3; ++k) {
    const double d = share * (plane.value[k] + moved * plane.slope(axis, k)) / size, dw = -d * at;
    visit(p.tri[int64_t(triangle) * 3 + k], axis ? Vec4<double>{0., d, 0., dw} : Vec4<double>{d, 0., 0., dw});
  }
}

// A crease moves as the point of A's triangle where that ends, if B's begins there. Else triangles lie between them,
// and half of the jump moves with the point where B's ends towards A.
template <class T, class Visit>
GLR_FUNC void visit_crease(const EdgeGradientsParams<T>& p, const PixelPair& pair, const Visit& visit) {
  const int axis = pair.axis;
  double share = 1.;
  for (int s = 0; s < 2; ++s) {
    const double fx = sample_at(p, 0, pair.x + (s && !axis)), fy = sample_at(p, 1, pair.y + (s && axis));
    const int32_t triangle = s ? pair.b : pair.a;
    ScreenPlane plane;
    if (!plane_at(p, pair.image, triangle, fx, fy, &plane)) continue;
    const double direction = s ? -1. : 1.;
    const PlaneExit exit = exit_of(plane, axis, direction);
    const int32_t next = other_side(p.neighbours, side_opposite(triangle, exit.opposite));
    if (s == 0 && (next < 0 || next / 3 != pair.b)) share = 0.5;
    visit_point(p, plane, triangle, axis, direction * min(exit.distance, 1.), fx, fy, share, visit);
    if (share == 1.) return;
  }
}

// Calls visit(vertex, d) with the derivative d of the boundary's place, in pixels along the pair's axis, with respect
// to x, y, z, w of each vertex.
template <class T, class Visit>
GLR_FUNC void for_each_derivative(const EdgeGradientsParams<T>& p, const PixelPair& pair, const Boundary& found,
                                  const Visit& visit) {
  if (found.kind == kCrease) return visit_crease(p, pair, visit);
  const int axis = pair.axis;
  ScreenPlane plane;
  if (found.kind != kIntersection) {  // the point moves as its triangle does
    const bool from_b = found.kind == kBOccludes;
    const double fx = sample_at(p, 0, pair.x + (from_b && !axis)), fy = sample_at(p, 1, pair.y + (from_b && axis));
    if (plane_at(p, pair.image, found.triangle, fx, fy, &plane))
      visit_point(p, plane, found.triangle, axis, from_b ? -found.distance : found.distance, fx, fy, 1., visit);
    return;
  }
  const double move = found.distance * pixel_size(p, axis);
  const double fx = sample_at(p, 0, pair.x) + (axis ? 0. : move), fy = sample_at(p, 1, pair.y) + (axis ? move : 0.);
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
  if (found->kind != kOneSurface) {
    *jump = jump_at(p, pair);
    return true;
  }
  found->kind = kCrease;
  return find_crease(p, pair, jump);
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

// Most pairs that see different triangles see one surface without a crease. Few are left for the kernel below, which
// does much more for each.
template <class T>
GLR_KERNEL edge_gradients_find(const EdgeGradientsParams<T>& p) {
  list_pairs(p, [&](const PixelWalk& at, bool vertical) {
    const T* id = p.rast + at.index * 4 + 3;
    PixelPair pair;
    if (id[vertical ? 4 * p.W : 4] == id[0]) return false;
    if (!load_pair(p, at.image, int32_t(at.x), int32_t(at.y), vertical, &pair)) return false;
    Jump<T> jump;
    return find_crease(p, pair, &jump) || compare_pair(p, pair).kind != kOneSurface;
  });
}
GLR_EXPORT(edge_gradients_find, EdgeGradientsParams)

template <class T>
GLR_KERNEL edge_gradients_bwd(const EdgeGradientsParams<T>& p) {
  GLR_FOR_EACH(i, int64_t(*p.num_pairs)) {
    const ListedPair place = listed_pair(p, p.pairs[i]);
    PixelPair pair;
    if (load_pair(p, place.image, place.x, place.y, place.vertical, &pair))
      boundary_bwd(p, pair, compare_pair(p, pair));
  }
}

#else

// Most pairs that see different triangles see one surface without a crease: what tells is looked at in rows.
template <class T>
GLR_KERNEL edge_gradients_bwd(const EdgeGradientsParams<T>& p) {
  for_each_row_pairs(
      p, p.crease == kVisibleCreases,
      [&](int64_t image, int32_t y, int axis, const DepthRow& row, const DepthRow& next, RowPairs* pairs) {
        choose_pairs(p, image, y, axis, row, next, pairs, [&](const PixelPair& pair, int kind) {
          boundary_bwd(p, pair, kind == kIntersection ? compare_pair(p, pair) : Boundary{kind});
        });
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
      PixelPair pair = {};
      Boundary found;
      Jump<T> jump = {};
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
