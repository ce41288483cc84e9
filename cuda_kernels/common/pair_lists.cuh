// The pairs of neighbouring pixels on a GPU: those that see different triangles are listed, then each has a thread.
#pragma once

#include "pixel_pairs.cuh"

// Adds `first` and `second` to a list, where they are wanted, with one atomic addition for all lanes that are here.
GLR_FUNC void append_over_lanes(int64_t* list, uint64_t* length, bool has_first, int64_t first, bool has_second,
                                int64_t second) {
  const uint32_t lanes = __activemask();
  const uint32_t firsts = __ballot_sync(lanes, has_first), seconds = __ballot_sync(lanes, has_second);
  if (!(firsts | seconds)) return;
  const int lane = threadIdx.x % GLR_WARP_SIZE, leader = __ffs(lanes) - 1;
  unsigned long long start = 0;
  if (lane == leader) {
    start = atomicAdd(reinterpret_cast<unsigned long long*>(length),
                      static_cast<unsigned long long>(__popc(firsts) + __popc(seconds)));
  }
  start = __shfl_sync(lanes, start, leader);
  const uint32_t lower = (1u << lane) - 1;
  if (has_first) list[start + __popc(firsts & lower)] = first;
  if (has_second) list[start + __popc(firsts) + __popc(seconds & lower)] = second;
}

// Lists the pairs of a pixel and its right and upper neighbours that see different triangles, as 2 pixel + vertical.
template <class Params>
GLR_FUNC void list_pairs(const Params& p) {
  GLR_FOR_EACH_PIXEL(row, x, p.N * p.H, p.W) {
    const int64_t pixel = row * p.W + x;
    const auto* id = p.rast + pixel * 4 + 3;
    const bool right = x + 1 < p.W && id[4] != id[0], up = row % p.H + 1 < p.H && id[4 * p.W] != id[0];
    append_over_lanes(p.pairs, p.num_pairs, right, pixel * 2, up, pixel * 2 + 1);
  }
}

// Finds the blend of the pair that begins at a pixel; false if there is none.
template <class Params, class T>
GLR_FUNC bool find_blend(const Params& p, int64_t p0, bool vertical, PixelPair<T>* pair, PairBlend<T>* blend) {
  const int64_t row = p0 / p.W, image = row / p.H;
  return load_pair(p, image, int32_t(p0 - row * p.W), int32_t(row - image * p.H), vertical, pair) &&
         analyze_pair(p, *pair, blend);
}

// Calls visit(pair, blend, pixel is p0, is first) for those of a pixel's pairs that blend (and for which `counts` is
// true of the same), in the order right, up, left, down: if `own` is the first of them. So one of a pixel's pairs
// serves it, and its sum has a fixed order.
template <class Params, class T, class Counts, class Visit>
GLR_FUNC void for_each_blend(const Params& p, int64_t pixel, const PixelPair<T>& own, const Counts& counts,
                             const Visit& visit) {
  const int64_t row = pixel / p.W, x = pixel - row * p.W, y = row % p.H;
  bool is_first = true;
  for (int k = 0; k < 4; ++k) {
    const bool vertical = k & 1, is_p0 = k < 2;
    const bool exists = is_p0 ? (vertical ? y + 1 < p.H : x + 1 < p.W) : (vertical ? y : x) > 0;
    PixelPair<T> pair;
    PairBlend<T> blend;
    if (!exists || !find_blend(p, is_p0 ? pixel : pixel - (vertical ? p.W : 1), vertical, &pair, &blend)) continue;
    if (!counts(blend, is_p0)) continue;
    if (is_first && (pair.p0 != own.p0 || pair.vertical != own.vertical)) return;
    visit(pair, blend, is_p0, is_first);
    is_first = false;
  }
}

// Calls visit(pair, blend) for every pair of the list that blends.
template <class T, class Params, class Visit>
GLR_FUNC void for_each_listed_blend(const Params& p, const Visit& visit) {
  GLR_FOR_EACH(i, int64_t(*p.num_pairs)) {
    PixelPair<T> pair;
    PairBlend<T> blend;
    if (find_blend(p, p.pairs[i] >> 1, p.pairs[i] & 1, &pair, &blend)) visit(pair, blend);
  }
}
