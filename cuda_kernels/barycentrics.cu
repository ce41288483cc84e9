// From triangle ids to rast and rast_db: perspective-correct barycentrics, depth, and their screen-space derivatives,
// all from the unclipped homogeneous positions.
//   q_i = (x_i - fx w_i, y_i - fy w_i),  a_0 = q_1 x q_2,  a_1 = q_2 x q_0,  a_2 = q_0 x q_1,  S = a_0 + a_1 + a_2
//   u = a_0 / S,  v = a_1 / S,  z/w = (sum a_i z_i) / (sum a_i w_i)
//   du/dX = (2 / W) (da_0/dfx - u dS/dfx) / S, and so on
// Source: homogeneous rasterization (Olano and Greer 1997); the quotient rule.
#include "common/pixel_runs.cuh"
#include "common/triangle_id.cuh"

template <class T>
struct BarycentricsParams {
  const T* pos;           // [N or 1, V, 4] clip space
  const int32_t* tri;     // [T, 3]
  const int32_t* ids;     // [N, H, W, id_stride], triangle id in the first place, -1: none
  T* rast;                // [N, H, W, 4]
  T* rast_db;             // [N, H, W, 4], null if not wanted
  const T* grad_rast;     // [N, H, W, 4], null if none
  const T* grad_rast_db;  // [N, H, W, 4], null if none
  double* grad_pos;       // [N or 1, V, 4], zeroed
  int64_t N, H, W, V, num_triangles;
  int64_t id_stride;   // int32 elements from one pixel's id to the next
  int64_t pos_stride;  // elements from one image's positions to the next; 0: shared
};
GLR_EXPORT_SIZE(BarycentricsParams)

struct VisibleTriangle {
  const int32_t* ids;
  int64_t stride;
  GLR_MEMBER int32_t operator()(int64_t pixel) const { return ids[pixel * stride]; }
};

template <class T>
using Vertex = Vec4<T>;

template <class T>
GLR_FUNC Vertex<T> load_vertex(const T* pos, int64_t index) {
  return load4(pos + index * 4);
}

// The edge terms of one sample: a_i and their derivatives with respect to the sample position (fx, fy).
template <class T>
struct EdgeTerms {
  T q0x, q0y, q1x, q1y, q2x, q2y;
  T a0, a1, a2, S;
  T a0x, a1x, a2x, Sx;
  T a0y, a1y, a2y, Sy;
};

template <class T>
GLR_FUNC EdgeTerms<T> edge_terms(const Vertex<T>& v0, const Vertex<T>& v1, const Vertex<T>& v2, T fx, T fy) {
  EdgeTerms<T> e;
  e.q0x = v0.x - fx * v0.w, e.q0y = v0.y - fy * v0.w;
  e.q1x = v1.x - fx * v1.w, e.q1y = v1.y - fy * v1.w;
  e.q2x = v2.x - fx * v2.w, e.q2y = v2.y - fy * v2.w;
  e.a0 = e.q1x * e.q2y - e.q1y * e.q2x;
  e.a1 = e.q2x * e.q0y - e.q2y * e.q0x;
  e.a2 = e.q0x * e.q1y - e.q0y * e.q1x;
  e.a0x = v2.w * e.q1y - v1.w * e.q2y, e.a0y = v1.w * e.q2x - v2.w * e.q1x;
  e.a1x = v0.w * e.q2y - v2.w * e.q0y, e.a1y = v2.w * e.q0x - v0.w * e.q2x;
  e.a2x = v1.w * e.q0y - v0.w * e.q1y, e.a2y = v0.w * e.q1x - v1.w * e.q0x;
  e.S = e.a0 + e.a1 + e.a2, e.Sx = e.a0x + e.a1x + e.a2x, e.Sy = e.a0y + e.a1y + e.a2y;
  return e;
}

template <class T>
GLR_FUNC T sample_position(int32_t pixel, T size_inverse) {
  return (T(pixel) + T(0.5)) * (T(2) * size_inverse) - T(1);
}

