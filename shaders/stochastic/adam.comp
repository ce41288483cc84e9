#version 430
// Adam with a step count for each row, so that rows that are seldom seen are not stepped too far.
// Kingma and Ba, "Adam: A Method for Stochastic Optimization" (2015).

layout(local_size_x = 64) in;

#include "stochastic/gradient.glsl"
#include "stochastic/status.glsl"

// Each is read as texels, which is faster, and written as a block.
uniform samplerBuffer old_values, old_moments;
uniform isamplerBuffer old_counts;
layout(std430) writeonly buffer Values { float values[]; };     // [rows, SIZE]
layout(std430) writeonly buffer Moments { float moments[]; };   // [2, rows, SIZE]
layout(std430) writeonly buffer Counts { int counts[]; };       // [rows]
uniform float rate, beta1, beta2, low, high;

void main() {
    int row = int(gl_GlobalInvocationID.y * gl_NumWorkGroups.x * 64u + gl_GlobalInvocationID.x);
    if (row >= rows || failures != 0u) return;
    float found[SIZE];
    if (!gradient(row, found)) return;
    int count = texelFetch(old_counts, row).x + 1;
    counts[row] = count;
    float correction1 = 1.0 / (1.0 - pow(beta1, float(count))), correction2 = 1.0 / (1.0 - pow(beta2, float(count)));
    vec4 value = texelFetch(old_values, row);
    vec4 first = texelFetch(old_moments, row), second = texelFetch(old_moments, rows + row);
    for (int c = 0; c < SIZE; c++) {
        int at = row * SIZE + c;
        float m = mix(found[c], first[c], beta1), v = mix(found[c] * found[c], second[c], beta2);
        moments[at] = m;
        moments[rows * SIZE + at] = v;
        values[at] = clamp(value[c] - rate * m * correction1 / (sqrt(v * correction2) + 1e-7), low, high);
    }
}
