// One vertex attribute, NAME, of SIZE components and TYPE, from a buffer [pictures or 1, vertices, SIZE].

layout(std430) readonly buffer BLOCK { float STORAGE[]; };
uniform int STRIDE;  // vertices from one picture to the next; 0: all pictures share them
out TYPE NAME;

void WRITE(int slot) {
    int at = (slot * STRIDE + gl_VertexID) * SIZE;
#if SIZE == 1
    NAME = STORAGE[at];
#elif SIZE == 2
    NAME = vec2(STORAGE[at], STORAGE[at + 1]);
#elif SIZE == 3
    NAME = vec3(STORAGE[at], STORAGE[at + 1], STORAGE[at + 2]);
#else
    NAME = vec4(STORAGE[at], STORAGE[at + 1], STORAGE[at + 2], STORAGE[at + 3]);
#endif
}
