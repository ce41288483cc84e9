#version 430
// Where the splats stand, for sorting: the depth of each in each pair's view, without perturbation.

layout(local_size_x = 64) in;

#include "stochastic/views.glsl"

layout(std430) readonly buffer Means { float means[]; };
layout(std430) writeonly buffer Depths { float depths[]; };  // [pairs, padded]
layout(std430) writeonly buffer Order { int order[]; };
uniform int splats, padded;

void main() {
    int row = int(gl_GlobalInvocationID.x), pair = int(gl_GlobalInvocationID.y);
    if (row >= padded) return;
    float depth = -1e38;  // what fills up comes last
    if (row < splats) {
        mat4 to_clip = views[pairs[pair].view].to_clip;
        vec4 place = vec4(means[3 * row], means[3 * row + 1], means[3 * row + 2], 1.0);
        depth = dot(vec4(to_clip[0].w, to_clip[1].w, to_clip[2].w, to_clip[3].w), place);
    }
    depths[pair * padded + row] = depth;
    order[pair * padded + row] = row;
}
