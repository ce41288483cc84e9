// Vertex attributes interpolated over the image with the barycentrics in rast, and their screen-space derivatives.
//   out = u A_0 + v A_1 + (1 - u - v) A_2,   dA/dX = du/dX (A_0 - A_2) + dv/dX (A_1 - A_2),   dA/dY likewise
// Source: barycentric interpolation; the chain rule.
#include "common/attribute_pixels.cuh"
#include "common/barycentric_rows.cuh"
#include "common/pixel_runs.cuh"
#include "common/rast_ids.cuh"
#include "common/triangle_id.cuh"
#include "common/vertex_sums.cuh"

template <class T>
struct InterpolateParams {
  const T* attr;              // [N or 1, V, A]
  const T* rast;              // [N, H, W, 4]
  const int32_t* tri;         // [T, 3]
  const T* rast_db;           // [N, H, W, 4], null without diff_attrs
  const int64_t* diff_attrs;  // [D], which attributes have derivatives; null: all, in order
  T* out;                     // [N, H, W, A]
  T* out_da;                  // [N, H, W, 2 D]
  const T* grad_out;          // [N, H, W, A], null if none
  const T* grad_out_da;       // [N, H, W, 2 D], null if none
  double* grad_attr;          // [N or 1, V, A], zeroed; null if not wanted
  T* grad_rast;               // [N, H, W, 4]; null if not wanted
  T* grad_rast_db;            // [N, H, W, 4]; null if not wanted
  const T* tangent_attr;      // [N or 1, V, A], null if none
  const T* tangent_rast;      // [N, H, W, 4], null if none
  const T* tangent_rast_db;   // [N, H, W, 4], null if none
  T* tangent_out;             // [N, H, W, A]
  T* tangent_out_da;          // [N, H, W, 2 D]
  int64_t N, H, W, V, A, num_triangles, num_diff_attrs;
  int64_t attr_stride;  // elements from one image's attributes to the next; 0: shared
};

#ifdef GLR_WARP_SIZE

template <class T>
GLR_KERNEL interpolate_fwd(const InterpolateParams<T>& p) {
  using V = Attributes<T>;
  const int64_t A = kAttributes > 0 ? kAttributes : p.A, D = num_derivatives(p);
  GLR_FOR_EACH_PIXEL_OF(p, pixel) {
    const Vec4<T> r = load4(p.rast + pixel.index * 4);
    const CornerOffsets offsets = corner_offsets(p, pixel.image, decode_triangle(r.w));
    const T w = T(1) - r.x - r.y;
    GLR_SIMD_CHANNELS(kAttributes)
    for (int64_t a = 0; a < A; a += channels_in<V>) {
      V value{};
      if (offsets.exist) {
        const CornerValues<V> c = corner_values<V>(p.attr, offsets, a);
        value = r.x * c.a0 + r.y * c.a1 + w * c.a2;
      }
      store(p.out + pixel.index * A + a, value);
    }
    if (offsets.exist)
      interpolate_da_pixel(p, pixel.index, offsets);
    else
      fill_zero(p.out_da + pixel.index * D * 2, D * 2);
  }
}

template <class T>
GLR_KERNEL interpolate_jvp(const InterpolateParams<T>& p) {
  const int64_t A = kAttributes > 0 ? kAttributes : p.A, D = num_derivatives(p);
  GLR_FOR_EACH_PIXEL_OF(p, pixel) {
    const CornerOffsets offsets = corner_offsets(p, pixel.image, decode_triangle(load4(p.rast + pixel.index * 4).w));
    if (offsets.exist) {
      interpolate_pixel_jvp(p, pixel.index, offsets);
      interpolate_da_pixel_jvp(p, pixel.index, offsets);
    } else {
      fill_zero(p.tangent_out + pixel.index * A, A);
      fill_zero(p.tangent_out_da + pixel.index * D * 2, D * 2);
    }
  }
}

