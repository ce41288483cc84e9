#version 430
// Texels plus and minus their perturbation, in layers 2 i and 2 i + 1, or the texels themselves in layer 0 (copies == 1).

layout(local_size_x = 64) in;

#include "stochastic/perturbation.glsl"

layout(std430) readonly buffer Values { float values[]; };  // [height, width, SIZE]
layout(FORMAT) writeonly uniform image2DArray layers;
uniform int texture_width;
uniform int num_pairs;
uniform int copies;

void main() {
    int x = int(gl_GlobalInvocationID.x), y = int(gl_GlobalInvocationID.y);
    if (x >= texture_width) return;
    int row = y * texture_width + x;
    vec4 value = vec4(0.0, 0.0, 0.0, 1.0);
    for (int c = 0; c < SIZE; c++) value[c] = values[row * SIZE + c];
    if (copies == 1) {
        imageStore(layers, ivec3(x, y, 0), value);
        return;
    }
    for (int pair = 0; pair < num_pairs; pair++) {
        uint bits = sign_bits(key, pair, row);
        vec4 change = vec4(0.0);
        for (int c = 0; c < SIZE; c++) change[c] = eps * sign_of(bits, c);
        imageStore(layers, ivec3(x, y, 2 * pair), value + change);
        imageStore(layers, ivec3(x, y, 2 * pair + 1), value - change);
    }
}
