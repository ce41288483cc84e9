// A triangle as soft rasterization sees it: projected corners, and the pixels that it can touch.
// One unit of distance is half the image's height, so that pixels are square; the image's centre is the origin.
#pragma once

#include "portability.cuh"

enum SoftDistance { EUCLIDEAN, BARYCENTRIC, INSIDE };  // what coverage is a function of
enum SoftAlpha { PRODUCT, SUM, ANY };                  // how alpha is made of coverages

// Pixels whose work is done side by side: neighbours in a row. On a GPU every thread has one.
#ifdef GLR_WARP_SIZE
template <class T>
constexpr int kLanes = 1;
#else
template <class T>
constexpr int kLanes = 64 / int(sizeof(T));
#endif

// What all pairs of a pixel and a triangle share.
template <class T>
struct SoftSettings {
  int32_t H, W;
  T step;           // half the distance of two pixels' centres
  T inverse_sigma;  // 1 / sigma
  T cutoff;         // squared distance (or barycentric) from which on an outside triangle does not count
  T pad;            // how far a triangle reaches beyond its corners
  T grow;           // by how much it is scaled about its centroid before
  T sharpness;      // 1 / ((far - near) gamma)
  T near, far;
  T background_depth;  // of what the background is as heavy as
  // Modes as factors, 0 or 1 if not said otherwise: selections by what is the same for all pixels are not vectorized.
  T soft_alpha, hard_alpha;      // of coverage (times what is left) and of being inside in alpha; 1/T for SUM
  T product_floor;               // 1 where no product is kept
  T product_share, sum_share;    // of that product, and of 1 - D, in alpha's derivative
  T depth_from_w, linear_depth;  // which of the two depth is
  T full;                        // gradients through the barycentrics
};

constexpr int kTriangleNumbers = 18;

// Written and read as kTriangleNumbers numbers.
template <class T>
struct SoftTriangle {
  T x[3], y[3];         // corners
  T inverse_w[3];       // of the corners
  T depth[3];           // of the corners, what is linear on the screen: 1/w, or z/w
  T inverse_length[3];  // squared, of the side opposite to each corner; 0 for a side of no length
  T inverse_area;       // twice, signed
  T inner;              // the least barycentric coordinate of points inside: 0; infinity without an area
  T colored;            // whether it can be seen, 0 or 1
};

struct PixelBox {
  int32_t x0, y0, x1, y1;  // x0 <= x < x1
  GLR_MEMBER bool empty() const { return x0 >= x1 || y0 >= y1; }
};

GLR_FUNC PixelBox common_part(const PixelBox& a, const PixelBox& b) {
  return {max(a.x0, b.x0), max(a.y0, b.y0), min(a.x1, b.x1), min(a.y1, b.y1)};
}

template <class T>
GLR_FUNC T pixel_centre(const SoftSettings<T>& s, int32_t index, int32_t size) {
  return T(2 * index + 1 - size) * s.step;
}

constexpr double kSlackPixels = 1. / 128;  // for the rounding of positions

// The first index whose centre may lie at or above `low`, the first whose centre must lie above `high`.
template <class T>
GLR_FUNC int32_t first_pixel(const SoftSettings<T>& s, T low, int32_t size) {
  const T at = ceil((low * T(s.H) + T(size - 1)) * T(0.5) - T(kSlackPixels));
  return int32_t(clamp(at, T(0), T(size)));
}
template <class T>
GLR_FUNC int32_t end_pixel(const SoftSettings<T>& s, T high, int32_t size) {
  const T at = floor((high * T(s.H) + T(size - 1)) * T(0.5) + T(kSlackPixels)) + T(1);
  return int32_t(clamp(at, T(0), T(size)));
}

// A corner of the triangle scaled about its centroid, beyond whose sides (and `pad`) nothing counts.
template <class T>
GLR_FUNC T grown(const SoftSettings<T>& s, const T at[3], int k) {
  const T centroid = (at[0] + at[1] + at[2]) * T(1. / 3.);
  return centroid + s.grow * (at[k] - centroid);
}

