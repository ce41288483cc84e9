#version 430
// Credits each pixel to the splats over it in either picture, each splat once.

#include "stochastic/difference.glsl"

in vec2 offset, other_offset;
flat in vec3 conic, other_conic;
flat in int row;
flat in int is_minus;
uniform int rows;

float squared_distance(vec3 conic, vec2 offset) {
    return conic.x * offset.x * offset.x + 2.0 * conic.y * offset.x * offset.y + conic.z * offset.y * offset.y;
}

void main() {
    if (squared_distance(conic, offset) > 9.0) return;
    if (is_minus == 1 && squared_distance(other_conic, other_offset) <= 9.0) return;  // the other sign has it
    int value = difference();
    if (value != 0) add(pair * rows + row, value);
}
