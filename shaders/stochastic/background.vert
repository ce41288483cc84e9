#version 430
// A triangle that covers one tile per instance, behind everything.

#include "stochastic/views.glsl"
#include "stochastic/tiles.glsl"

out vec2 place;  // in normalised device coordinates of the picture
flat out int glr_slot;
out float gl_ClipDistance[4];

void main() {
    glr_slot = gl_InstanceID;
    place = vec2(gl_VertexID == 1 ? 3.0 : -1.0, gl_VertexID == 2 ? 3.0 : -1.0);
    gl_ClipDistance[0] = 1.0 - place.x;
    gl_ClipDistance[1] = 1.0 + place.x;
    gl_ClipDistance[2] = 1.0 - place.y;
    gl_ClipDistance[3] = 1.0 + place.y;
    gl_Position = into_tile(vec4(place, 1.0, 1.0), glr_slot);
}
