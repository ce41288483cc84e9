// Soft rasterization: every triangle touches the pixels around it, all triangles of a pixel are blended.
//   soft_boxes    projects every triangle of every image (an item), counts the bins that its box of pixels meets
//   soft_entries  lists these bins; sorted by bin they are each bin's triangles, in ascending order
//   soft_fwd      blends them: on a GPU one thread per pixel, on the CPU one work item per bin
//   soft_bwd      repeats that and leaves each entry's sum over the bin's pixels: on a GPU one thread per entry
//   soft_gather   adds the entries of a vertex up, in a fixed order
// On the CPU a triangle meets kLanes pixels of a row at once, in loops that the compiler vectorizes.
// Source: Liu et al., "Soft Rasterizer: A Differentiable Renderer for Image-based 3D Reasoning", ICCV 2019.
#include "common/soft_blend.cuh"
#include "common/triangle_id.cuh"

template <class T>
struct SoftRasterizeParams {
  const T* pos;                   // [N or 1, V, 4] clip space
  const int32_t* tri;             // [T, 3]
  const T* attr;                  // [N or 1, V of attr, A], null: no colour
  const int32_t* attr_tri;        // [T, 3] indices into attr
  const T* texture;               // [N or 1, h, w, C]; null: the attributes are the colour, C = A
  const T* background;            // [C]
  const int64_t* item_start;      // [N + 1] items before each image
  const int64_t* first_triangle;  // [N]
  T* triangles;                   // [num_items, kTriangleNumbers] SoftTriangle
  int32_t* boxes;                 // [num_items, 4] PixelBox
  int64_t* ends;                  // [num_items] bins of each item; for soft_entries and later their running sum
  int32_t* entry_bin;             // [num_entries] in order of items
  int32_t* entry_triangle;        // [num_entries] in order of items
  const int64_t* order;           // [num_entries] which entry comes where when sorted by bin
  const int64_t* bin_start;       // [num_bins + 1] in that order
  T* rgba;                        // [N, H, W, C + 1], or [N, H, W, 1]
  T* depth;                       // [N, H, W] of the nearest triangle that covers the pixel's centre
  int32_t* nearest;               // [N, H, W] its id, -1 for none
  T* state;                       // [N, H, W, 3]: softmax's least depth, 1 / its sum, the product of 1 - D; or the last
  const T* grad_rgba;             // as rgba
  T* partial;                     // [num_entries, num_partial], in order of items
  void* grad_texture;             // [copies, N or 1, h, w, C] double, zeroed; null if not wanted
  const int64_t* corner_order;    // [3 T] corners (3 triangle + k) sorted by vertex
  const int64_t* corner_start;    // [V + 1] in that order
  T* grad_pos;                    // [N or 1, V, 4]
  T* grad_attr;                   // [N or 1, V of attr, A]
  T* scratch;                     // [threads, scratch_size], on the CPU
  int64_t N, H, W, V, A, C, num_triangles, num_attr_vertices, num_items, num_entries, num_bins, num_partial;
  int64_t bin_width, bin_height, scratch_size, h, w;
  int64_t pos_stride, attr_stride, texture_stride;  // elements from one image's to the next; 0: shared
  int64_t copies, shared_gradient;                  // of the texture's gradient: one per thread, or added to by several
  int64_t distance, blend, alpha;                   // SoftDistance, SoftBlend, SoftAlpha
  int64_t depth_is_w, double_sided, full;
  double sigma, gamma, eps, near, far;
  double cutoff;  // squared distance from which on an outside triangle does not count
};

