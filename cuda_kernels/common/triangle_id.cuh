// Channel 3 of rast: triangle id + 1, 0 for none. Values above 2^24, which float32 cannot count, are stored as the
// float whose bit pattern is 0x4a800000 + value; float64 holds every value as it is.
#pragma once

#include "portability.cuh"

GLR_FUNC int32_t decode_triangle(float channel) {
  if (!(channel > 0.f)) return -1;  // empty, negative or NaN
  return (channel <= 16777216.f ? int32_t(channel) : float_bits(channel) - 0x4a800000) - 1;
}
GLR_FUNC int32_t decode_triangle(double channel) {
  return channel > 0. && channel < 2147483648. ? int32_t(channel) - 1 : -1;
}

GLR_FUNC void encode_triangle(int32_t triangle, float* channel) {
  const int32_t value = triangle + 1;
  *channel = value <= 16777216 ? float(value) : float_from_bits(0x4a800000 + value);
}
GLR_FUNC void encode_triangle(int32_t triangle, double* channel) { *channel = double(triangle) + 1.; }

struct VertexIndices {
  int32_t v0, v1, v2;
};

// The three vertex indices of a triangle; false if the id or one of the indices is out of range.
GLR_FUNC bool load_triangle(const int32_t* tri, int64_t num_triangles, int64_t num_vertices, int32_t triangle,
                            VertexIndices* out) {
  if (triangle < 0 || triangle >= num_triangles) return false;
  const int32_t* t = tri + int64_t(triangle) * 3;
  *out = {t[0], t[1], t[2]};
  return out->v0 >= 0 && out->v0 < num_vertices && out->v1 >= 0 && out->v1 < num_vertices && out->v2 >= 0 &&
         out->v2 < num_vertices;
}
