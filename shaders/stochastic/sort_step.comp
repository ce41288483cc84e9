#version 430
// One step of a bitonic sort (Batcher 1968), far splats first; at one depth the lower index first.

layout(local_size_x = 64) in;

layout(std430) buffer Depths { float depths[]; };
layout(std430) buffer Order { int order[]; };
uniform int padded, block, stride;

void main() {
    int place = int(gl_GlobalInvocationID.x), start = int(gl_GlobalInvocationID.y) * padded;
    int partner = place ^ stride;
    if (place >= padded || partner <= place) return;
    int a = start + place, b = start + partner;
    float depth_a = depths[a], depth_b = depths[b];
    int row_a = order[a], row_b = order[b];
    bool in_order = depth_a > depth_b || (depth_a == depth_b && row_a < row_b);
    if (in_order != ((place & block) == 0)) {
        depths[a] = depth_b;
        depths[b] = depth_a;
        order[a] = row_b;
        order[b] = row_a;
    }
}