template <class T>
GLR_FUNC void barycentrics_run(const BarycentricsParams<T>& p, const PixelRun& run, const VertexIndices& t) {
  const T* pos = p.pos + run.row / p.H * p.pos_stride;
  const Vertex<T> v0 = load_vertex(pos, t.v0), v1 = load_vertex(pos, t.v1), v2 = load_vertex(pos, t.v2);
  const T inverse_w = T(1) / T(p.W), inverse_h = T(1) / T(p.H);
  const T fy = sample_position(int32_t(run.row % p.H), inverse_h);
  const int32_t x0 = int32_t(run.begin - run.row * p.W), count = int32_t(run.end - run.begin);
  T id;
  encode_triangle(run.triangle, &id);
  T* rast = p.rast + run.begin * 4;
  T* rast_db = p.rast_db ? p.rast_db + run.begin * 4 : nullptr;
  for (int32_t i = 0; i < count; ++i) {
    const EdgeTerms<T> e = edge_terms(v0, v1, v2, sample_position(x0 + i, inverse_w), fy);
    const T inverse_s = e.S != 0 ? T(1) / e.S : T(0);
    T u = clamp(e.a0 * inverse_s, T(0), T(1)), v = clamp(e.a1 * inverse_s, T(0), T(1));
    const T excess = T(1) / (u + v > 1 ? u + v : T(1));
    u *= excess, v *= excess;
    const T z = e.a0 * v0.z + e.a1 * v1.z + e.a2 * v2.z, w = e.a0 * v0.w + e.a1 * v1.w + e.a2 * v2.w;
    store4(rast + i * 4, {u, v, clamp(z / w, T(-1), T(1)), id});
    if (rast_db) {
      const T sx = T(2) * inverse_w * inverse_s, sy = T(2) * inverse_h * inverse_s;
      store4(rast_db + i * 4,
             {sx * (e.a0x - u * e.Sx), sy * (e.a0y - u * e.Sy), sx * (e.a1x - v * e.Sx), sy * (e.a1y - v * e.Sy)});
    }
  }
}

template <class T>
GLR_KERNEL barycentrics_fwd(const BarycentricsParams<T>& p) {
  const VisibleTriangle triangle_at{p.ids, p.id_stride};
  GLR_FOR_EACH_RUN(run, p.N * p.H, p.W, triangle_at) {
    VertexIndices t;
    if (load_triangle(p.tri, p.num_triangles, p.V, run.triangle, &t)) {
      barycentrics_run(p, run, t);
      continue;
    }
    for (int64_t i = run.begin; i < run.end; ++i) store4(p.rast + i * 4, {0, 0, 0, 0});
    if (p.rast_db)
      for (int64_t i = run.begin; i < run.end; ++i) store4(p.rast_db + i * 4, {0, 0, 0, 0});
  }
}
GLR_EXPORT(barycentrics_fwd, BarycentricsParams)

// Gradients of one vertex, summed over a run; z receives none.
template <class T>
struct VertexGradient {
  RunSum<T> x = 0, y = 0, w = 0;
};

// a = qj x qk and its derivatives ax, ay along fx, fy (see edge_terms): d/d(qj, qk, wj, wk), added to the vertices
// together with d q / d(x, y, w) = (1, 1, -f).
template <class T>
GLR_FUNC void cross_bwd(T qjx, T qjy, T wj, T qkx, T qky, T wk, T fx, T fy, T g, T gx, T gy, VertexGradient<T>* vj,
                        VertexGradient<T>* vk) {
  const T gjx = g * qky - gy * wk, gjy = gx * wk - g * qkx;
  const T gkx = gy * wj - g * qjy, gky = g * qjx - gx * wj;
  vj->x += gjx, vj->y += gjy, vj->w += gy * qkx - gx * qky - fx * gjx - fy * gjy;
  vk->x += gkx, vk->y += gky, vk->w += gx * qjy - gy * qjx - fx * gkx - fy * gky;
}

