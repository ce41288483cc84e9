#version 430
// Credits each pixel to the splats over it in either picture, each splat once.

#include "stochastic/splat_shape.glsl"
#include "stochastic/difference.glsl"

in vec2 offset, other_offset;
flat in vec3 conic, other_conic;
flat in int row;
flat in int is_minus;
uniform int rows;

void main() {
    if (!inside(conic, offset)) return;
    if (is_minus == 1 && inside(other_conic, other_offset)) return;  // the other sign has it
    SUM value = difference();
    if (value != SUM(0)) add(pair * rows + row, value);
}
