#version 430
// Takes the smoothed step.

layout(local_size_x = 64) in;

#include "stochastic/status.glsl"

layout(std430) readonly buffer Steps { float steps[]; };
layout(std430) buffer Values { float values[]; };
uniform int elements;
uniform float rate, low, high;

void main() {
    int at = int(gl_GlobalInvocationID.x);
    if (at >= elements || failures != 0u) return;
    values[at] = clamp(values[at] - rate * steps[at], low, high);
}
