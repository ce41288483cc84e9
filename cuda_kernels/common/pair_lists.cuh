// The pairs of neighbouring pixels on a GPU that see different triangles, as pairs that blend: each has a thread.
#pragma once

#include "listed_pairs.cuh"
#include "pixel_pairs.cuh"

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
