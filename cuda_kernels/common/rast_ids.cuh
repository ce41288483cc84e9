// On the host: which triangles the pixels of a row see, decoded side by side.
#pragma once

#include "triangle_id.cuh"

#ifndef GLR_WARP_SIZE

// `rast`: [W, 4]. Ids from num_triangles on become -1 too.
template <class T>
GLR_FUNC void load_ids(const T* rast, int32_t W, int32_t num_triangles, int32_t* ids) {
  for (int32_t x = 0; x < W; ++x) {
    const int32_t triangle = decode_triangle(rast[int64_t(x) * 4 + 3]);
    ids[x] = triangle < num_triangles ? triangle : -1;
  }
}

#endif
