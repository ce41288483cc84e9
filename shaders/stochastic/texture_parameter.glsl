// A texture as a function NAME(uv) for the fragment shader. Its texels are perturbed where they are read.

#include "stochastic/hash.glsl"
#include "stochastic/texels.glsl"

uniform samplerBuffer STORAGE;  // [height, width, SIZE]
uniform ivec2 EXTENT;           // width, height
uniform uint KEY;
uniform float EPS;              // 0: as they are

TYPE NAME_TEXEL(ivec2 at) {
    int row = row_of_texel(at, EXTENT, WRAPS);
    vec4 value = texelFetch(STORAGE, row);
    uint bits = sign_bits(KEY, glr_slot >> 1, row);
    float change = (glr_slot & 1) == 0 ? EPS : -EPS;
    value += change * vec4(sign_of(bits, 0), sign_of(bits, 1), sign_of(bits, 2), sign_of(bits, 3));
    return value.CHANNELS;
}

TYPE NAME(vec2 uv) {
    vec2 place = in_texels(uv, EXTENT);
#if LINEAR
    ivec2 low = ivec2(floor(place - 0.5));
    vec2 part = place - 0.5 - vec2(low);
    TYPE below = mix(NAME_TEXEL(low), NAME_TEXEL(low + ivec2(1, 0)), part.x);
    TYPE above = mix(NAME_TEXEL(low + ivec2(0, 1)), NAME_TEXEL(low + ivec2(1, 1)), part.x);
    return mix(below, above, part.y);
#else
    return NAME_TEXEL(ivec2(floor(place)));
#endif
}
