// From triangle ids to rast and rast_db: perspective-correct barycentrics, depth, and their screen-space derivatives,
// all from the unclipped homogeneous positions, by the formulas of common/barycentric_terms.cuh. On the host a row of
// pixels at a time, triangles and pixels side by side: common/barycentric_rows.cuh, barycentric_tangent_rows.cuh.
#include "common/barycentric_rows.cuh"
#include "common/barycentric_tangent_rows.cuh"
#include "common/block_sums.cuh"
#include "common/pixel_runs.cuh"
#include "common/triangle_id.cuh"
#include "common/vertex_sums.cuh"

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
  const T* tangent_pos;   // [N or 1, V, 4]
  T* tangent_rast;        // [N, H, W, 4]
  T* tangent_rast_db;     // [N, H, W, 4], null if not wanted
  int64_t N, H, W, V, num_triangles;
  int64_t id_stride;   // int32 elements from one pixel's id to the next
  int64_t pos_stride;  // elements from one image's positions to the next; 0: shared
};

struct VisibleTriangle {
  const int32_t* ids;
  int64_t stride;
  GLR_MEMBER int32_t operator()(int64_t pixel) const { return ids[pixel * stride]; }
};

#ifdef GLR_WARP_SIZE

// A pixel, with the depth limits of its own sample.
template <class T>
GLR_FUNC void barycentrics_pixel(const BarycentricsParams<T>& p, const PixelWalk& at, int32_t triangle,
                                 const VertexIndices& t, const SampleAxis& x_axis, const SampleAxis& y_axis) {
  const Corners c = load_corners(p.pos + at.image * p.pos_stride, t);
  const EdgeTerms e = edge_terms(c, x_axis(0), y_axis(at.y));
  const RowTerms<double> terms = row_terms(c, e, x_axis.step, y_axis.step);
  const double x = double(at.x);
  const DepthLimits limits = row_depth_limits(c.z, c.w, lies_beside(c, e, x_axis.step, x, x + 1.));
  T id;
  encode_triangle(triangle, &id);
  const auto round = [](double value) { return T(value); };
  const auto widen = [](T value) { return double(value); };
  const PixelValues<T> b = pixel_values<T>(terms, limits.nearest, limits.farthest, x, round, widen);
  store4(p.rast + at.index * 4, {b.u, b.v, b.depth, id});
  if (p.rast_db) store4(p.rast_db + at.index * 4, {b.u_x, b.u_y, b.v_x, b.v_y});
}

template <class T>
GLR_KERNEL barycentrics_fwd(const BarycentricsParams<T>& p) {
  const VisibleTriangle triangle_at{p.ids, p.id_stride};
  const SampleAxis x_axis(p.W), y_axis(p.H);
  GLR_FOR_EACH_PIXEL_OF(p, pixel) {
    const int32_t triangle = triangle_at(pixel.index);
    VertexIndices t;
    if (load_triangle(p.tri, p.num_triangles, p.V, triangle, &t)) {
      barycentrics_pixel(p, pixel, triangle, t, x_axis, y_axis);
      continue;
    }
    store4(p.rast + pixel.index * 4, {0, 0, 0, 0});
    if (p.rast_db) store4(p.rast_db + pixel.index * 4, {0, 0, 0, 0});
  }
}
#else

// Calls visit(triangle_at) with what tells the id at each pixel of a row; ids that lie side by side are a case of their
// own.
template <class T, class Visit>
GLR_FUNC void with_ids(const BarycentricsParams<T>& p, int64_t row, const Visit& visit) {
  const int32_t* ids = p.ids + row * p.W * p.id_stride;
  const int64_t stride = p.id_stride;
  if (stride == 1) {
    visit([ids](int64_t x) { return ids[x]; });
  } else {
    visit([ids, stride](int64_t x) { return ids[x * stride]; });
  }
}

