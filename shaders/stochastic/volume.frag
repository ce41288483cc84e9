#version 430
// Emission and absorption along a ray through voxels of constant colour and density.

#include "stochastic/march.glsl"

flat in int glr_slot;
in vec2 place;
layout(location = 0) out vec4 color;

layout(std430) readonly buffer Volume { float volume[]; };  // [pictures or 1, voxels, 4]: colour and density
uniform int volume_stride;
uniform vec4 background;
uniform vec2 pixel_size;

void main() {
    Pair pair = pairs[pair_of(glr_slot)];
    March march;
    vec4 sum = vec4(0.0);
    if (begin(pair.view, place - pair.jitter * pixel_size, march)) {
        int most = voxels.x + voxels.y + voxels.z;
        for (int i = 0; i < most && march.at < march.end; i++) {
            int at = 4 * (glr_slot * volume_stride + row_of(march.voxel));
            float length = advance(march);
            float alpha = 1.0 - exp(-max(volume[at + 3], 0.0) * length);
            sum += (1.0 - sum.a) * alpha * vec4(volume[at], volume[at + 1], volume[at + 2], 1.0);
        }
    }
    color = sum + (1.0 - sum.a) * background;
}