template <class T>
GLR_FUNC SoftSettings<T> settings_of(const SoftRasterizeParams<T>& p, int64_t image) {
  const double reach = sqrt(p.cutoff), range = p.far - p.near;
  const bool euclidean = p.distance == EUCLIDEAN, barycentric = p.distance == BARYCENTRIC;
  SoftSettings<T> s;
  s.H = int32_t(p.H), s.W = int32_t(p.W), s.step = T(1. / p.H);
  s.inverse_sigma = T(1. / p.sigma), s.cutoff = T(p.cutoff);
  // Barycentric coordinates above -reach: inside of the triangle scaled about its centroid, where they are 1/3.
  s.pad = T(euclidean ? reach : 0.), s.grow = T(barycentric ? 1. + 3. * reach : 1.);
  s.sharpness = T(1. / (range * p.gamma));
  s.near = T(p.near), s.far = T(p.far), s.background_depth = T(p.far - p.eps * range);
  // Of SUM's, 1 / T: the number of the image's triangles.
  const int64_t count = max(p.item_start[image + 1] - p.item_start[image], int64_t(1));
  s.soft_alpha = p.alpha == PRODUCT ? T(1) : p.alpha == SUM ? T(1. / double(count)) : T(0);
  s.hard_alpha = T(p.alpha == ANY), s.product_floor = T(p.alpha != PRODUCT);
  s.product_share = T(p.alpha == PRODUCT), s.sum_share = p.alpha == SUM ? s.soft_alpha : T(0);
  s.depth_from_w = T(p.depth_is_w != 0), s.linear_depth = T(p.depth_is_w == 0), s.full = T(p.full != 0);
  return s;
}