template <class T>
GLR_KERNEL barycentrics_fwd(const BarycentricsParams<T>& p) {
  const SampleAxis x_axis(p.W), y_axis(p.H);
  GLR_FOR_EACH(row, p.N * p.H) {
    const BarycentricRow<T> target = {p.pos + row / p.H * p.pos_stride,
                                      p.tri,
                                      p.num_triangles,
                                      p.V,
                                      p.rast + row * p.W * 4,
                                      p.rast_db ? p.rast_db + row * p.W * 4 : nullptr};
    with_ids(p, row,
             [&](const auto& triangle_at) { barycentrics_row(target, x_axis, y_axis, row % p.H, triangle_at); });
  }
}

#endif

GLR_EXPORT(barycentrics_fwd, BarycentricsParams)

// Gradients of one vertex, summed over a run; z receives none. V here and below: double or, on the host, several.
template <class V>
struct VertexGradient {
  V x = V{}, y = V{}, w = V{};
};

// With respect to a value that is linear on the screen, and to its change along fx and fy.
template <class V>
struct LinearGradient {
  V value = V{}, x = V{}, y = V{};
};

template <class V>
GLR_FUNC LinearGradient<V> operator+(const LinearGradient<V>& a, const LinearGradient<V>& b) {
  return {a.value + b.value, a.x + b.x, a.y + b.y};
}

// a_i = q_j x q_k and its derivatives ax, ay along fx, fy: d/d(q_j, q_k, w_j, w_k), added to the vertices together with
// d q / d(x, y, w) = (1, 1, -f).
template <class V>
GLR_FUNC void cross_bwd(const CornersOf<V>& c, const EdgeTermsOf<V>& e, int j, int k, V fx, double fy,
                        const LinearGradient<V>& g, VertexGradient<V> grad[3]) {
  const V gjx = g.value * e.qy[k] - g.y * c.w[k], gjy = g.x * c.w[k] - g.value * e.qx[k];
  const V gkx = g.y * c.w[j] - g.value * e.qy[j], gky = g.value * e.qx[j] - g.x * c.w[j];
  grad[j].x += gjx, grad[j].y += gjy, grad[j].w += g.y * e.qx[k] - g.x * e.qy[k] - fx * gjx - fy * gjy;
  grad[k].x += gkx, grad[k].y += gky, grad[k].w += g.x * e.qy[j] - g.y * e.qx[j] - fx * gkx - fy * gky;
}

// d (u, v, rast_db) / d (a_0, a_1, S) summed over a run, at its first sample. The clamps count as identity.
template <class V>
struct RunGradient {
  LinearGradient<V> a0, a1, S;
};

// Gradients of what a pixel shows.
template <class V>
struct PixelGradient {
  V u, v, u_x, u_y, v_x, v_y;
};

// Adds those of a pixel x to the right of the run's first sample. `has_db`: whether there are any of rast_db.
template <class V>
GLR_FUNC void pixel_bwd(const EdgeTermsOf<V>& e, V noise, double step_x, double step_y, V x, const PixelGradient<V>& g,
                        bool has_db, RunGradient<V>* sum) {
  const V inverse_s = inverse_of_S(e.S + e.Sx * x, noise);
  const V u = (e.a[0] + e.ax[0] * x) * inverse_s, v = (e.a[1] + e.ax[1] * x) * inverse_s;
  V gu = g.u, gv = g.v, numerators = V{};
  if (has_db) {
    // With respect to the numerators of rast_db.
    const V gux = g.u_x * step_x * inverse_s, guy = g.u_y * step_y * inverse_s;
    const V gvx = g.v_x * step_x * inverse_s, gvy = g.v_y * step_y * inverse_s;
    numerators = gux * (e.ax[0] - u * e.Sx) + guy * (e.ay[0] - u * e.Sy) + gvx * (e.ax[1] - v * e.Sx) +
                 gvy * (e.ay[1] - v * e.Sy);
    gu -= gux * e.Sx + guy * e.Sy, gv -= gvx * e.Sx + gvy * e.Sy;
    sum->a0.x += gux, sum->a0.y += guy, sum->a1.x += gvx, sum->a1.y += gvy;
    sum->S.x -= gux * u + gvx * v, sum->S.y -= guy * u + gvy * v;
  }
  const V ga0 = gu * inverse_s, ga1 = gv * inverse_s, gS = -inverse_s * (numerators + gu * u + gv * v);
  sum->a0.value += ga0, sum->a0.x += ga0 * x;
  sum->a1.value += ga1, sum->a1.x += ga1 * x;
  sum->S.value += gS, sum->S.x += gS * x;
}