// The triangle of three clip-space corners; false if it cannot count anywhere: a corner that is not finite, behind the
// eye or nearer than `nearest_w`, no area unless `keep_flat`, or no pixel.
template <class T>
GLR_FUNC bool make_triangle(const SoftSettings<T>& s, const T* const corner[3], double nearest_w, bool double_sided,
                            bool keep_flat, SoftTriangle<T>* t, PixelBox* box) {
  const double aspect = double(s.W) / s.H;
  double largest_w = 0, smallest_w = INFINITY;
  bool finite = true;
  for (int k = 0; k < 3; ++k) {
    const double x = corner[k][0], y = corner[k][1], z = corner[k][2], w = corner[k][3];
    t->x[k] = T(x / w * aspect), t->y[k] = T(y / w);
    t->inverse_w[k] = T(1. / w), t->depth[k] = s.depth_from_w > 0 ? T(1. / w) : T(z / w);
    finite &= isfinite(t->x[k]) && isfinite(t->y[k]) && isfinite(t->inverse_w[k]) && isfinite(z);
    largest_w = max(largest_w, w), smallest_w = min(smallest_w, w);
  }
  if (!finite || !(smallest_w > 0 && smallest_w >= nearest_w && smallest_w >= 1e-6 * largest_w)) return false;
  double longest = 0;
  for (int k = 0; k < 3; ++k) {
    const int a = k == 2 ? 0 : k + 1, b = k == 0 ? 2 : k - 1;
    const double dx = double(t->x[b]) - t->x[a], dy = double(t->y[b]) - t->y[a], square = dx * dx + dy * dy;
    t->inverse_length[k] = square > 1e-30 ? T(1. / square) : T(0);
    longest = max(longest, square);
  }
  const double area = (double(t->x[1]) - t->x[0]) * (double(t->y[2]) - t->y[0]) -
                      (double(t->y[1]) - t->y[0]) * (double(t->x[2]) - t->x[0]);
  const bool flat = !(fabs(area) > longest * (sizeof(T) == 4 ? 1e-6 : 1e-12) && fabs(area) > 1e-30);
  if (flat && !keep_flat) return false;
  t->inverse_area = flat ? T(0) : T(1. / area);
  t->inner = flat ? T(INFINITY) : T(0);
  t->colored = T(!flat && (double_sided || area > 0));
  T low_x = T(INFINITY), high_x = -low_x, low_y = low_x, high_y = -low_x;
  for (int k = 0; k < 3; ++k) {
    const T x = grown(s, t->x, k), y = grown(s, t->y, k);
    low_x = min(low_x, x), high_x = max(high_x, x), low_y = min(low_y, y), high_y = max(high_y, y);
  }
  *box = {first_pixel(s, low_x - s.pad, s.W), first_pixel(s, low_y - s.pad, s.H), end_pixel(s, high_x + s.pad, s.W),
          end_pixel(s, high_y + s.pad, s.H)};
  return !box->empty();
}

// Narrows [x0, x1) to the part of a row that the triangle can touch: the extent, within a strip of the row's height and
// twice the pad, of its sides, and the pad.
template <class T>
GLR_FUNC void narrow_to_row(const SoftSettings<T>& s, const SoftTriangle<T>& t, int32_t row, int32_t* x0, int32_t* x1) {
  const T slack = s.step * T(2 * kSlackPixels);
  const T y = pixel_centre(s, row, s.H), low = y - s.pad - slack, high = y + s.pad + slack;
  T left = T(INFINITY), right = -left;
  for (int k = 0; k < 3; ++k) {
    const int next = k == 2 ? 0 : k + 1;
    const T xa = grown(s, t.x, k), xb = grown(s, t.x, next), ya = grown(s, t.y, k), yb = grown(s, t.y, next);
    if (max(ya, yb) < low || min(ya, yb) > high) continue;
    T from = T(0), to = T(1);
    if (ya != yb) {
      const T u = (low - ya) / (yb - ya), v = (high - ya) / (yb - ya);
      from = max(from, min(u, v)), to = min(to, max(u, v));
    }
    const T xf = xa + from * (xb - xa), xt = xa + to * (xb - xa);
    left = min(left, min(xf, xt)), right = max(right, max(xf, xt));
  }
  *x0 = max(*x0, first_pixel(s, left - s.pad - slack, s.W)), *x1 = min(*x1, end_pixel(s, right + s.pad + slack, s.W));
}

// Calls visit(y, x, count) for groups of up to kLanes neighbouring pixels of a box, all those that can be touched.
template <class T, class Visit>
GLR_FUNC void for_each_group(const SoftSettings<T>& s, const SoftTriangle<T>& t, const PixelBox& box,
                             const Visit& visit) {
  constexpr int32_t wide = 16;  // from here on looking for the row's part pays
  for (int32_t y = box.y0; y < box.y1; ++y) {
    int32_t x0 = box.x0, x1 = box.x1;
    if (box.x1 - box.x0 > wide) narrow_to_row(s, t, y, &x0, &x1);
    for (int32_t x = x0; x < x1; x += kLanes<T>) visit(y, x, min(kLanes<T>, x1 - x));
  }
}
