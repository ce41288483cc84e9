#version 430
// A triangle over the whole of one picture; per instance the places of a pair's two pictures in the atlas.

#include "stochastic/views.glsl"

uniform ivec2 grid;
uniform ivec2 size;  // of a picture

flat out int pair;
flat out ivec2 plus_corner, minus_corner;
flat out int view;

ivec2 corner(int slot) {
    return size * ivec2(slot % grid.x, slot / grid.x);
}

void main() {
    pair = gl_InstanceID;
    plus_corner = corner(copies * pair);
    minus_corner = corner(copies * pair + copies - 1);
    view = pairs[pair].view;
    gl_Position = vec4(gl_VertexID == 1 ? 3.0 : -1.0, gl_VertexID == 2 ? 3.0 : -1.0, 0.0, 1.0);
}