template <class T>
GLR_KERNEL interpolate_bwd(const InterpolateParams<T>& p) {
  const RastTriangle<T> triangle_at{p.rast};
  GLR_FOR_EACH_BLOCK_OF(p, pixel) {
    const int32_t triangle = pixel.exists() ? triangle_at(pixel.index) : -1;
    const CornerOffsets offsets = corner_offsets(p, pixel.image, triangle);
    if (pixel.exists()) interpolate_rast_bwd(p, pixel.index, offsets);
    if (!p.grad_attr) continue;
    const BlockRun run = block_run(pixel, offsets.exist ? triangle : -1, triangle_at);
    for (int64_t a = 0; p.grad_out && a < p.A; a += kAdded) add_to_attributes(p, pixel.index, offsets, run, a);
    for (int64_t d = 0; p.grad_out_da && d < num_derivatives(p); ++d)
      add_to_attribute_da(p, pixel.index, offsets, run, d);
  }
}

#else

template <class T>
struct RastTriangle {
  const T* rast;
  GLR_MEMBER int32_t operator()(int64_t pixel) const { return decode_triangle(load4(rast + pixel * 4).w); }
};

template <class T>
struct CornerAttributes {
  const T *a0, *a1, *a2;  // [A] each
};

// Attributes of vertices, which are counted over all images.
template <class T>
GLR_FUNC CornerAttributes<T> attributes_of(const InterpolateParams<T>& p, const T* attr, const int64_t vertex[3]) {
  return {attr + vertex[0] * p.A, attr + vertex[1] * p.A, attr + vertex[2] * p.A};
}

// The vertices of a run's triangle and their attributes; false if the run shows none (or one that does not exist).
template <class T>
GLR_FUNC bool corners_of(const InterpolateParams<T>& p, const PixelRun& run, CornerAttributes<T>* corners,
                         int64_t vertex[3]) {
  VertexIndices v;
  if (!load_triangle(p.tri, p.num_triangles, p.V, run.triangle, &v)) return false;
  const int64_t first = p.attr_stride ? run.row / p.H * p.V : 0;
  vertex[0] = first + v.v0, vertex[1] = first + v.v1, vertex[2] = first + v.v2;
  *corners = attributes_of(p, p.attr, vertex);
  return true;
}

template <class T>
GLR_FUNC void fill_zero(T* values, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) values[i] = T(0);
}

// A attributes of the pixels of one run; with K > 0, A is known to the compiler.
template <int K, class T>
GLR_FUNC void interpolate_run(const InterpolateParams<T>& p, const PixelRun& run, const CornerAttributes<T>& c) {
  const int64_t A = K > 0 ? K : p.A;
  for (int64_t i = run.begin; i < run.end; ++i) {
    const Vec4<T> r = load4(p.rast + i * 4);
    const T w = T(1) - r.x - r.y;
    T value[K > 0 ? K : 1];  // all loads before the first store: the compiler must take them for dependent otherwise
    for (int64_t a = 0; a < A; ++a) {
      T& v = value[K > 0 ? a : 0];
      v = r.x * c.a0[a] + r.y * c.a1[a] + w * c.a2[a];
      if (K == 0) p.out[i * A + a] = v;
    }
    for (int k = 0; k < K; ++k) p.out[i * K + k] = value[k];
  }
}

template <class T>
GLR_FUNC void interpolate_da_run(const InterpolateParams<T>& p, const PixelRun& run, const CornerAttributes<T>& c) {
  const int64_t D = p.num_diff_attrs;
  for (int64_t i = run.begin; i < run.end; ++i) {
    if (D == 0) return;
    const Vec4<T> db = load4(p.rast_db + i * 4);
    for (int64_t d = 0; d < D; ++d) {
      const int64_t a = p.diff_attrs ? p.diff_attrs[d] : d;
      const T e0 = c.a0[a] - c.a2[a], e1 = c.a1[a] - c.a2[a];
      p.out_da[(i * D + d) * 2] = db.x * e0 + db.z * e1;
      p.out_da[(i * D + d) * 2 + 1] = db.y * e0 + db.w * e1;
    }
  }
}

