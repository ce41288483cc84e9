#version 430
// The moments of Adam for the preconditioned update, and the largest second moment, which all elements share:
// Nicolet, Jacobson, Jakob, "Large Steps in Inverse Rendering of Geometry" (2021).

layout(local_size_x = 64) in;

#include "stochastic/status.glsl"

layout(std430) readonly buffer Gradients { float gradients[]; };
layout(std430) buffer Moments { float moments[]; };  // [2, elements]
layout(std430) coherent buffer Largest { uint largest; };     // the bits of a float that is not negative
uniform int elements;
uniform float beta1, beta2;

void main() {
    int at = int(gl_GlobalInvocationID.x);
    if (at >= elements || failures != 0u) return;
    float gradient = gradients[at];
    moments[at] = mix(gradient, moments[at], beta1);
    float second = mix(gradient * gradient, moments[elements + at], beta2);
    moments[elements + at] = second;
    atomicMax(largest, floatBitsToUint(second));
}
