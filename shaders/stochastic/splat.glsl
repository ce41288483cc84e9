// A Gaussian as it projects to a picture: Zwicker et al., "EWA Splatting" (2002).

#include "stochastic/splat_shape.glsl"
#include "stochastic/views.glsl"

uniform ivec2 size;  // of a picture
uniform int splats;

const float LOW_PASS = 0.3;  // squared pixels that are added, so that none falls between pixels

struct Splat {
    vec2 centre;   // normalised device coordinates
    vec2 extent;   // half the size of its box, likewise
    vec3 conic;    // the inverse of its covariance in pixels: xx, xy, yy
    bool visible;
};

mat3 rotation_of(vec4 q) {
    q = normalize(q);
    vec3 v = q.yzw;
    float w = q.x;
    return mat3(1.0 - 2.0 * (v.y * v.y + v.z * v.z), 2.0 * (v.x * v.y + w * v.z), 2.0 * (v.x * v.z - w * v.y),
                2.0 * (v.x * v.y - w * v.z), 1.0 - 2.0 * (v.x * v.x + v.z * v.z), 2.0 * (v.y * v.z + w * v.x),
                2.0 * (v.x * v.z + w * v.y), 2.0 * (v.y * v.z - w * v.x), 1.0 - 2.0 * (v.x * v.x + v.y * v.y));
}

Splat project(int slot, int row) {
    Splat splat;
    mat4 to_clip = views[pairs[pair_of(slot)].view].to_clip;
    vec4 clip = to_clip * vec4(mean(slot, row), 1.0);
    splat.visible = clip.w > 1e-4 && abs(clip.z) <= clip.w;
    splat.centre = clip.xy / max(clip.w, 1e-4);
    vec3 row_x = vec3(to_clip[0].x, to_clip[1].x, to_clip[2].x);
    vec3 row_y = vec3(to_clip[0].y, to_clip[1].y, to_clip[2].y);
    vec3 row_w = vec3(to_clip[0].w, to_clip[1].w, to_clip[2].w);
    // Derivatives of the place in pixels by the place in the world, times the axes.
    vec3 x = (row_x - splat.centre.x * row_w) / max(clip.w, 1e-4) * float(size.x) * 0.5;
    vec3 y = (row_y - splat.centre.y * row_w) / max(clip.w, 1e-4) * float(size.y) * 0.5;
#ifdef ROTATES
    mat3 axes = rotation_of(rotation(slot, row));
    x = x * axes;
    y = y * axes;
#endif
    vec3 sizes = vec3(scale(slot, row));
    x *= sizes;
    y *= sizes;
    float xx = dot(x, x) + LOW_PASS, xy = dot(x, y), yy = dot(y, y) + LOW_PASS;
    float determinant = max(xx * yy - xy * xy, 1e-12);
    splat.conic = vec3(yy, -xy, xx) / determinant;
    splat.extent = REACH * sqrt(vec2(xx, yy)) * 2.0 / vec2(size);
    return splat;
}

vec2 corner_of(int vertex) {
    return vec2((vertex & 1) * 2 - 1, (vertex >> 1) * 2 - 1);
}
