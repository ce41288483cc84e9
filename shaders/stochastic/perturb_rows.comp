#version 430
// Values plus and minus their perturbation: pictures 2 i and 2 i + 1, or the values themselves (copies == 1).

layout(local_size_x = 64) in;

#include "stochastic/perturbation.glsl"

layout(std430) readonly buffer Values { float values[]; };         // [rows, SIZE]
layout(std430) writeonly buffer Perturbed { float perturbed[]; };  // [pairs, 2, rows, SIZE]
uniform int rows;

void main() {
    int row = int(gl_GlobalInvocationID.x), pair = int(gl_GlobalInvocationID.y);
    if (row >= rows) return;
    uint bits = sign_bits(key, pair, row);
    float size = eps_of(pair, row);
    int plus = (2 * pair * rows + row) * SIZE, minus = plus + rows * SIZE;
    for (int c = 0; c < SIZE; c++) {
        float value = values[row * SIZE + c], change = size * sign_of(bits, c);
        perturbed[plus + c] = value + change;
        perturbed[minus + c] = value - change;
    }
}
