#version 430
// Credits each pixel to the voxels that its ray visits: the same for both signs.

#include "stochastic/march.glsl"
#include "stochastic/difference.glsl"

uniform int rows;
uniform vec2 pixel_size;

void main() {
    SUM value = difference();
    if (value == SUM(0)) return;
    March march;
    if (!begin(view, gl_FragCoord.xy * pixel_size - 1.0 - pairs[pair].jitter * pixel_size, march)) return;
    int most = voxels.x + voxels.y + voxels.z;
    for (int i = 0; i < most && march.at < march.end; i++) {
        int row = row_of(march.voxel);
        if (advance(march) > 0.0) add(pair * rows + row, value);
    }
}
