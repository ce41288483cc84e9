#version 430
// Adam with a step count for each row, so that rows that are seldom seen are not stepped too far.
// Kingma and Ba, "Adam: A Method for Stochastic Optimization" (2015).

layout(local_size_x = 64) in;

#include "stochastic/gradient.glsl"
#include "stochastic/status.glsl"

layout(std430) buffer Values { float values[]; };     // [rows, SIZE]
layout(std430) buffer Moments { float moments[]; };   // [rows, SIZE, 2]
layout(std430) buffer Counts { int counts[]; };       // [rows]
uniform float rate, beta1, beta2, low, high;

void main() {
    int row = int(gl_GlobalInvocationID.y * gl_NumWorkGroups.x * 64u + gl_GlobalInvocationID.x);
    if (row >= rows || failures != 0u) return;
    float found[SIZE];
    if (!gradient(row, found)) return;
    int count = counts[row] + 1;
    counts[row] = count;
    float correction1 = 1.0 / (1.0 - pow(beta1, float(count))), correction2 = 1.0 / (1.0 - pow(beta2, float(count)));
    for (int c = 0; c < SIZE; c++) {
        int at = row * SIZE + c;
        float first = mix(found[c], moments[2 * at], beta1);
        float second = mix(found[c] * found[c], moments[2 * at + 1], beta2);
        moments[2 * at] = first;
        moments[2 * at + 1] = second;
        float change = rate * first * correction1 / (sqrt(second * correction2) + 1e-7);
        values[at] = clamp(values[at] - change, low, high);
    }
}
