#version 430
// A box around each splat, far ones first, in each tile.

#include "stochastic/splat.glsl"
#include "stochastic/tiles.glsl"

layout(std430) readonly buffer Order { int order[]; };  // [pairs, padded]
uniform int padded;

out vec2 offset;  // pixels from the centre
flat out vec3 conic;
flat out vec4 tint;
out float gl_ClipDistance[4];

void main() {
    int slot = gl_InstanceID / splats;
    int row = order[pair_of(slot) * padded + gl_InstanceID - slot * splats];
    Splat splat = project(slot, row);
    vec2 place = splat.centre + splat.extent * corner_of(gl_VertexID);
    offset = splat.extent * corner_of(gl_VertexID) * vec2(size) * 0.5;
    conic = splat.conic;
    tint = vec4(rgb(slot, row), clamp(opacity(slot, row), 0.0, 1.0));
    place += pairs[pair_of(slot)].jitter * pixel_size;
    gl_ClipDistance[0] = splat.visible ? 1.0 - place.x : -1.0;
    gl_ClipDistance[1] = 1.0 + place.x;
    gl_ClipDistance[2] = 1.0 - place.y;
    gl_ClipDistance[3] = 1.0 + place.y;
    gl_Position = into_tile(vec4(place, 0.0, 1.0), slot);
}
