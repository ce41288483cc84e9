// The cameras, and which of them each pair of renders uses.

struct View {
    mat4 to_clip;
    mat4 from_clip;
    vec4 eye;  // homogeneous: w = 0 for parallel projection
};
struct Pair {
    int view;
    int unused;
    vec2 jitter;  // pixels
};
layout(std430) readonly buffer Views { View views[]; };
layout(std430) readonly buffer Pairs { Pair pairs[]; };
uniform int copies;  // 2: pictures 2 i and 2 i + 1 are pair i's plus and minus; 1: one picture per pair

int pair_of(int slot) {
    return copies == 2 ? slot >> 1 : slot;
}