// d (u, v, rast_db) / d positions at one sample. S is kept away from zero; the clamps count as identity.
template <class T>
GLR_FUNC void barycentrics_sample_bwd(const Vertex<T> v[3], T fx, T fy, T scale_x, T scale_y, T gu, T gv, bool with_db,
                                      const Vec4<T>& g_db, VertexGradient<T> grad[3]) {
  const EdgeTerms<T> e = edge_terms(v[0], v[1], v[2], fx, fy);
  const T is = T(1) / (e.S + (e.S < 0 ? T(-1e-6) : T(1e-6)));
  const T bu = e.a0 * is, bv = e.a1 * is;
  T gSx = 0, gSy = 0, gux = 0, guy = 0, gvx = 0, gvy = 0, gS = 0;
  if (with_db) {
    gux = g_db.x * scale_x * is, guy = g_db.y * scale_y * is;  // with respect to the numerators of rast_db
    gvx = g_db.z * scale_x * is, gvy = g_db.w * scale_y * is;
    gSx = -gux * bu - gvx * bv, gSy = -guy * bu - gvy * bv;
    gS = -is * (gux * (e.a0x - bu * e.Sx) + guy * (e.a0y - bu * e.Sy) + gvx * (e.a1x - bv * e.Sx) +
                gvy * (e.a1y - bv * e.Sy));
    gu -= gux * e.Sx + guy * e.Sy, gv -= gvx * e.Sx + gvy * e.Sy;
  }
  gS -= (gu * bu + gv * bv) * is;
  cross_bwd(e.q1x, e.q1y, v[1].w, e.q2x, e.q2y, v[2].w, fx, fy, gS + gu * is, gSx + gux, gSy + guy, &grad[1], &grad[2]);
  cross_bwd(e.q2x, e.q2y, v[2].w, e.q0x, e.q0y, v[0].w, fx, fy, gS + gv * is, gSx + gvx, gSy + gvy, &grad[2], &grad[0]);
  cross_bwd(e.q0x, e.q0y, v[0].w, e.q1x, e.q1y, v[1].w, fx, fy, gS, gSx, gSy, &grad[0], &grad[1]);
}

template <class T>
GLR_KERNEL barycentrics_bwd(const BarycentricsParams<T>& p) {
  const T inverse_w = T(1) / T(p.W), inverse_h = T(1) / T(p.H);
  const VisibleTriangle triangle_at{p.ids, p.id_stride};
  GLR_FOR_EACH_RUN(run, p.N * p.H, p.W, triangle_at) {
    VertexIndices t;
    if (!load_triangle(p.tri, p.num_triangles, p.V, run.triangle, &t)) continue;
    const int64_t image = run.row / p.H * p.pos_stride;
    const T* pos = p.pos + image;
    const Vertex<T> v[3] = {load_vertex(pos, t.v0), load_vertex(pos, t.v1), load_vertex(pos, t.v2)};
    const T fy = sample_position(int32_t(run.row % p.H), inverse_h);
    VertexGradient<T> grad[3];
    for (int64_t i = run.begin; i < run.end; ++i) {
      const T fx = sample_position(int32_t(i - run.row * p.W), inverse_w);
      Vec4<T> g = {0, 0, 0, 0}, g_db = g;
      if (p.grad_rast) g = load4(p.grad_rast + i * 4);
      if (p.grad_rast_db) g_db = load4(p.grad_rast_db + i * 4);
      barycentrics_sample_bwd(v, fx, fy, T(2) * inverse_w, T(2) * inverse_h, g.x, g.y, p.grad_rast_db != nullptr, g_db,
                              grad);
    }
    const int64_t index[3] = {t.v0, t.v1, t.v2};
    const LaneRun lanes = lanes_of(run);
    for (int k = 0; k < 3; ++k) {
      double* target = p.grad_pos + image + index[k] * 4;
      add_over_lanes(lanes, target, grad[k].x);
      add_over_lanes(lanes, target + 1, grad[k].y);
      add_over_lanes(lanes, target + 3, grad[k].w);
    }
  }
}
GLR_EXPORT(barycentrics_bwd, BarycentricsParams)