template <class V>
GLR_FUNC void run_bwd(const CornersOf<V>& c, const EdgeTermsOf<V>& e, V fx, double fy, const RunGradient<V>& g,
                      VertexGradient<V> grad[3]) {
  cross_bwd(c, e, 1, 2, fx, fy, g.a0 + g.S, grad);
  cross_bwd(c, e, 2, 0, fx, fy, g.a1 + g.S, grad);
  cross_bwd(c, e, 0, 1, fx, fy, g.S, grad);
}

// Short of T's infinity: positions near the least numbers of T have gradients beyond its largest.
template <class T, class V>
GLR_FUNC V finite_gradient(V value) {
  return sizeof(T) == 4 ? clamp(value, V{} - 0x1p100, V{} + 0x1p100) : value;
}

#ifdef GLR_WARP_SIZE

// What a pixel adds to x, y and w of its triangle's vertices.
template <class T>
GLR_FUNC void barycentrics_pixel_bwd(const BarycentricsParams<T>& p, const PixelWalk& at, const VertexIndices& t,
                                     const SampleAxis& x_axis, const SampleAxis& y_axis,
                                     VertexGradient<double> grad[3]) {
  const double fx = x_axis(at.x), fy = y_axis(at.y);
  const Corners c = load_corners(p.pos + at.image * p.pos_stride, t);
  const EdgeTerms e = edge_terms(c, fx, fy);
  Vec4<T> g = {0, 0, 0, 0}, g_db = g;
  if (p.grad_rast) g = load4(p.grad_rast + at.index * 4);
  if (p.grad_rast_db) g_db = load4(p.grad_rast_db + at.index * 4);
  RunGradient<double> sum;
  const PixelGradient<double> pixel = {g.x, g.y, g_db.x, g_db.y, g_db.z, g_db.w};
  pixel_bwd(e, noise_of_S<T>(c), x_axis.step, y_axis.step, 0., pixel, p.grad_rast_db != nullptr, &sum);
  run_bwd(c, e, fx, fy, sum, grad);
}

template <class T>
GLR_KERNEL barycentrics_bwd(const BarycentricsParams<T>& p) {
  const VisibleTriangle triangle_at{p.ids, p.id_stride};
  const SampleAxis x_axis(p.W), y_axis(p.H);
  GLR_FOR_EACH_BLOCK_OF(p, pixel) {
    int32_t triangle = pixel.exists() ? triangle_at(pixel.index) : -1;
    VertexIndices t = {0, 0, 0};
    VertexGradient<double> grad[3];
    if (load_triangle(p.tri, p.num_triangles, p.V, triangle, &t))
      barycentrics_pixel_bwd(p, pixel, t, x_axis, y_axis, grad);
    else
      triangle = -1;
    double* target = p.grad_pos + pixel.image * p.pos_stride;
    double *v0 = target + int64_t(t.v0) * 4, *v1 = target + int64_t(t.v1) * 4, *v2 = target + int64_t(t.v2) * 4;
    double* const targets[] = {v0, v0 + 1, v0 + 3, v1, v1 + 1, v1 + 3, v2, v2 + 1, v2 + 3};
    double values[9];
    for (int k = 0; k < 3; ++k) {
      values[k * 3] = finite_gradient<T>(grad[k].x), values[k * 3 + 1] = finite_gradient<T>(grad[k].y);
      values[k * 3 + 2] = finite_gradient<T>(grad[k].w);
    }
    add_over_block(block_run(pixel, triangle, triangle_at), targets, values);
  }
}

#else

constexpr int32_t kPart = 8;  // pixels of a run that one lane takes at most

