// What a pixel's loss differs by between the two pictures of a pair.

#include "stochastic/sums.glsl"

flat in int pair;
flat in ivec2 plus_corner, minus_corner;
flat in int view;

uniform sampler2D color;
uniform sampler2DArray targets;
uniform vec4 channels;  // 1 for each channel that counts

float loss_at(ivec2 corner) {
    ivec2 pixel = ivec2(gl_FragCoord.xy);
    vec4 target = texelFetch(targets, ivec3(pixel, view), 0) * channels;
    return pixel_loss(texelFetch(color, corner + pixel, 0) * channels, target);
}

SUM difference() {
    return to_sum(loss_at(plus_corner) - loss_at(minus_corner));
}
