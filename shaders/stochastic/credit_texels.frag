#version 430
// Credits each pixel to the texels that it shows in either picture, each texel once.

#include "stochastic/difference.glsl"
#include "stochastic/texels.glsl"

uniform usampler2D ids;
uniform sampler2D uvs;
uniform ivec2 texture_size;
uniform int rows;

#ifdef BACKGROUND
#define SHOWS(id) ((id) == 0xffffffffu)
const bool WRAPS = true;
#else
#define SHOWS(id) ((id) != 0xffffffffu)
const bool WRAPS = false;
#endif
#ifdef FOOTPRINT
const int COUNT = 4;
#else
const int COUNT = 1;
#endif

void texels_at(ivec2 corner, out int texels[COUNT]) {
    ivec2 pixel = corner + ivec2(gl_FragCoord.xy);
    for (int i = 0; i < COUNT; i++) texels[i] = -1;
    if (!SHOWS(texelFetch(ids, pixel, 0).x)) return;
    vec2 place = in_texels(texelFetch(uvs, pixel, 0).xy, texture_size);
#ifdef FOOTPRINT
    ivec2 low = ivec2(floor(place - 0.5));
    for (int i = 0; i < 4; i++) texels[i] = row_of_texel(low + ivec2(i & 1, i >> 1), texture_size, WRAPS);
#else
    texels[0] = row_of_texel(ivec2(floor(place)), texture_size, WRAPS);
#endif
}

void main() {
    int texels[2 * COUNT];
    int found[COUNT];
    texels_at(plus_corner, found);
    for (int i = 0; i < COUNT; i++) texels[i] = found[i];
#ifdef FIXED_GEOMETRY
    const int total = COUNT;
#else
    const int total = 2 * COUNT;
    texels_at(minus_corner, found);
    for (int i = 0; i < COUNT; i++) texels[COUNT + i] = found[i];
#endif
    SUM value = difference();
    if (value == SUM(0)) return;
    for (int i = 0; i < total; i++) {
        bool repeated = texels[i] < 0;
        for (int j = 0; j < i; j++) repeated = repeated || texels[j] == texels[i];
        if (!repeated) add(pair * rows + texels[i], value);
    }
}