// Gradients of pixel i of each of four parts of runs; none behind a part's end.
template <class T>
GLR_FUNC void load_gradients(const T* grad, const RowRun* parts, int32_t i, DoubleLanes inside, DoubleLanes out[4]) {
  using F = typename LanesOf<T>::Type;
  F g[kNumberLanes];
  for (int j = 0; j < kNumberLanes; ++j)
    g[j] = load_lanes<F>(grad + int64_t(min(parts[j].begin + i, parts[j].end - 1)) * 4);
  transpose(g[0], g[1], g[2], g[3]);
  for (int k = 0; k < 4; ++k) out[k] = inside > double(i) ? widen_lanes(g[k]) : DoubleLanes{};
}

// Four parts of runs in one row, side by side; `count` of them are added.
template <class T>
GLR_STEP void barycentrics_parts_bwd(const BarycentricsParams<T>& p, int64_t row, const SampleAxis& x_axis,
                                     const SampleAxis& y_axis, const RowRun* parts, int32_t count, VertexSums* sums) {
  const int32_t* tri[kNumberLanes];
  DoubleLanes fx, inside;
  int32_t longest = 0;
  for (int32_t j = 0; j < kNumberLanes; ++j) {
    const int32_t length = parts[j].end - parts[j].begin;
    tri[j] = p.tri + int64_t(parts[j].triangle) * 3, fx[j] = x_axis(parts[j].begin), inside[j] = length;
    longest = max(longest, length);
  }
  const int64_t image = row / p.H, first_vertex = p.pos_stride ? image * p.V : 0;
  const double fy = y_axis(row % p.H);
  const CornersOf<DoubleLanes> c = gather_corners(p.pos + image * p.pos_stride, tri);
  const EdgeTermsOf<DoubleLanes> e = edge_terms(c, fx, fy);
  const DoubleLanes noise = noise_of_S<T>(c);
  RunGradient<DoubleLanes> sum;
  for (int32_t i = 0; i < longest; ++i) {
    const DoubleLanes last = inside - 1., at = all_lanes(double(i)), x = (at < last ? at : last) * x_axis.step;
    DoubleLanes g[4] = {}, g_db[4] = {};
    if (p.grad_rast) load_gradients(p.grad_rast + row * p.W * 4, parts, i, inside, g);
    if (p.grad_rast_db) load_gradients(p.grad_rast_db + row * p.W * 4, parts, i, inside, g_db);
    const PixelGradient<DoubleLanes> pixel = {g[0], g[1], g_db[0], g_db[1], g_db[2], g_db[3]};
    pixel_bwd(e, noise, x_axis.step, y_axis.step, x, pixel, p.grad_rast_db != nullptr, &sum);
  }
  VertexGradient<DoubleLanes> grad[3];
  run_bwd(c, e, fx, fy, sum, grad);
  for (int k = 0; k < 3; ++k) {
    DoubleLanes lane[4] = {
        finite_gradient<T>(grad[k].x), finite_gradient<T>(grad[k].y), {}, finite_gradient<T>(grad[k].w)};
    transpose(lane[0], lane[1], lane[2], lane[3]);
    for (int32_t j = 0; j < count; ++j) sums->add(first_vertex + tri[j][k], 0, lane[j]);
  }
}

// Starts to bring what belongs to the runs' pixels into the cache: `values` are [W, 4].
template <class T>
GLR_FUNC void prefetch_runs(const T* values, const RowRun* runs, int32_t count) {
  constexpr int32_t pixels_of_line = 16 / sizeof(T);
  for (int32_t r = 0; r < count; ++r)
    for (int32_t x = runs[r].begin; runs[r].triangle >= 0 && x < runs[r].end; x += pixels_of_line)
      prefetch<false>(values + x * 4);
}

