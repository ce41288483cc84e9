#version 430
// The loss of each pixel of plain pictures, in the tiles of their atlas.

#include "stochastic/views.glsl"

flat in int glr_slot;
uniform ivec2 grid;
uniform ivec2 size;
uniform sampler2D color;
uniform sampler2DArray targets;
uniform vec4 channels;
layout(location = 0) out float loss;

void main() {
    ivec2 pixel = ivec2(gl_FragCoord.xy);
    ivec2 corner = size * ivec2(glr_slot % grid.x, glr_slot / grid.x);
    vec4 target = texelFetch(targets, ivec3(pixel - corner, pairs[glr_slot].view), 0) * channels;
    loss = pixel_loss(texelFetch(color, pixel, 0) * channels, target);
}
