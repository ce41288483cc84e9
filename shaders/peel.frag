#version 430
// The id of the nearest triangle behind the layer before, where surfaces are in order of depth, then of id.

flat in int first_id;

layout(binding = 0) uniform isampler2DArray ids_before;   // -1 where that layer shows nothing
layout(binding = 1) uniform sampler2DArray depth_before;  // the window depths of that layer

layout(location = 0) out int id;

void main() {
    ivec3 texel = ivec3(gl_FragCoord.xy, gl_Layer);
    int mine = first_id + gl_PrimitiveID;
    int before = texelFetch(ids_before, texel, 0).r;
    float limit = texelFetch(depth_before, texel, 0).r;
    if (before < 0 || gl_FragCoord.z < limit || (gl_FragCoord.z == limit && mine <= before)) discard;
    id = mine;
}