template <class T>
GLR_STEP void barycentrics_row_bwd(const BarycentricsParams<T>& p, int64_t row, VertexSums* sums) {
  const SampleAxis x_axis(p.W), y_axis(p.H);
  const VisibleTriangle triangle_at{p.ids + row * p.W * p.id_stride, p.id_stride};
  const BarycentricRow<T> mesh = {nullptr, p.tri, p.num_triangles, p.V, nullptr, nullptr};
  const int32_t W = int32_t(p.W);
  RowRun runs[kRuns], parts[kNumberLanes];
  int32_t num_parts = 0;
  for (int32_t begin = 0; begin < W;) {
    const int32_t count = find_runs(mesh, begin, W, triangle_at, runs);
    for (const T* grad : {p.grad_rast, p.grad_rast_db})
      if (grad) prefetch_runs(grad + row * p.W * 4, runs, count);
    for (int32_t r = 0; r < count; ++r) {
      for (int32_t x = runs[r].begin; runs[r].triangle >= 0 && x < runs[r].end; x += kPart) {
        parts[num_parts++] = {x, min(x + kPart, runs[r].end), runs[r].triangle};
        if (num_parts < kNumberLanes) continue;
        barycentrics_parts_bwd(p, row, x_axis, y_axis, parts, num_parts, sums);
        num_parts = 0;
      }
    }
    begin = runs[count - 1].end;
  }
  if (num_parts == 0) return;
  for (int32_t j = num_parts; j < kNumberLanes; ++j) parts[j] = parts[0];
  barycentrics_parts_bwd(p, row, x_axis, y_axis, parts, num_parts, sums);
}

template <class T>
GLR_KERNEL barycentrics_bwd(const BarycentricsParams<T>& p) {
  const bool shared = p.pos_stride == 0;
  add_row_by_row(p.N, p.H, p.W, {p.grad_pos, (shared ? 1 : p.N) * p.V, 4}, shared,
                 [&](int64_t row, int32_t*, VertexSums* sums) { barycentrics_row_bwd(p, row, sums); });
}

#endif
GLR_EXPORT(barycentrics_bwd, BarycentricsParams)

#ifdef GLR_WARP_SIZE

template <class T>
GLR_KERNEL barycentrics_jvp(const BarycentricsParams<T>& p) {
  const VisibleTriangle triangle_at{p.ids, p.id_stride};
  const SampleAxis x_axis(p.W), y_axis(p.H);
  GLR_FOR_EACH_RUN(run, p.N * p.H, p.W, triangle_at) {
    VertexIndices t;
    PixelTangents<T> pixel = {0, 0, 0, 0, 0, 0};
    if (load_triangle(p.tri, p.num_triangles, p.V, run.triangle, &t)) {
      const int64_t image = run.row / p.H * p.pos_stride;
      const Corners c = load_corners(p.pos + image, t), tangent = load_corners(p.tangent_pos + image, t);
      const double fx = x_axis(run.begin - run.row * p.W), fy = y_axis(run.row % p.H);
      const TangentTerms<double> terms = tangent_terms<T>(c, tangent, fx, fy);
      pixel = pixel_jvp<T>(terms, x_axis.step, y_axis.step, 0., [](double value) { return T(value); });
    }
    store4(p.tangent_rast + run.begin * 4, {pixel.u, pixel.v, T(0), T(0)});
    if (p.tangent_rast_db) store4(p.tangent_rast_db + run.begin * 4, {pixel.u_x, pixel.u_y, pixel.v_x, pixel.v_y});
  }
}

#else

template <class T>
GLR_KERNEL barycentrics_jvp(const BarycentricsParams<T>& p) {
  const SampleAxis x_axis(p.W), y_axis(p.H);
  GLR_FOR_EACH(row, p.N * p.H) {
    const int64_t image = row / p.H * p.pos_stride;
    const BarycentricRow<T> target = {p.pos + image,
                                      p.tri,
                                      p.num_triangles,
                                      p.V,
                                      p.tangent_rast + row * p.W * 4,
                                      p.tangent_rast_db ? p.tangent_rast_db + row * p.W * 4 : nullptr};
    with_ids(p, row, [&](const auto& triangle_at) {
      barycentrics_row_jvp(target, p.tangent_pos + image, x_axis, y_axis, row % p.H, triangle_at);
    });
  }
}

#endif

GLR_EXPORT(barycentrics_jvp, BarycentricsParams)
