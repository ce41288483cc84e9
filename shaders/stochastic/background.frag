#version 430
// The environment map in the view direction, or one colour.

#include "stochastic/views.glsl"

flat in int glr_slot;
in vec2 place;
layout(location = 0) out vec4 color;
layout(location = 1) out uint id;
layout(location = 2) out vec2 uv;

#ifdef ENVIRONMENT
uniform vec2 pixel_size;

vec3 ENVIRONMENT(vec2 uv);

const float PI = 3.14159265358979;

void main() {
    Pair pair = pairs[pair_of(glr_slot)];
    vec2 at = place - pair.jitter * pixel_size;
    vec4 near = views[pair.view].from_clip * vec4(at, -1.0, 1.0);
    vec4 far = views[pair.view].from_clip * vec4(at, 1.0, 1.0);
    vec3 direction = normalize(far.xyz / far.w - near.xyz / near.w);
    uv = vec2(atan(direction.x, direction.z) / (2.0 * PI) + 0.5, asin(clamp(direction.y, -1.0, 1.0)) / PI + 0.5);
    color = vec4(ENVIRONMENT(uv), 0.0);
    id = 0xffffffffu;
}
#else
uniform vec4 background;

void main() {
    color = background;
    id = 0xffffffffu;
    uv = vec2(0.0);
}
#endif
