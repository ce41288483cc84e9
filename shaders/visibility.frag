#version 430
// The id of the nearest triangle and its depth, which framebuffers of ids alone drop.

flat in int first_id;

layout(location = 0) out ivec2 key;

void main() {
    key = ivec2(first_id + gl_PrimitiveID, floatBitsToInt(gl_FragCoord.z));
}
