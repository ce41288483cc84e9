#version 430
#extension GL_ARB_shader_draw_parameters : require
#extension GL_ARB_shader_viewport_layer_array : require
// One draw command per image of the minibatch, each into its own layer.

layout(location = 0) in vec4 position;       // clip space
layout(location = 1) in int first_triangle;  // per image: the id of the draw's first triangle

uniform vec4 tile;  // scale and offset that move one tile of a large image over the whole viewport

flat out int first_id;
invariant gl_Position;  // depth peeling compares depths from two programs

// Clip space reaches from z = 0 at the far plane to z = w at the near one. Far surfaces have depths near zero, where
// float32 is finest, and w - z loses nothing there: it is exact for z between w / 2 and 2 w.

void main() {
    float depth = 0.5 * (position.w - position.z);
    if (position.z < -position.w) depth = max(depth, position.w * 1.0000002);  // rounding must not move it inside
    gl_Position = vec4(position.xy * tile.xy + position.w * tile.zw, depth, position.w);
    gl_Layer = gl_DrawIDARB;
    first_id = first_triangle;
}
