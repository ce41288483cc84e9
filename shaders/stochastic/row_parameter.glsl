// A parameter of the whole scene or of each primitive, as a function NAME() for the fragment shader.

layout(std430) readonly buffer BLOCK { float STORAGE[]; };  // [pictures or 1, rows, SIZE]
uniform int STRIDE;

TYPE NAME() {
    int at = (glr_slot * STRIDE + ROW) * SIZE;
#if SIZE == 1
    return STORAGE[at];
#elif SIZE == 2
    return vec2(STORAGE[at], STORAGE[at + 1]);
#elif SIZE == 3
    return vec3(STORAGE[at], STORAGE[at + 1], STORAGE[at + 2]);
#else
    return vec4(STORAGE[at], STORAGE[at + 1], STORAGE[at + 2], STORAGE[at + 3]);
#endif
}
