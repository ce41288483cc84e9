// On the host: which pairs of a row (depth_rows.cuh) need a closer look, by their kind and, where they see one surface,
// by few pixels around them that tell most smooth colours from creases (creases.cuh).
#pragma once

#include "creases.cuh"
#include "depth_rows.cuh"

#ifndef GLR_WARP_SIZE

// Of the pixels around one that see the same, one: the pixel behind, k, if it is among them.
GLR_FUNC int one_of(int like, int k) {
  const int is_behind = like >> k & 1;
  return __builtin_ctz((like & (is_behind - 1)) | is_behind << k);
}

// Whether enough pixels around A and B see the same as these for a crease to be found.
GLR_FUNC bool is_known(int like_a, int like_b, int behind) {
  const int like = like_a | like_b;
  const int lines = ((like & 0x03) != 0) + ((like & 0x0c) != 0) + ((like & 0x90) != 0) + ((like & 0x60) != 0);
  return (like_a != 0) & (like_b != 0) & ((lines > 1) | ((like_a >> behind & like_b >> (behind + 1) & 1) != 0));
}

// Those of some pixels A of a row whose pairs with B may have a crease, by what the colour changes between the two, and
// between each and another that sees the same, perhaps the one behind. The jump between extrapolated colours is at most
// |b - a| + 1/2 (|a - a'| + |b - b'|), whose square exceeds 16 (|a - a'|^2 + |b - b'|^2) only if |b - a|^2 is more than
// 15/2 of that sum.
// Beside a jump between facets of one colour each nothing changes. All this without branches: most are hard to
// foretell.
template <int64_t K, template <class> class Params, class T>
GLR_STEP int32_t find_candidates(const Params<T>& p, const T* color, const uint8_t* like_a, const uint8_t* like_b,
                                 int axis, int32_t num_pixels, int32_t* pixels) {
  const int64_t C = K > 0 ? K : p.C, to_b = (axis ? p.W : 1) * C;
  const int behind_a = axis ? 2 : 0, behind_b = behind_a + 1;
  const T factors[2] = {T(9999), T(7.5)};  // is_constant, with room for rounding
  int64_t to_like[8];
  for (int k = 0; k < 8; ++k) to_like[k] = (kAroundY[k] * p.W + kAroundX[k]) * C;
  for (const bool from_b : {false, true}) {
    const int64_t to_own = from_b ? to_b : 0, to_other = from_b ? -to_b : to_b;
    const uint8_t* like = from_b ? like_b : like_a;
    const int behind = from_b ? behind_b : behind_a;
    int32_t num_left = 0;
    for (int32_t i = 0; i < num_pixels; ++i) {
      const int32_t x = pixels[i], are_behind = like_a[x] >> behind_a & like_b[x] >> behind_b & 1;
      const T *own = color + x * C + to_own, *other = own + to_other, *near = own + to_like[one_of(like[x], behind)];
      T across = T(0), change = T(0);
      for (int64_t c = 0; c < C; ++c) {
        const T jump = own[c] - other[c], step = own[c] - near[c];
        across += jump * jump, change += step * step;
      }
      pixels[num_left] = x, num_left += across > factors[are_behind] * change;
    }
    num_pixels = num_left;
  }
  return num_pixels;
}

// Calls visit(pair, kind) for the pairs of row y that may have a boundary or crease.
template <template <class> class Params, class T, class Visit>
GLR_FUNC void choose_pairs(const Params<T>& p, int64_t image, int32_t y, int axis, const DepthRow& row,
                           const DepthRow& next, RowPairs* pairs, const Visit& visit) {
  const int32_t *seen_a = row.triangle(), *seen_b = next.triangle() + !axis, *x = pairs->x.data();
  const uint8_t *like_a = row.like.data(), *like_b = next.like.data() + !axis;
  const auto pair_at = [&](int32_t at) { return PixelPair{image, at, y, axis, seen_a[at], seen_b[at]}; };
  int32_t *chosen = pairs->chosen.data(), num_chosen = 0;
  int32_t *left = pairs->run_a.data(), num_left = 0;  // runs are not needed any more
  const bool visible = p.crease == kVisibleCreases;
  for (int32_t i = 0; i < pairs->size; ++i) {
    const int32_t at = x[i], is_boundary = (pairs->kind[i] != kOneSurface) | (p.crease == kFlatFacets);
    chosen[num_chosen] = i, num_chosen += is_boundary;
    if (visible) left[num_left] = at, num_left += !is_boundary & is_known(like_a[at], like_b[at], axis ? 2 : 0);
  }
  for (int32_t i = 0; i < num_chosen; ++i) visit(pair_at(x[chosen[i]]), pairs->kind[chosen[i]]);
  if (num_left == 0) return;
  const T* color = p.color + (image * p.H + y) * p.W * p.C;
  num_left = p.C == 3 ? find_candidates<3>(p, color, like_a, like_b, axis, num_left, left)
                      : find_candidates<0>(p, color, like_a, like_b, axis, num_left, left);
  for (int32_t i = 0; i < num_left; ++i) visit(pair_at(left[i]), kOneSurface);
}

#endif