template <class T>
GLR_KERNEL interpolate_fwd(const InterpolateParams<T>& p) {
  GLR_FOR_EACH_RUN(run, p.N * p.H, p.W, RastTriangle<T>{p.rast}) {
    CornerAttributes<T> c = {};
    int64_t vertex[3];
    if (!corners_of(p, run, &c, vertex)) {
      fill_zero(p.out, run.begin * p.A, run.end * p.A);
      fill_zero(p.out_da, run.begin * p.num_diff_attrs * 2, run.end * p.num_diff_attrs * 2);
      continue;
    }
    switch (p.A) {
      case 1:
        interpolate_run<1>(p, run, c);
        break;
      case 2:
        interpolate_run<2>(p, run, c);
        break;
      case 3:
        interpolate_run<3>(p, run, c);
        break;
      case 4:
        interpolate_run<4>(p, run, c);
        break;
      default:
        interpolate_run<0>(p, run, c);
    }
    interpolate_da_run(p, run, c);
  }
}
// d out along the tangents of rast and attr.
template <int K, class T>
GLR_FUNC void interpolate_run_jvp(const InterpolateParams<T>& p, const PixelRun& run, const CornerAttributes<T>& c,
                                  const CornerAttributes<T>& tangent) {
  const int64_t A = K > 0 ? K : p.A;
  for (int64_t i = run.begin; i < run.end; ++i) {
    Vec4<T> r = {0, 0, 0, 0}, tr = r;
    if (p.tangent_attr) r = load4(p.rast + i * 4);
    if (p.tangent_rast) tr = load4(p.tangent_rast + i * 4);
    const T w = T(1) - r.x - r.y;
    T value[K > 0 ? K : 1];
    for (int64_t a = 0; a < A; ++a) {
      T& v = value[K > 0 ? a : 0];
      v = tr.x * (c.a0[a] - c.a2[a]) + tr.y * (c.a1[a] - c.a2[a]);
      if (p.tangent_attr) v += r.x * tangent.a0[a] + r.y * tangent.a1[a] + w * tangent.a2[a];
      if (K == 0) p.tangent_out[i * A + a] = v;
    }
    for (int k = 0; k < K; ++k) p.tangent_out[i * K + k] = value[k];
  }
}

// d out_da along the tangents of rast_db and attr.
template <class T>
GLR_FUNC void interpolate_da_run_jvp(const InterpolateParams<T>& p, const PixelRun& run, const CornerAttributes<T>& c,
                                     const CornerAttributes<T>& tangent) {
  const int64_t D = p.num_diff_attrs;
  for (int64_t i = run.begin; D > 0 && i < run.end; ++i) {
    Vec4<T> db = {0, 0, 0, 0}, tdb = db;
    if (p.tangent_attr) db = load4(p.rast_db + i * 4);
    if (p.tangent_rast_db) tdb = load4(p.tangent_rast_db + i * 4);
    for (int64_t d = 0; d < D; ++d) {
      const int64_t a = p.diff_attrs ? p.diff_attrs[d] : d;
      const T e0 = c.a0[a] - c.a2[a], e1 = c.a1[a] - c.a2[a];
      T along_x = tdb.x * e0 + tdb.z * e1, along_y = tdb.y * e0 + tdb.w * e1;
      if (p.tangent_attr) {
        const T t0 = tangent.a0[a] - tangent.a2[a], t1 = tangent.a1[a] - tangent.a2[a];
        along_x += db.x * t0 + db.z * t1, along_y += db.y * t0 + db.w * t1;
      }
      p.tangent_out_da[(i * D + d) * 2] = along_x, p.tangent_out_da[(i * D + d) * 2 + 1] = along_y;
    }
  }
}

