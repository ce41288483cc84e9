// Creases: jumps of colour within a surface, between two pixels A, B (see surface_pair.cuh) that see two triangles of
// it. `Params<T>` also holds color [N, H, W, C] and which jumps count, crease.
#pragma once

#include "surface_pair.cuh"

enum CreaseMode { kNoCreases, kVisibleCreases, kFlatFacets };

// The colours on both sides of a boundary, each extrapolated from the pixel behind.
template <class T>
struct Jump {
  const T *a, *b, *behind_a, *behind_b;
  T step_a, step_b;
  GLR_MEMBER T operator()(int64_t c) const {
    return a[c] + step_a * (a[c] - behind_a[c]) - (b[c] + step_b * (b[c] - behind_b[c]));
  }
};

// That of the two pixels themselves.
template <template <class> class Params, class T>
GLR_FUNC Jump<T> jump_between(const Params<T>& p, const PixelPair& pair) {
  const T* a = p.color + ((pair.image * p.H + pair.y) * p.W + pair.x) * p.C;
  const T* b = a + (pair.axis ? p.W : 1) * p.C;
  return {a, b, a, b, T(0), T(0)};
}

// Squared jumps, summed over channels: of a pair, and what the colour changes from the pixels behind.
template <class T>
struct JumpSums {
  T across = T(0), behind_a = T(0), behind_b = T(0);
  GLR_MEMBER void add(const Jump<T>& jump, int64_t c) {
    const T j = jump(c), ja = jump.a[c] - jump.behind_a[c], jb = jump.b[c] - jump.behind_b[c];
    across += j * j, behind_a += ja * ja, behind_b += jb * jb;
  }
};

// Whether what changes between colours of one triangle is rounding, beside a jump between two.
template <class T>
GLR_FUNC bool is_constant(T change, T across) {
  return change <= T(1e-4) * across;
}

// Whether a jump between colours that change on both sides is one.
template <class T>
GLR_FUNC bool is_sharp(const JumpSums<T>& sums) {
  return sums.across > T(16) * (sums.behind_a + sums.behind_b);
}

// Of the four lines through a pixel and its neighbours, a bit for each on which a neighbour sees the pixel's triangle.
GLR_FUNC int line_bit(int dx, int dy) { return 1 << (dy == 0 ? 0 : dx == 0 ? 1 : dx == dy ? 2 : 3); }

// None if one of these neighbours has another colour, beside a jump of `across`.
template <template <class> class Params, class T>
GLR_STEP int lines_of_one_color(const Params<T>& p, int64_t image, int32_t x, int32_t y, T across) {
  const int64_t pixel = (image * p.H + y) * p.W + x;
  const T *id = p.rast + pixel * 4 + 3, *color = p.color + pixel * p.C;
  int lines = 0;
  GLR_ROLLED
  for (int dy = -1; dy <= 1; ++dy) {
    GLR_ROLLED
    for (int dx = -1; dx <= 1; ++dx) {
      const int64_t step = dy * p.W + dx;
      if (step == 0 || x + dx < 0 || x + dx >= p.W || y + dy < 0 || y + dy >= p.H || id[step * 4] != id[0]) continue;
      T change = T(0);
      for (int64_t c = 0; c < p.C; ++c) {
        const T d = color[step * p.C + c] - color[c];
        change += d * d;
      }
      if (!is_constant(change, across)) return 0;
      lines |= line_bit(dx, dy);
    }
  }
  return lines;
}

GLR_FUNC bool has_two_lines(int lines) { return (lines & (lines - 1)) != 0; }

// Whether colours jump between two triangles of a surface. Those of flat facets always do. Else either both triangles
// have one colour each as far as the pixels around A and B tell, and these pixels do not all lie on one line, along
// which a smooth image may be constant. Or A and the pixel behind see one triangle, B and the pixel behind another, and
// the colours extrapolated from them differ by more than four times what changes on both sides.
template <template <class> class Params, class T>
GLR_FUNC bool find_crease(const Params<T>& p, const PixelPair& pair, Jump<T>* jump) {
  if (p.crease == kNoCreases || pair.a < 0 || pair.b < 0) return false;
  *jump = jump_between(p, pair);
  if (p.crease == kFlatFacets) return true;
  const int axis = pair.axis;
  const int64_t step = axis ? p.W : 1;
  const int32_t i = axis ? pair.y : pair.x;
  const T* id = p.rast + ((pair.image * p.H + pair.y) * p.W + pair.x) * 4 + 3;
  JumpSums<T> sums;
  for (int64_t c = 0; c < p.C; ++c) sums.add(*jump, c);
  if (sums.across > 0) {
    const int lines = lines_of_one_color(p, pair.image, pair.x, pair.y, sums.across);
    const int more = lines ? lines_of_one_color(p, pair.image, pair.x + !axis, pair.y + axis, sums.across) : 0;
    if (more && has_two_lines(lines | more)) return true;
  }
  if (i < 1 || i + 2 >= (axis ? p.H : p.W) || id[-4 * step] != id[0] || id[8 * step] != id[4 * step]) return false;
  jump->behind_a = jump->a - step * p.C, jump->behind_b = jump->b + step * p.C;
  jump->step_a = jump->step_b = T(0.5);
  sums = JumpSums<T>{};
  for (int64_t c = 0; c < p.C; ++c) sums.add(*jump, c);
  return is_sharp(sums);
}
