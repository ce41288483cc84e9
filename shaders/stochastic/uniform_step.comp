#version 430
// The step that the moments give, before it is smoothed.

layout(local_size_x = 64) in;

layout(std430) readonly buffer Moments { float moments[]; };  // [2, elements]
layout(std430) readonly buffer Largest { uint largest; };
layout(std430) writeonly buffer Steps { float steps[]; };
uniform int elements;
uniform float correction1, correction2;

void main() {
    int at = int(gl_GlobalInvocationID.x);
    if (at >= elements) return;
    steps[at] = moments[at] * correction1 / (sqrt(uintBitsToFloat(largest) * correction2) + 1e-7);
}
