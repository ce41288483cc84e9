// One attribute of the splats, as a function NAME(slot, row).

layout(std430) readonly buffer BLOCK { float STORAGE[]; };  // [pictures or 1, splats, SIZE]
uniform int STRIDE;

TYPE NAME(int slot, int row) {
    int at = (slot * STRIDE + row) * SIZE;
#if SIZE == 1
    return STORAGE[at];
#elif SIZE == 3
    return vec3(STORAGE[at], STORAGE[at + 1], STORAGE[at + 2]);
#else
    return vec4(STORAGE[at], STORAGE[at + 1], STORAGE[at + 2], STORAGE[at + 3]);
#endif
}
