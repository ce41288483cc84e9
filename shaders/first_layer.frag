#version 430
// Id and depth of the nearest triangle: where depth peeling starts.

flat in int first_id;

layout(location = 0) out ivec2 key;

void main() {
    key = ivec2(first_id + gl_PrimitiveID, floatBitsToInt(gl_FragCoord.z));
}
