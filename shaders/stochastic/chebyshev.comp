#version 430
// One iteration for x in (I + lambda L) x = b, L the mesh's graph Laplacian: the semi-iterative method of Chebyshev
// (Golub and Van Loan, "Matrix Computations", 10.1.5). Two buffers take turns.

layout(local_size_x = 64) in;

layout(std430) readonly buffer NeighbourStarts { int neighbour_starts[]; };  // [rows + 1]
layout(std430) readonly buffer Neighbours { int neighbours[]; };
layout(std430) readonly buffer Right { float right[]; };      // b [rows, SIZE]
layout(std430) readonly buffer Current { float current[]; };
layout(std430) buffer Before { float before[]; };             // becomes the next
uniform int rows;
uniform float lambda, relaxation, inverse_middle;

void main() {
    int row = int(gl_GlobalInvocationID.x);
    if (row >= rows) return;
    int start = neighbour_starts[row], end = neighbour_starts[row + 1];
    float degree = float(end - start);
    for (int c = 0; c < SIZE; c++) {
        int at = row * SIZE + c;
        float value = current[at], sum = 0.0;
        for (int i = start; i < end; i++) sum += current[neighbours[i] * SIZE + c];
        float residual = right[at] - (value + lambda * (degree * value - sum));
        before[at] += relaxation * (value + inverse_middle * residual - before[at]);
    }
}
