#version 430
// The vertices of one picture per instance. The attributes, `position` among them, come from vertex_attribute.glsl.

#include "stochastic/views.glsl"
#include "stochastic/tiles.glsl"

flat out int glr_slot;
#ifdef WRITES_UV
out vec2 glr_surface_uv;
#endif
out float gl_ClipDistance[4];

void main() {
    int slot = gl_InstanceID;
    glr_slot = slot;
    WRITE_ATTRIBUTES
    Pair pair = pairs[pair_of(slot)];
    vec4 place = views[pair.view].to_clip * vec4(position, 1.0);
    place.xy += place.w * pair.jitter * pixel_size;
    gl_ClipDistance[0] = place.w - place.x;
    gl_ClipDistance[1] = place.w + place.x;
    gl_ClipDistance[2] = place.w - place.y;
    gl_ClipDistance[3] = place.w + place.y;
    gl_Position = into_tile(place, slot);
#ifdef WRITES_UV
    glr_surface_uv = uv;
#endif
}
