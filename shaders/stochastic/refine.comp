#version 430
// The vertices of a subdivided surface: weighted sums of control vertices, for each picture.

layout(local_size_x = 64) in;

layout(std430) readonly buffer Control { float control[]; };              // [pictures, controls, 3]
layout(std430) readonly buffer WeightStarts { int weight_starts[]; };     // [vertices + 1]
layout(std430) readonly buffer Columns { int columns[]; };
layout(std430) readonly buffer Weights { float weights[]; };
layout(std430) writeonly buffer Refined { float refined[]; };             // [pictures, vertices, 3]
uniform int vertices, controls;

void main() {
    int vertex = int(gl_GlobalInvocationID.x), slot = int(gl_GlobalInvocationID.y);
    if (vertex >= vertices) return;
    int start = weight_starts[vertex], end = weight_starts[vertex + 1];
    vec3 sum = vec3(0.0);
    for (int i = start; i < end; i++) {
        int at = 3 * (slot * controls + columns[i]);
        sum += weights[i] * vec3(control[at], control[at + 1], control[at + 2]);
    }
    int at = 3 * (slot * vertices + vertex);
    refined[at] = sum.x;
    refined[at + 1] = sum.y;
    refined[at + 2] = sum.z;
}
