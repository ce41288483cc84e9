#version 430
// A splat's colour, multiplied with its opacity.

#include "stochastic/splat_shape.glsl"

in vec2 offset;
flat in vec3 conic;
flat in vec4 tint;
layout(location = 0) out vec4 color;

void main() {
    if (!inside(conic, offset)) discard;
    float alpha = tint.a * exp(-0.5 * squared_distance(conic, offset));
    color = vec4(tint.rgb * alpha, alpha);
}
