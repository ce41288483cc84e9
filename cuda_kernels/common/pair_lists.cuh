// The pairs of neighbouring pixels on a GPU: those that see different triangles are listed, then each has a thread.
#pragma once

#include "lane_runs.cuh"
#include "pixel_pairs.cuh"
#include "pixel_walk.cuh"

// Adds `first` and `second` to a list, where they are wanted, with one atomic addition for the warp: all of its lanes
// come here.
GLR_FUNC void append_over_lanes(int64_t* list, uint64_t* length, bool has_first, int64_t first, bool has_second,
                                int64_t second) {
  const uint32_t firsts = __ballot_sync(kAllLanes, has_first), seconds = __ballot_sync(kAllLanes, has_second);
  if (!(firsts | seconds)) return;
  const int lane = threadIdx.x % GLR_WARP_SIZE;
  uint64_t start = 0;
  if (lane == 0) start = atomic_add_u64(length, __popc(firsts) + __popc(seconds));
  start = __shfl_sync(kAllLanes, static_cast<unsigned long long>(start), 0);
  const uint32_t lower = (1u << lane) - 1;
  if (has_first) list[start + __popc(firsts & lower)] = first;
  if (has_second) list[start + __popc(firsts) + __popc(seconds & lower)] = second;
}

// Lists the pairs of a pixel and its right and upper neighbours that see different triangles, as 2 pixel + vertical.
template <class Params>
GLR_FUNC void list_pairs(const Params& p) {
  GLR_FOR_EACH_BLOCK_OF(p, pixel) {
    const auto* id = p.rast + pixel.index * 4 + 3;
    const bool right = pixel.exists() && pixel.x + 1 < p.W && id[4] != id[0];
    const bool up = pixel.exists() && pixel.y + 1 < p.H && id[4 * p.W] != id[0];
    append_over_lanes(p.pairs, p.num_pairs, right, pixel.index * 2, up, pixel.index * 2 + 1);
  }
}

// Where a listed pair begins.
struct ListedPair {
  int64_t image;
  int32_t x, y;
  bool vertical;
};

template <class Params>
GLR_FUNC ListedPair listed_pair(const Params& p, int64_t entry) {
  const int64_t pixel = entry >> 1, row = divide(pixel, p.W, p.width_reciprocal);
  const int64_t image = divide(row, p.H, p.height_reciprocal);
  return {image, int32_t(pixel - row * p.W), int32_t(row - image * p.H), bool(entry & 1)};
}

// Finds the blend of the pair that begins at a pixel; false if there is none.
template <class Params, class T>
GLR_FUNC bool find_blend(const Params& p, int64_t image, int32_t x, int32_t y, bool vertical, PixelPair<T>* pair,
                         PairBlend<T>* blend) {
  return load_pair(p, image, x, y, vertical, pair) && analyze_pair(p, *pair, blend);
}

// Calls visit(pair, blend, pixel is p0, is first) for those of a pixel's pairs that blend (and for which `counts` is
// true of the same), in the order right, up, left, down: if `own` is the first of them. So one of a pixel's pairs
// serves it, and its sum has a fixed order. The pixel is the one or the other of `own`.
template <class Params, class T, class Counts, class Visit>
GLR_FUNC void for_each_blend(const Params& p, bool is_own_p0, const ListedPair& place, const PixelPair<T>& own,
                             const Counts& counts, const Visit& visit) {
  const int32_t x = place.x + (!is_own_p0 && !own.vertical), y = place.y + (!is_own_p0 && own.vertical);
  bool is_first = true;
  for (int k = 0; k < 4; ++k) {
    const bool vertical = k & 1, is_p0 = k < 2;
    const bool exists = is_p0 ? (vertical ? y + 1 < p.H : x + 1 < p.W) : (vertical ? y : x) > 0;
    PixelPair<T> pair;
    PairBlend<T> blend;
    const int32_t x0 = x - (!is_p0 && !vertical), y0 = y - (!is_p0 && vertical);
    if (!exists || !find_blend(p, own.image, x0, y0, vertical, &pair, &blend)) continue;
    if (!counts(blend, is_p0)) continue;
    if (is_first && (pair.p0 != own.p0 || pair.vertical != own.vertical)) return;
    visit(pair, blend, is_p0, is_first);
    is_first = false;
  }
}

// Calls visit(place, pair, blend) for every pair of the list that blends.
template <class T, class Params, class Visit>
GLR_FUNC void for_each_listed_blend(const Params& p, const Visit& visit) {
  GLR_FOR_EACH(i, int64_t(*p.num_pairs)) {
    const ListedPair place = listed_pair(p, p.pairs[i]);
    PixelPair<T> pair;
    PairBlend<T> blend;
    if (find_blend(p, place.image, place.x, place.y, place.vertical, &pair, &blend)) visit(place, pair, blend);
  }
}