template <class T>
GLR_KERNEL interpolate_jvp(const InterpolateParams<T>& p) {
  GLR_FOR_EACH_RUN(run, p.N * p.H, p.W, RastTriangle<T>{p.rast}) {
    CornerAttributes<T> c = {}, tangent = {};
    int64_t vertex[3];
    if (!corners_of(p, run, &c, vertex)) {
      fill_zero(p.tangent_out, run.begin * p.A, run.end * p.A);
      fill_zero(p.tangent_out_da, run.begin * p.num_diff_attrs * 2, run.end * p.num_diff_attrs * 2);
      continue;
    }
    if (p.tangent_attr) tangent = attributes_of(p, p.tangent_attr, vertex);
    switch (p.A) {
      case 1:
        interpolate_run_jvp<1>(p, run, c, tangent);
        break;
      case 2:
        interpolate_run_jvp<2>(p, run, c, tangent);
        break;
      case 3:
        interpolate_run_jvp<3>(p, run, c, tangent);
        break;
      case 4:
        interpolate_run_jvp<4>(p, run, c, tangent);
        break;
      default:
        interpolate_run_jvp<0>(p, run, c, tangent);
    }
    interpolate_da_run_jvp(p, run, c, tangent);
  }
}

// d out / d (u, v): the differences of the corners' attributes.
template <class T>
GLR_FUNC void interpolate_rast_bwd(const InterpolateParams<T>& p, int64_t i, const CornerAttributes<T>& c) {
  T gu = 0, gv = 0;
  for (int64_t a = 0; p.grad_out && a < p.A; ++a) {
    const T g = p.grad_out[i * p.A + a];
    gu += g * (c.a0[a] - c.a2[a]);
    gv += g * (c.a1[a] - c.a2[a]);
  }
  store4(p.grad_rast + i * 4, {gu, gv, T(0), T(0)});
}

// d out_da / d rast_db: the same.
template <class T>
GLR_FUNC void interpolate_rast_db_bwd(const InterpolateParams<T>& p, int64_t i, const CornerAttributes<T>& c) {
  const int64_t D = p.num_diff_attrs;
  Vec4<T> g = {0, 0, 0, 0};
  for (int64_t d = 0; p.grad_out_da && d < D; ++d) {
    const int64_t a = p.diff_attrs ? p.diff_attrs[d] : d;
    const T gx = p.grad_out_da[(i * D + d) * 2], gy = p.grad_out_da[(i * D + d) * 2 + 1];
    const T e0 = c.a0[a] - c.a2[a], e1 = c.a1[a] - c.a2[a];
    g.x += gx * e0, g.y += gy * e0, g.z += gx * e1, g.w += gy * e1;
  }
  store4(p.grad_rast_db + i * 4, g);
}

// d out / d attr of kNumberLanes attributes from a on, `count` of which there are.
template <class T>
GLR_FUNC void interpolate_columns_bwd(const InterpolateParams<T>& p, const PixelRun& run, const int64_t vertex[3],
                                      int64_t a, int64_t count, VertexSums* sums) {
  using F = typename LanesOf<T>::Type;
  DoubleLanes g0 = {}, g1 = {}, g2 = {};
  const int64_t end = p.N * p.H * p.W * p.A;
  for (int64_t i = run.begin; i < run.end; ++i) {
    const T* source = p.grad_out + i * p.A + a;
    F g = {};
    if (i * p.A + a + kNumberLanes <= end)
      g = load_lanes<F>(source);  // what follows the last attribute is not added to anything
    else
      std::memcpy(&g, source, count * sizeof(T));
    const T *r = p.rast + i * 4, u = r[0], v = r[1];
    g0 += widen_lanes(g * u), g1 += widen_lanes(g * v), g2 += widen_lanes(g * (T(1) - u - v));
  }
  const DoubleLanes exists = DoubleLanes{0, 1, 2, 3} - double(count), none = {};
  sums->add(vertex[0], a, exists < none ? g0 : none);
  sums->add(vertex[1], a, exists < none ? g1 : none);
  sums->add(vertex[2], a, exists < none ? g2 : none);
}