// Which image an item belongs to.
template <class T>
GLR_FUNC int64_t image_of(const SoftRasterizeParams<T>& p, int64_t item) {
  int64_t low = 0, high = p.N - 1;  // the last image that starts at or before the item
  while (low < high) {
    const int64_t middle = (low + high + 1) / 2;
    if (p.item_start[middle] <= item) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

template <class T>
GLR_FUNC int32_t triangle_of(const SoftRasterizeParams<T>& p, int64_t image, int64_t item) {
  return int32_t(p.first_triangle[image] + item - p.item_start[image]);
}
template <class T>
GLR_FUNC int64_t item_of(const SoftRasterizeParams<T>& p, int64_t image, int32_t triangle) {
  return p.item_start[image] + triangle - p.first_triangle[image];
}

template <class T>
GLR_FUNC int64_t bins_across(const SoftRasterizeParams<T>& p) {
  return (p.W + p.bin_width - 1) / p.bin_width;
}
template <class T>
GLR_FUNC int64_t bins_per_image(const SoftRasterizeParams<T>& p) {
  return bins_across(p) * ((p.H + p.bin_height - 1) / p.bin_height);
}

// The bins that a box meets, in units of bins.
template <class T>
GLR_FUNC PixelBox bins_of(const SoftRasterizeParams<T>& p, const PixelBox& box) {
  if (box.empty()) return {0, 0, 0, 0};
  const int32_t w = int32_t(p.bin_width), h = int32_t(p.bin_height);
  return {box.x0 / w, box.y0 / h, (box.x1 - 1) / w + 1, (box.y1 - 1) / h + 1};
}

template <class T>
GLR_FUNC bool prepare_item(const SoftRasterizeParams<T>& p, const SoftSettings<T>& s, int64_t item, PixelBox* box) {
  const int64_t image = image_of(p, item);
  const int32_t triangle = triangle_of(p, image, item);
  VertexIndices v, a;
  if (!load_triangle(p.tri, p.num_triangles, p.V, triangle, &v)) return false;
  const T* const pos = p.pos + image * p.pos_stride;
  const T* const corner[3] = {pos + int64_t(v.v0) * 4, pos + int64_t(v.v1) * 4, pos + int64_t(v.v2) * 4};
  SoftTriangle<T> t;
  // What comes much nearer than `near` could not be projected with float32's accuracy.
  if (!make_triangle(s, corner, p.depth_is_w ? p.near / 100 : 0., p.double_sided, p.distance == EUCLIDEAN, &t, box))
    return false;
  if (p.attr && !load_triangle(p.attr_tri, p.num_triangles, p.num_attr_vertices, triangle, &a)) t.colored = T(0);
  *reinterpret_cast<SoftTriangle<T>*>(p.triangles + item * kTriangleNumbers) = t;
  return true;
}

template <class T>
GLR_KERNEL soft_boxes(const SoftRasterizeParams<T>& p) {
  static_assert(sizeof(SoftTriangle<T>) == kTriangleNumbers * sizeof(T), "it is kept as numbers");
  const SoftSettings<T> s = settings_of(p, 0);
  GLR_FOR_EACH(item, p.num_items) {
    PixelBox box = {0, 0, 0, 0};
    if (!prepare_item(p, s, item, &box)) box = {0, 0, 0, 0};
    reinterpret_cast<PixelBox*>(p.boxes)[item] = box;
    const PixelBox bins = bins_of(p, box);
    p.ends[item] = int64_t(bins.x1 - bins.x0) * (bins.y1 - bins.y0);
  }
}
GLR_EXPORT(soft_boxes, SoftRasterizeParams)

template <class T>
GLR_KERNEL soft_entries(const SoftRasterizeParams<T>& p) {
  GLR_FOR_EACH(item, p.num_items) {
    const PixelBox bins = bins_of(p, reinterpret_cast<const PixelBox*>(p.boxes)[item]);
    if (bins.empty()) continue;
    const int64_t image = image_of(p, item), first = image * bins_per_image(p);
    int64_t entry = item > 0 ? p.ends[item - 1] : 0;
    for (int32_t y = bins.y0; y < bins.y1; ++y)
      for (int32_t x = bins.x0; x < bins.x1; ++x, ++entry) {
        p.entry_bin[entry] = int32_t(first + y * bins_across(p) + x);
        p.entry_triangle[entry] = triangle_of(p, image, item);
      }
  }
}
GLR_EXPORT(soft_entries, SoftRasterizeParams)

// Pixels of an image that one work item blends; its triangles are those of `bin`.
struct SoftRegion {
  int64_t image, bin;
  PixelBox box;
};

template <class T>
GLR_FUNC SoftRegion region_of_bin(const SoftRasterizeParams<T>& p, int64_t bin) {
  const int64_t image = bin / bins_per_image(p), place = bin % bins_per_image(p);
  const int64_t x0 = place % bins_across(p) * p.bin_width, y0 = place / bins_across(p) * p.bin_height;
  const int64_t x1 = min(x0 + p.bin_width, p.W), y1 = min(y0 + p.bin_height, p.H);
  return {image, bin, {int32_t(x0), int32_t(y0), int32_t(x1), int32_t(y1)}};
}

template <class T>
GLR_FUNC SoftRegion region_of_pixel(const SoftRasterizeParams<T>& p, int64_t pixel) {
  const int64_t row = pixel / p.W, image = row / p.H;
  const int32_t x = int32_t(pixel % p.W), y = int32_t(row % p.H);
  const int64_t bin = image * bins_per_image(p) + y / p.bin_height * bins_across(p) + x / p.bin_width;
  return {image, bin, {x, y, x + 1, y + 1}};
}

template <class T>
GLR_FUNC SoftColors<T> colors_of(const SoftRasterizeParams<T>& p, int64_t image, int32_t triangle) {
  SoftColors<T> c = {{nullptr, nullptr, nullptr}, nullptr, nullptr, p.A, p.C, int32_t(p.h), int32_t(p.w), false};
  VertexIndices v;
  if (!p.attr || !load_triangle(p.attr_tri, p.num_triangles, p.num_attr_vertices, triangle, &v)) return c;
  const T* const attr = p.attr + image * p.attr_stride;
  c.corner[0] = attr + v.v0 * p.A, c.corner[1] = attr + v.v1 * p.A, c.corner[2] = attr + v.v2 * p.A;
  if (!p.texture) return c;
  const int64_t offset = image * p.texture_stride;
  const int64_t copy = p.copies > 1 ? thread_index() * max(p.texture_stride * p.N, p.h * p.w * p.C) : 0;
  c.texture = p.texture + offset;
  c.grad_texture = p.grad_texture ? static_cast<double*>(p.grad_texture) + copy + offset : nullptr;
  c.shared_gradient = p.shared_gradient;
  return c;
}

// Calls visit(entry, triangle, colors, box) for every entry of a bin whose box meets the region, in order.
template <class T, class Visit>
GLR_FUNC void for_each_entry(const SoftRasterizeParams<T>& p, const SoftRegion& region, const Visit& visit) {
  for (int64_t i = p.bin_start[region.bin]; i < p.bin_start[region.bin + 1]; ++i) {
    const int64_t entry = p.order[i];
    const int32_t triangle = p.entry_triangle[entry];
    const int64_t item = item_of(p, region.image, triangle);
    const PixelBox box = common_part(reinterpret_cast<const PixelBox*>(p.boxes)[item], region.box);
    if (box.empty()) continue;
    const auto t = *reinterpret_cast<const SoftTriangle<T>*>(p.triangles + item * kTriangleNumbers);
    visit(entry, triangle, t, box);
  }
}

// On the CPU a region's pixels lie in planes whose rows are longer by a group, so that groups may end beyond them.
template <class T>
GLR_FUNC int64_t row_length(const SoftRasterizeParams<T>& p) {
  return p.bin_width + kLanes<T>;
}

constexpr bool kByPixels = kWarpSize > 1;  // a thread for every pixel: a region is one, and its values are the thread's

template <SoftDistance D, SoftBlend B, class T>
GLR_FUNC void soft_fwd_region(const SoftRasterizeParams<T>& p, const SoftSettings<T>& s, const SoftRegion& region) {
  const int64_t channels = B == NO_COLOR ? 0 : p.C, row = row_length(p), plane = row * p.bin_height;
  const int64_t corner = (region.image * p.H + region.box.y0) * p.W + region.box.x0;
  T own[5];
  int32_t own_nearest;
  SoftPixels<T> at;
  if (kByPixels) {
    at = {own, own + 1, own + 2, own + 3, own + 4, &own_nearest, p.rgba + corner * (channels + 1), 1};
  } else {
    T* const planes = p.scratch + thread_index() * p.scratch_size;
    at = {
        planes, planes + plane, planes + 2 * plane, planes + 3 * plane, planes + 4 * plane, nullptr, planes + 6 * plane,
        plane};
    at.nearest = reinterpret_cast<int32_t*>(planes + 5 * plane);
  }
  const int32_t width = region.box.x1 - region.box.x0, height = region.box.y1 - region.box.y0;
  const int64_t used = kByPixels ? 1 : row * height;
  for (int64_t i = 0; i < used; ++i) {
    at.product[i] = T(1), at.alpha[i] = T(0);
    if (B == NO_COLOR) continue;
    at.least_depth[i] = s.background_depth, at.sum[i] = T(1), at.depth[i] = T(INFINITY), at.nearest[i] = -1;
  }
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t i = 0; i < used; ++i) at.rgb[c * at.plane + i] = p.background[c];

  for_each_entry(p, region, [&](int64_t, int32_t triangle, const SoftTriangle<T>& t, const PixelBox& box) {
    const SoftColors<T> colors = colors_of(p, region.image, triangle);
    for_each_group(s, t, box, [&](int32_t y, int32_t x, int32_t count) {
      const int64_t i = kByPixels ? 0 : (y - region.box.y0) * row + x - region.box.x0;
      const SoftPixels<T> here = {at.least_depth + i, at.sum + i,     at.product + i, at.alpha + i,
                                  at.depth + i,       at.nearest + i, at.rgb + i,     at.plane};
      if (B != NO_COLOR && t.colored > T(0))
        blend_group<D, B>(s, t, colors, triangle, y, x, count, here);
      else
        blend_group<D, NO_COLOR>(s, t, colors, triangle, y, x, count, here);
    });
  });

  for (int32_t y = 0; y < height; ++y) {
    for (int32_t x = 0; x < width; ++x) {
      const int64_t i = kByPixels ? 0 : y * row + x, pixel = corner + y * p.W + x;
      const T inverse = B == SOFTMAX ? T(1) / at.sum[i] : T(1);
      T* const out = p.rgba + pixel * (channels + 1);
      for (int64_t c = 0; c < channels; ++c) out[c] = at.rgb[c * at.plane + i] * inverse;
      out[channels] = min(at.alpha[i], T(1));
      if (B == NO_COLOR) {
        p.state[pixel] = at.product[i];
        continue;
      }
      p.state[pixel * 3] = at.least_depth[i], p.state[pixel * 3 + 1] = inverse, p.state[pixel * 3 + 2] = at.product[i];
      p.depth[pixel] = at.nearest[i] < 0 ? s.far : at.depth[i], p.nearest[pixel] = at.nearest[i];
    }
  }
}

struct SoftForward {
  template <SoftDistance D, SoftBlend B, class T>
  static GLR_MEMBER void run(const SoftRasterizeParams<T>& p) {
    GLR_FOR_EACH(work, kByPixels ? p.N * p.H * p.W : p.num_bins) {
      const SoftRegion region = kByPixels ? region_of_pixel(p, work) : region_of_bin(p, work);
      soft_fwd_region<D, B>(p, settings_of(p, region.image), region);
    }
  }
};

// What one entry receives from the pixels of its bin; sum[num_partial kLanes] is zeroed here.
template <SoftDistance D, SoftBlend B, class T>
GLR_FUNC void soft_bwd_entry(const SoftRasterizeParams<T>& p, const SoftSettings<T>& s, const SoftRegion& region,
                             const SoftTriangle<T>& t, int32_t triangle, const PixelBox& box,
                             const SoftPixelsGrad<T>& at, int64_t row, T* sum) {
  const SoftColors<T> colors = colors_of(p, region.image, triangle);
  const int64_t channels = B == NO_COLOR ? 0 : p.C, state = B == NO_COLOR ? 1 : 3;
  for (int64_t i = 0; i < p.num_partial * kLanes<T>; ++i) sum[i] = T(0);
  for_each_group(s, t, box, [&](int32_t y, int32_t x, int32_t count) {
    // Planes hold a number of every pixel; on a GPU the tensors themselves are read.
    const int64_t i = kByPixels ? (region.image * p.H + y) * p.W + x : (y - region.box.y0) * row + x - region.box.x0;
    const int64_t color = kByPixels ? i * (channels + 1) : i, kept = kByPixels ? i * state : i;
    const SoftPixelsGrad<T> here = {at.least_depth + kept, at.inverse_sum + kept, at.product + kept, at.rgb + color,
                                    at.grad_rgb + color,   at.grad_alpha + color, at.nearest + i,    at.plane};
    if (B != NO_COLOR && t.colored > T(0))
      blend_group_bwd<D, B>(s, t, colors, triangle, y, x, count, here, sum);
    else
      blend_group_bwd<D, NO_COLOR>(s, t, colors, triangle, y, x, count, here, sum);
  });
}

// A bin's pixels in planes of the thread's scratch memory; those between the region and a row's end are zero.
template <SoftBlend B, class T>
GLR_FUNC SoftPixelsGrad<T> load_region(const SoftRasterizeParams<T>& p, const SoftRegion& region, T* planes) {
  const int64_t channels = B == NO_COLOR ? 0 : p.C, row = row_length(p), plane = row * p.bin_height;
  T *const least = planes, *const inverse = planes + plane, *const product = planes + 2 * plane;
  int32_t* const nearest = reinterpret_cast<int32_t*>(planes + 3 * plane);
  T *const alpha = planes + 4 * plane, *const rgb = planes + 5 * plane, *const grad = rgb + channels * plane;
  const int32_t width = region.box.x1 - region.box.x0;
  for (int32_t y = region.box.y0; y < region.box.y1; ++y) {
    const int64_t first = (region.image * p.H + y) * p.W + region.box.x0, to = (y - region.box.y0) * row;
    for (int64_t x = 0; x < row; ++x) {
      const int64_t i = to + x, pixel = first + x;
      const bool here = x < width;
      if (B == NO_COLOR) {
        product[i] = here ? p.state[pixel] : T(0);
      } else {
        least[i] = here ? p.state[pixel * 3] : T(0), inverse[i] = here ? p.state[pixel * 3 + 1] : T(0);
        product[i] = here ? p.state[pixel * 3 + 2] : T(0), nearest[i] = here ? p.nearest[pixel] : -1;
      }
      alpha[i] = here ? p.grad_rgba[pixel * (channels + 1) + channels] : T(0);
      for (int64_t c = 0; c < channels; ++c) {
        rgb[c * plane + i] = here ? p.rgba[pixel * (channels + 1) + c] : T(0);
        grad[c * plane + i] = here ? p.grad_rgba[pixel * (channels + 1) + c] : T(0);
      }
    }
  }
  return {least, inverse, product, rgb, grad, alpha, nearest, plane};
}

struct SoftBackward {
  template <SoftDistance D, SoftBlend B, class T>
  static GLR_MEMBER void run(const SoftRasterizeParams<T>& p) {
    GLR_FOR_EACH(work, kByPixels ? p.num_entries : p.num_bins) {
      if (kByPixels) {
        const int64_t channels = B == NO_COLOR ? 0 : p.C;
        const SoftRegion region = region_of_bin(p, p.entry_bin[work]);
        const int32_t triangle = p.entry_triangle[work];
        const int64_t item = item_of(p, region.image, triangle);
        const PixelBox box = common_part(reinterpret_cast<const PixelBox*>(p.boxes)[item], region.box);
        const auto t = *reinterpret_cast<const SoftTriangle<T>*>(p.triangles + item * kTriangleNumbers);
        const T* const product = p.state + (B == NO_COLOR ? 0 : 2);
        const SoftPixelsGrad<T> at = {
            p.state, p.state + 1, product, p.rgba, p.grad_rgba, p.grad_rgba + channels, p.nearest, 1};
        soft_bwd_entry<D, B>(p, settings_of(p, region.image), region, t, triangle, box, at, 0,
                             p.partial + work * p.num_partial);
        continue;
      }
      const SoftRegion region = region_of_bin(p, work);
      T* const scratch = p.scratch + thread_index() * p.scratch_size;
      T *const sum = scratch, *const planes = scratch + p.num_partial * kLanes<T>;
      const SoftSettings<T> s = settings_of(p, region.image);
      const SoftPixelsGrad<T> at = load_region<B>(p, region, planes);
      for_each_entry(p, region, [&](int64_t entry, int32_t triangle, const SoftTriangle<T>& t, const PixelBox& box) {
        soft_bwd_entry<D, B>(p, s, region, t, triangle, box, at, row_length(p), sum);
        for (int64_t k = 0; k < p.num_partial; ++k) {
          T total = T(0);
          GLR_SIMD_SUM(total)
          for (int l = 0; l < kLanes<T>; ++l) total += sum[k * kLanes<T> + l];
          p.partial[entry * p.num_partial + k] = total;
        }
      });
    }
  }
};

template <class Pass, SoftDistance D, class T>
GLR_FUNC void run_with_blend(const SoftRasterizeParams<T>& p) {
#ifdef SOFT_BLEND  // on a GPU, where every case is compiled by itself when it is first needed
  return Pass::template run<D, SOFT_BLEND>(p);
#else
  switch (p.blend) {
    case NO_COLOR:
      return Pass::template run<D, NO_COLOR>(p);
    case SOFTMAX:
      return Pass::template run<D, SOFTMAX>(p);
    default:
      return Pass::template run<D, NEAREST_COLOR>(p);
  }
#endif
}

template <class Pass, class T>
GLR_FUNC void run_with_distance(const SoftRasterizeParams<T>& p) {
#ifdef SOFT_DISTANCE
  return run_with_blend<Pass, SOFT_DISTANCE>(p);
#else
  switch (p.distance) {
    case EUCLIDEAN:
      return run_with_blend<Pass, EUCLIDEAN>(p);
    case BARYCENTRIC:
      return run_with_blend<Pass, BARYCENTRIC>(p);
    default:
      return run_with_blend<Pass, INSIDE>(p);
  }
#endif
}

template <class T>
GLR_KERNEL soft_fwd(const SoftRasterizeParams<T>& p) {
  run_with_distance<SoftForward>(p);
}
GLR_EXPORT(soft_fwd, SoftRasterizeParams)

template <class T>
GLR_KERNEL soft_bwd(const SoftRasterizeParams<T>& p) {
  run_with_distance<SoftBackward>(p);
}
GLR_EXPORT(soft_bwd, SoftRasterizeParams)

// Calls visit(numbers, k) with what each entry left of the corners at a vertex, k: which corner of its triangle. Of one
// image, or of all where they share their vertices.
template <class T, class Visit>
GLR_FUNC void for_each_partial(const SoftRasterizeParams<T>& p, int64_t vertex, int64_t image, bool all_images,
                               const Visit& visit) {
  for (int64_t i = p.corner_start[vertex]; i < p.corner_start[vertex + 1]; ++i) {
    const int32_t triangle = int32_t(p.corner_order[i] / 3), k = int32_t(p.corner_order[i] % 3);
    for (int64_t n = all_images ? 0 : image; n < (all_images ? p.N : image + 1); ++n) {
      const int64_t item = item_of(p, n, triangle);
      if (item < p.item_start[n] || item >= p.item_start[n + 1]) continue;
      for (int64_t entry = item > 0 ? p.ends[item - 1] : 0; entry < p.ends[item]; ++entry)
        visit(p.partial + entry * p.num_partial, k);
    }
  }
}

// The way of the corners' gradients to clip space: P = (x/w W/H, y/w), and 1/w or z/w.
template <class T>
GLR_KERNEL soft_gather_pos(const SoftRasterizeParams<T>& p) {
  const bool all_images = p.pos_stride == 0, colored = p.num_partial > 6;
  GLR_FOR_EACH(i, (all_images ? 1 : p.N) * p.V) {
    double to_x = 0, to_y = 0, to_inverse_w = 0, to_depth = 0;
    for_each_partial(p, i % p.V, i / p.V, all_images, [&](const T* numbers, int32_t k) {
      to_x += numbers[k], to_y += numbers[3 + k];
      if (colored) to_inverse_w += numbers[6 + k], to_depth += numbers[9 + k];
    });
    const T* const pos = p.pos + i * 4;
    T* const grad = p.grad_pos + i * 4;
    const double w = pos[3], inverse = 1. / w, scale = double(p.W) / p.H * inverse;
    const double to_linear = p.depth_is_w ? 0. : to_depth, z = pos[2];
    if (p.depth_is_w) to_inverse_w += to_depth;
    const double to_w = -(to_x * pos[0] * scale + to_y * pos[1] * inverse + (to_inverse_w + to_linear * z) * inverse);
    const bool reached = to_x != 0 || to_y != 0 || to_inverse_w != 0 || to_linear != 0;  // else w may be zero
    grad[0] = T(reached ? to_x * scale : 0.), grad[1] = T(reached ? to_y * inverse : 0.);
    grad[2] = T(reached ? to_linear * inverse : 0.), grad[3] = T(reached ? to_w * inverse : 0.);
  }
}
GLR_EXPORT(soft_gather_pos, SoftRasterizeParams)

template <class T>
GLR_KERNEL soft_gather_attr(const SoftRasterizeParams<T>& p) {
  const bool all_images = p.attr_stride == 0;
  GLR_FOR_EACH(i, (all_images ? 1 : p.N) * p.num_attr_vertices * p.A) {
    const int64_t vertex = i / p.A % p.num_attr_vertices, image = i / p.A / p.num_attr_vertices, a = i % p.A;
    double total = 0;
    for_each_partial(p, vertex, image, all_images,
                     [&](const T* numbers, int32_t k) { total += numbers[kGeometryNumbers + k * p.A + a]; });
    p.grad_attr[i] = T(total);
  }
}
GLR_EXPORT(soft_gather_attr, SoftRasterizeParams)
