// Gradients of depth. A triangle's z/w = sum lambda_k z_k is a plane over the screen (common/screen_plane.cuh); at a
// fixed point of the screen
//   d (z/w) = sum lambda_k (dz_k - z_x dx_k - z_y dy_k - z_0 dw_k)
// with the plane's slopes z_x, z_y and its depth z_0 in the middle of the screen. Source: the quotient rule.
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

// The plane of a run's triangle at its first pixel; false if it shows none.
template <class T>
GLR_FUNC bool plane_of(const DepthParams<T>& p, const PixelRun& run, VertexIndices* t, ScreenPlane* plane) {
  if (!load_triangle(p.tri, p.num_triangles, p.V, run.triangle, t)) return false;
  const double fx = sample_at(p, 0, int32_t(run.begin - run.row * p.W)), fy = sample_at(p, 1, int32_t(run.row % p.H));
  return plane_at(p, run.row / p.H, run.triangle, fx, fy, plane);
}

// What a triangle's d (z/w) / dz_k is multiplied with for x, y and w.
struct DepthSlopes {
  double x, y, w;
};

template <class T>
GLR_FUNC DepthSlopes slopes_of(const DepthParams<T>& p, const PixelRun& run, const ScreenPlane& plane) {
  const double column = double(run.begin - run.row * p.W) + 0.5, line = double(run.row % p.H) + 0.5;
  const double sx = plane.depth_slope(0), sy = plane.depth_slope(1);  // per pixel
  const double middle = plane.depth() + sx * (0.5 * double(p.W) - column) + sy * (0.5 * double(p.H) - line);
  return {-0.5 * double(p.W) * sx, -0.5 * double(p.H) * sy, -middle};
}

template <class T>
GLR_KERNEL depth_bwd(const DepthParams<T>& p) {
  const DepthIds triangle_at{p.ids, p.id_stride};
  GLR_FOR_EACH_RUN(run, p.N * p.H, p.W, triangle_at) {
    VertexIndices t;
    ScreenPlane plane;
    if (!plane_of(p, run, &t, &plane)) continue;
    const DepthSlopes slopes = slopes_of(p, run, plane);
    double sum = 0, moment = 0;  // of the gradients, and times the distance from the run's first pixel
    for (int64_t i = run.begin; i < run.end; ++i) {
      const double g = double(p.grad_rast[i * 4 + 2]);
      sum += g, moment += g * double(i - run.begin);
    }
    const int64_t index[3] = {t.v0, t.v1, t.v2};
    const LaneRun lanes = lanes_of(run);
    for (int k = 0; k < 3; ++k) {
      const double g = plane.value[k] * sum + plane.along[0][k] * moment;
      double* target = p.grad_pos + run.row / p.H * p.pos_stride + index[k] * 4;
      add_over_lanes(lanes, target, slopes.x * g);
      add_over_lanes(lanes, target + 1, slopes.y * g);
      add_over_lanes(lanes, target + 2, g);
      add_over_lanes(lanes, target + 3, slopes.w * g);
    }
  }
}
GLR_EXPORT(depth_bwd, DepthParams)

template <class T>
GLR_KERNEL depth_jvp(const DepthParams<T>& p) {
  const DepthIds triangle_at{p.ids, p.id_stride};
  GLR_FOR_EACH_RUN(run, p.N * p.H, p.W, triangle_at) {
    VertexIndices t;
    ScreenPlane plane;
    if (!plane_of(p, run, &t, &plane)) continue;
    const DepthSlopes slopes = slopes_of(p, run, plane);
    const int64_t index[3] = {t.v0, t.v1, t.v2};
    double change = 0, step = 0;  // at the run's first pixel, and from one to the next
    for (int k = 0; k < 3; ++k) {
      const Vec4<T> d = load4(p.tangent_pos + run.row / p.H * p.pos_stride + index[k] * 4);
      const double moved = double(d.z) + slopes.x * double(d.x) + slopes.y * double(d.y) + slopes.w * double(d.w);
      change += plane.value[k] * moved, step += plane.along[0][k] * moved;
    }
    for (int64_t i = run.begin; i < run.end; ++i) p.tangent_rast[i * 4 + 2] += T(change + step * double(i - run.begin));
  }
}
GLR_EXPORT(depth_jvp, DepthParams)