// d out_da / d attr.
template <class T>
GLR_FUNC void interpolate_da_bwd(const InterpolateParams<T>& p, const PixelRun& run, const int64_t vertex[3],
                                 VertexSums* sums) {
  const int64_t D = p.num_diff_attrs;
  for (int64_t d = 0; d < D; ++d) {
    const int64_t a = p.diff_attrs ? p.diff_attrs[d] : d;
    double g0 = 0, g1 = 0;
    for (int64_t i = run.begin; i < run.end; ++i) {
      const T *g = p.grad_out_da + (i * D + d) * 2, *db = p.rast_db + i * 4;
      g0 += g[0] * db[0] + g[1] * db[1];
      g1 += g[0] * db[2] + g[1] * db[3];
    }
    sums->at(vertex[0])[a] += g0;
    sums->at(vertex[1])[a] += g1;
    sums->at(vertex[2])[a] -= g0 + g1;
  }
}

// As interpolate_rast_bwd, for all pixels of a run that has K attributes: their differences are taken once.
template <int K, class T>
GLR_FUNC void interpolate_few_bwd(const InterpolateParams<T>& p, const PixelRun& run, const CornerAttributes<T>& c) {
  T e0[K], e1[K];
  for (int a = 0; a < K; ++a) e0[a] = c.a0[a] - c.a2[a], e1[a] = c.a1[a] - c.a2[a];
  for (int64_t i = run.begin; i < run.end; ++i) {
    T gu = 0, gv = 0;
    for (int a = 0; a < K; ++a) gu += p.grad_out[i * K + a] * e0[a], gv += p.grad_out[i * K + a] * e1[a];
    store4(p.grad_rast + i * 4, {gu, gv, T(0), T(0)});
  }
}

template <class T>
GLR_FUNC void interpolate_rast_run_bwd(const InterpolateParams<T>& p, const PixelRun& run,
                                       const CornerAttributes<T>& c) {
  switch (p.grad_out ? p.A : 0) {
    case 1:
      return interpolate_few_bwd<1>(p, run, c);
    case 2:
      return interpolate_few_bwd<2>(p, run, c);
    case 3:
      return interpolate_few_bwd<3>(p, run, c);
    case 4:
      return interpolate_few_bwd<4>(p, run, c);
  }
  for (int64_t i = run.begin; i < run.end; ++i) interpolate_rast_bwd(p, i, c);
}

template <class T>
GLR_STEP void interpolate_row_bwd(const InterpolateParams<T>& p, int64_t row, int32_t* ids, VertexSums* sums) {
  const int32_t W = int32_t(p.W);
  load_ids(p.rast + row * W * 4, W, int32_t(p.num_triangles), ids);
  for (int32_t x = 0, end; x < W; x = end) {
    end = end_of_run(x, W, ids[x], [ids](int32_t i) { return ids[i]; });
    const PixelRun run = {row, row * W + x, row * W + end, ids[x]};
    CornerAttributes<T> c = {};
    int64_t vertex[3];
    if (!corners_of(p, run, &c, vertex)) {
      if (p.grad_rast) fill_zero(p.grad_rast, run.begin * 4, run.end * 4);
      if (p.grad_rast_db) fill_zero(p.grad_rast_db, run.begin * 4, run.end * 4);
      continue;
    }
    if (p.grad_rast) interpolate_rast_run_bwd(p, run, c);
    for (int64_t i = run.begin; p.grad_rast_db && i < run.end; ++i) interpolate_rast_db_bwd(p, i, c);
    if (!p.grad_attr) continue;
    for (int64_t a = 0; p.grad_out && a < p.A; a += kNumberLanes)
      interpolate_columns_bwd(p, run, vertex, a, min<int64_t>(kNumberLanes, p.A - a), sums);
    if (p.grad_out_da) interpolate_da_bwd(p, run, vertex, sums);
  }
}

template <class T>
GLR_KERNEL interpolate_bwd(const InterpolateParams<T>& p) {
  const bool shared = p.attr_stride == 0;
  add_row_by_row(p.N, p.H, p.W, {p.grad_attr, (shared ? 1 : p.N) * p.V, p.A}, shared,
                 [&](int64_t row, int32_t* ids, VertexSums* sums) { interpolate_row_bwd(p, row, ids, sums); });
}

#endif

GLR_EXPORT(interpolate_fwd, InterpolateParams)
GLR_EXPORT(interpolate_jvp, InterpolateParams)
GLR_EXPORT(interpolate_bwd, InterpolateParams)
