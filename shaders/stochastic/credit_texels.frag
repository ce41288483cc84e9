#version 430
// Credits each pixel to the texels that it shows in either picture, each texel once.

#include "stochastic/difference.glsl"

uniform usampler2D ids;
uniform sampler2D uvs;
uniform ivec2 texture_size;
uniform int rows;

#ifdef BACKGROUND
#define SHOWS(id) ((id) == 0xffffffffu)
#else
#define SHOWS(id) ((id) != 0xffffffffu)
#endif
#ifdef FOOTPRINT
const int COUNT = 4;
#else
const int COUNT = 1;
#endif

int texel_at(ivec2 texel) {
    texel = clamp(texel, ivec2(0), texture_size - 1);
    return texel.y * texture_size.x + texel.x;
}

void texels_at(ivec2 corner, out int texels[COUNT]) {
    ivec2 pixel = corner + ivec2(gl_FragCoord.xy);
    for (int i = 0; i < COUNT; i++) texels[i] = -1;
    if (!SHOWS(texelFetch(ids, pixel, 0).x)) return;
    vec2 uv = clamp(texelFetch(uvs, pixel, 0).xy, -1.0, 2.0);
#ifdef FOOTPRINT
    ivec2 low = ivec2(floor(uv * vec2(texture_size) - 0.5));
    for (int i = 0; i < 4; i++) texels[i] = texel_at(low + ivec2(i & 1, i >> 1));
#else
    texels[0] = texel_at(ivec2(floor(uv * vec2(texture_size))));
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
    int value = difference();
    if (value == 0) return;
    for (int i = 0; i < total; i++) {
        bool repeated = texels[i] < 0;
        for (int j = 0; j < i; j++) repeated = repeated || texels[j] == texels[i];
        if (!repeated) add(pair * rows + texels[i], value);
    }
}
