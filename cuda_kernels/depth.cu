// Gradients of depth. A triangle's z/w = sum lambda_k z_k is a plane over the screen (common/screen_plane.cuh); at a
// fixed point of the screen
//   d (z/w) = sum lambda_k (dz_k - z_x dx_k - z_y dy_k - z_0 dw_k)
// with the plane's slopes z_x, z_y and its depth z_0 in the middle of the screen. Source: the quotient rule.
#include "common/block_sums.cuh"
#include "common/image_planes.cuh"
#include "common/pixel_runs.cuh"

template <class T>
struct DepthParams {
  const T* pos;          // [N or 1, V, 4] clip space
  const int32_t* tri;    // [T, 3]
  const int32_t* ids;    // [N, H, W, id_stride], triangle id in the first place, -1: none
  const T* grad_rast;    // [N, H, W, 4], whose third channel is that of z/w
  double* grad_pos;      // [N or 1, V, 4], zeroed
  const T* tangent_pos;  // [N or 1, V, 4]
  T* tangent_rast;       // [N, H, W, 4], to the third channel of which is added
  int64_t N, H, W, V, num_triangles;
  int64_t id_stride;   // int32 elements from one pixel's id to the next
  int64_t pos_stride;  // elements from one image's positions to the next; 0: shared
};

struct DepthIds {
  const int32_t* ids;
  int64_t stride;
  GLR_MEMBER int32_t operator()(int64_t pixel) const { return ids[pixel * stride]; }
};

// The plane of a triangle at a pixel; false if there is no such triangle.
template <class T>
GLR_FUNC bool plane_of(const DepthParams<T>& p, int32_t triangle, int64_t image, int32_t y, int32_t x, VertexIndices* t,
                       ScreenPlane* plane) {
  return load_triangle(p.tri, p.num_triangles, p.V, triangle, t) &&
         plane_at(p, image, triangle, sample_at(p, 0, x), sample_at(p, 1, y), plane);
}

// What a triangle's d (z/w) / dz_k is multiplied with for x, y and w.
struct DepthSlopes {
  double x, y, w;
};

template <class T>
GLR_FUNC DepthSlopes slopes_of(const DepthParams<T>& p, int32_t y, int32_t x, const ScreenPlane& plane) {
  const double column = double(x) + 0.5, line = double(y) + 0.5;
  const double sx = plane.depth_slope(0), sy = plane.depth_slope(1);  // per pixel
  const double middle =
      plane.depth() + sx * (0.5 * double(int32_t(p.W)) - column) + sy * (0.5 * double(int32_t(p.H)) - line);
  return {-0.5 * double(int32_t(p.W)) * sx, -0.5 * double(int32_t(p.H)) * sy, -middle};
}

// d (z/w) along the tangent of pos: at a pixel, and from it to the next one.
struct DepthTangent {
  double change, step;
};

template <class T>
GLR_FUNC DepthTangent depth_tangent(const DepthParams<T>& p, int64_t image, const VertexIndices& t,
                                    const DepthSlopes& slopes, const ScreenPlane& plane) {
  const int64_t index[3] = {t.v0, t.v1, t.v2};
  DepthTangent tangent = {0, 0};
  for (int k = 0; k < 3; ++k) {
    const Vec4<T> d = load4(p.tangent_pos + image * p.pos_stride + index[k] * 4);
    const double moved = double(d.z) + slopes.x * double(d.x) + slopes.y * double(d.y) + slopes.w * double(d.w);
    tangent.change += plane.value[k] * moved, tangent.step += plane.along[0][k] * moved;
  }
  return tangent;
}

#ifdef GLR_WARP_SIZE

