// Lists of pairs of neighbouring pixels, on a GPU: one kernel finds them, and in the next each has a thread. `Params`
// holds pairs [2 N H W], num_pairs [1], zeroed, and what tells the size of the images and the reciprocals of its sides.
#pragma once

#include "lane_runs.cuh"
#include "pixel_walk.cuh"

constexpr int kListingWarps = 4;  // of a block, at most

// Adds `first` and `second` to a list, where they are wanted, with one atomic addition for the block, of which all
// threads come here: tens of thousands of additions to one address take longer than all that else happens.
GLR_FUNC void append_over_block(int64_t* list, uint64_t* length, bool has_first, int64_t first, bool has_second,
                                int64_t second) {
  static __shared__ uint32_t counts[kListingWarps];
  static __shared__ uint64_t start;
  const uint32_t firsts = __ballot_sync(kAllLanes, has_first), seconds = __ballot_sync(kAllLanes, has_second);
  const int lane = threadIdx.x % GLR_WARP_SIZE, warp = threadIdx.x / GLR_WARP_SIZE;
  if (lane == 0) counts[warp] = __popc(firsts) + __popc(seconds);
  __syncthreads();
  uint32_t before = 0, all = 0;
  for (int k = 0; k < kListingWarps; ++k) {
    const uint32_t count = k * GLR_WARP_SIZE < int(blockDim.x) ? counts[k] : 0;
    before += k < warp ? count : 0, all += count;
  }
  if (threadIdx.x == 0 && all > 0) start = atomic_add_u64(length, all);
  __syncthreads();  // also until all have read the counts
  const uint32_t lower = (1u << lane) - 1;
  int64_t* mine = list + start + before;
  if (has_first) mine[__popc(firsts & lower)] = first;
  if (has_second) mine[__popc(firsts) + __popc(seconds & lower)] = second;
}

// Lists the pairs of a pixel and its right and upper neighbours for which `is_wanted(pixel, vertical)`, as
// 2 pixel + vertical.
template <class Params, class IsWanted>
GLR_FUNC void list_pairs(const Params& p, const IsWanted& is_wanted) {
  GLR_FOR_EACH_BLOCK_OF(p, pixel) {
    const bool right = pixel.exists() && pixel.x + 1 < p.W && is_wanted(pixel, false);
    const bool up = pixel.exists() && pixel.y + 1 < p.H && is_wanted(pixel, true);
    append_over_block(p.pairs, p.num_pairs, right, pixel.index * 2, up, pixel.index * 2 + 1);
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
