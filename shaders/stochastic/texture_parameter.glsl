// A texture as a function NAME(uv) for the fragment shader.

uniform sampler2DArray STORAGE;
uniform int STRIDE;  // 1: a layer for each picture; 0: all share layer 0

TYPE NAME(vec2 uv) {
    return textureLod(STORAGE, vec3(uv, float(glr_slot * STRIDE)), 0.0).CHANNELS;
}
