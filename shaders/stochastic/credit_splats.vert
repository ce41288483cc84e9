#version 430
// The boxes of the splats of both signs again, each over the one picture of its pair.

#include "stochastic/splat.glsl"

uniform ivec2 grid;
uniform vec2 pixel_size;

out vec2 offset, other_offset;  // pixels from the centre of this splat, and of the same with the sign plus
flat out vec3 conic, other_conic;
flat out int row;
flat out int pair;
flat out ivec2 plus_corner, minus_corner;
flat out int view;
flat out int is_minus;

void main() {
    int slot = gl_InstanceID / splats;
    row = gl_InstanceID - slot * splats;
    pair = slot >> 1;
    is_minus = slot & 1;
    Splat splat = project(slot, row), other = project(2 * pair, row);
    vec2 place = splat.centre + splat.extent * corner_of(gl_VertexID);
    offset = (place - splat.centre) * vec2(size) * 0.5;
    other_offset = (place - other.centre) * vec2(size) * 0.5;
    conic = splat.conic;
    other_conic = other.visible ? other.conic : vec3(1e6, 0.0, 1e6);
    plus_corner = size * ivec2((2 * pair) % grid.x, (2 * pair) / grid.x);
    minus_corner = size * ivec2((2 * pair + 1) % grid.x, (2 * pair + 1) / grid.x);
    view = pairs[pair].view;
    place += pairs[pair].jitter * pixel_size;
    gl_Position = splat.visible ? vec4(place, 0.0, 1.0) : vec4(2.0, 2.0, 2.0, 1.0);
}
