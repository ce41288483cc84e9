#version 430
// Id and depth of the nearest triangle behind the layer before, where surfaces are in order of depth, then of id.
// Depths are reversed: the nearest is 1.

flat in int first_id;

// One load for both: on a CPU each costs a quarter as much as drawing small triangles without it.
layout(binding = 0, rg32i) readonly restrict uniform iimage2DArray before;  // depth 0 where it shows nothing

layout(location = 0) out ivec2 key;

void main() {
    int id = first_id + gl_PrimitiveID;
    ivec2 last = imageLoad(before, ivec3(gl_FragCoord.xy, gl_Layer)).xy;
    float limit = intBitsToFloat(last.y);
    if (!(gl_FragCoord.z < limit || (gl_FragCoord.z == limit && id > last.x))) discard;
    key = ivec2(id, floatBitsToInt(gl_FragCoord.z));
}
