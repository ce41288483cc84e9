// What stands after a fragment shader of the user's, whose main() is then named glr_user_main(): the other outputs.

layout(location = 1) out uint glr_id;
#ifdef WRITES_UV
in vec2 glr_surface_uv;
layout(location = 2) out vec2 glr_shown_uv;
#endif

void main() {
    glr_user_main();
    glr_id = uint(gl_PrimitiveID);
#ifdef WRITES_UV
    glr_shown_uv = glr_surface_uv;
#endif
}
