#version 430
// A part of each vertex's shortest edge: larger perturbations would fold the mesh.

layout(local_size_x = 64) in;

layout(std430) readonly buffer NeighbourStarts { int neighbour_starts[]; };
layout(std430) readonly buffer Neighbours { int neighbours[]; };
layout(std430) readonly buffer Places { float places[]; };
layout(std430) writeonly buffer Caps { float caps[]; };
uniform int rows;
uniform float part;

vec3 place_of(int row) {
    return vec3(places[3 * row], places[3 * row + 1], places[3 * row + 2]);
}

void main() {
    int row = int(gl_GlobalInvocationID.x);
    if (row >= rows) return;
    int start = neighbour_starts[row], end = neighbour_starts[row + 1];
    vec3 place = place_of(row);
    float shortest = 1e30;
    for (int i = start; i < end; i++) shortest = min(shortest, distance(place, place_of(neighbours[i])));
    caps[row] = part * shortest;
}
