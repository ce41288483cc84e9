// The size of a row's perturbation: a number, or a part of a pixel as it projects to the row's place.

#include "stochastic/hash.glsl"

uniform uint key;
uniform float eps;
#ifdef PIXELS
#include "stochastic/views.glsl"
layout(std430) readonly buffer Places { float places[]; };  // [rows, 3], not perturbed
layout(std430) readonly buffer Caps { float caps[]; };      // [rows]: no perturbation is larger
uniform int width;                                          // of a picture

float eps_of(int pair, int row) {
    mat4 to_clip = views[pairs[pair].view].to_clip;
    vec4 place = vec4(places[3 * row], places[3 * row + 1], places[3 * row + 2], 1.0);
    vec3 along_x = vec3(to_clip[0].x, to_clip[1].x, to_clip[2].x);
    float w = abs(dot(vec4(to_clip[0].w, to_clip[1].w, to_clip[2].w, to_clip[3].w), place));
    return max(min(eps * 2.0 * w / (float(width) * length(along_x)), caps[row]), 1e-12);
}
#else
float eps_of(int pair, int row) {
    return eps;
}
#endif
