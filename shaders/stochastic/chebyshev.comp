#version 430
// One iteration for x in (I + lambda L) x = b, L the mesh's graph Laplacian: the semi-iterative method of Chebyshev
// (Golub and Van Loan, "Matrix Computations", 10.1.5). Two buffers take turns.

layout(local_size_x = 64) in;

uniform isamplerBuffer neighbour_starts;  // [rows + 1]
uniform isamplerBuffer neighbours;
uniform samplerBuffer right;              // b [rows, SIZE]
uniform samplerBuffer current;
uniform samplerBuffer before;
layout(std430) writeonly buffer Next { float next[]; };  // the same as `before`
uniform int rows;
uniform float lambda, relaxation, inverse_middle;

void main() {
    int row = int(gl_GlobalInvocationID.x);
    if (row >= rows) return;
    int start = texelFetch(neighbour_starts, row).x, end = texelFetch(neighbour_starts, row + 1).x;
    vec4 value = texelFetch(current, row), old = texelFetch(before, row), sum = vec4(0.0);
    for (int i = start; i < end; i++) sum += texelFetch(current, texelFetch(neighbours, i).x);
    vec4 residual = texelFetch(right, row) - (value + lambda * (float(end - start) * value - sum));
    vec4 result = old + relaxation * (value + inverse_middle * residual - old);
    for (int c = 0; c < SIZE; c++) next[row * SIZE + c] = result[c];
}
