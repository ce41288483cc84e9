#version 430
// Credits each pixel that shows a surface in either picture to the whole scene.
// The sum is kept in BINS parts, so that not all pixels wait for one.

#include "stochastic/difference.glsl"

uniform usampler2D ids;
layout(std430) coherent buffer Agreed { SUM agreed[]; };  // [pairs, BINS]

const uint NONE = 0xffffffffu;

void main() {
    ivec2 pixel = ivec2(gl_FragCoord.xy);
    uint plus = texelFetch(ids, plus_corner + pixel, 0).x, minus = texelFetch(ids, minus_corner + pixel, 0).x;
    if (plus == NONE && minus == NONE) return;
    SUM value = difference();
    if (value == SUM(0)) return;
    int index = pair * BINS + ((pixel.x & 7) | (pixel.y & 7) << 3);
    check_sum(atomicAdd(agreed[index], value), value);
}
