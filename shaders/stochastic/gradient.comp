#version 430
// The gradient of every row, for the preconditioned update and for reading.

layout(local_size_x = 64) in;

#include "stochastic/gradient.glsl"

layout(std430) writeonly buffer Gradients { float gradients[]; };  // [rows, SIZE]

void main() {
    int row = int(gl_GlobalInvocationID.y * gl_NumWorkGroups.x * 64u + gl_GlobalInvocationID.x);
    if (row >= rows) return;
    float found[SIZE];
    gradient(row, found);
    for (int c = 0; c < SIZE; c++) gradients[row * SIZE + c] = found[c];
}