template <class T>
GLR_KERNEL depth_bwd(const DepthParams<T>& p) {
  const DepthIds triangle_at{p.ids, p.id_stride};
  GLR_FOR_EACH_BLOCK_OF(p, pixel) {
    int32_t triangle = pixel.exists() ? triangle_at(pixel.index) : -1;
    VertexIndices t = {0, 0, 0};
    ScreenPlane plane;
    double values[12] = {};
    if (plane_of(p, triangle, pixel.image, pixel.y, pixel.x, &t, &plane)) {
      const DepthSlopes slopes = slopes_of(p, pixel.y, pixel.x, plane);
      const double grad = double(p.grad_rast[pixel.index * 4 + 2]);
      for (int k = 0; k < 3; ++k) {
        const double g = plane.value[k] * grad;
        values[k * 4] = slopes.x * g, values[k * 4 + 1] = slopes.y * g;
        values[k * 4 + 2] = g, values[k * 4 + 3] = slopes.w * g;
      }
    } else {
      triangle = -1;
    }
    double* target = p.grad_pos + pixel.image * p.pos_stride;
    double *v0 = target + int64_t(t.v0) * 4, *v1 = target + int64_t(t.v1) * 4, *v2 = target + int64_t(t.v2) * 4;
    double* const targets[] = {v0, v0 + 1, v0 + 2, v0 + 3, v1, v1 + 1, v1 + 2, v1 + 3, v2, v2 + 1, v2 + 2, v2 + 3};
    add_over_block(block_run(pixel, triangle, triangle_at), targets, values);
  }
}

template <class T>
GLR_KERNEL depth_jvp(const DepthParams<T>& p) {
  const DepthIds triangle_at{p.ids, p.id_stride};
  GLR_FOR_EACH_PIXEL_OF(p, pixel) {
    VertexIndices t;
    ScreenPlane plane;
    if (!plane_of(p, triangle_at(pixel.index), pixel.image, pixel.y, pixel.x, &t, &plane)) continue;
    T* tangent = p.tangent_rast + pixel.index * 4 + 2;
    const DepthSlopes slopes = slopes_of(p, pixel.y, pixel.x, plane);
    *tangent += T(depth_tangent(p, pixel.image, t, slopes, plane).change);
  }
}

#else
template <class T>
GLR_KERNEL depth_bwd(const DepthParams<T>& p) {
  const DepthIds triangle_at{p.ids, p.id_stride};
  GLR_FOR_EACH_RUN(run, p.N * p.H, p.W, triangle_at) {
    const int64_t image = run.row / p.H;
    const int32_t y = int32_t(run.row % p.H), x = int32_t(run.begin - run.row * p.W);
    VertexIndices t;
    ScreenPlane plane;
    if (!plane_of(p, run.triangle, image, y, x, &t, &plane)) continue;
    const DepthSlopes slopes = slopes_of(p, y, x, plane);
    double sum = 0, moment = 0;  // of the gradients, and times the distance from the run's first pixel
    for (int64_t i = run.begin; i < run.end; ++i) {
      const double g = double(p.grad_rast[i * 4 + 2]);
      sum += g, moment += g * double(i - run.begin);
    }
    const int64_t index[3] = {t.v0, t.v1, t.v2};
    for (int k = 0; k < 3; ++k) {
      const double g = plane.value[k] * sum + plane.along[0][k] * moment;
      double* target = p.grad_pos + image * p.pos_stride + index[k] * 4;
      atomic_add(target, slopes.x * g), atomic_add(target + 1, slopes.y * g);
      atomic_add(target + 2, g), atomic_add(target + 3, slopes.w * g);
    }
  }
}

template <class T>
GLR_KERNEL depth_jvp(const DepthParams<T>& p) {
  const DepthIds triangle_at{p.ids, p.id_stride};
  GLR_FOR_EACH_RUN(run, p.N * p.H, p.W, triangle_at) {
    const int64_t image = run.row / p.H;
    const int32_t y = int32_t(run.row % p.H), x = int32_t(run.begin - run.row * p.W);
    VertexIndices t;
    ScreenPlane plane;
    if (!plane_of(p, run.triangle, image, y, x, &t, &plane)) continue;
    const DepthTangent tangent = depth_tangent(p, image, t, slopes_of(p, y, x, plane), plane);
    for (int64_t i = run.begin; i < run.end; ++i)
      p.tangent_rast[i * 4 + 2] += T(tangent.change + tangent.step * double(i - run.begin));
  }
}

#endif

GLR_EXPORT(depth_bwd, DepthParams)
GLR_EXPORT(depth_jvp, DepthParams)
