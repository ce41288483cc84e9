// Where texture coordinates lead to in a texture [height, width] that is stored row by row.

// The row of a texel, repeated along u if it wraps; otherwise the border continues.
int row_of_texel(ivec2 texel, ivec2 texture_size, bool wraps) {
    if (wraps) texel.x += texel.x < 0 ? texture_size.x : (texel.x >= texture_size.x ? -texture_size.x : 0);
    texel = clamp(texel, ivec2(0), texture_size - 1);
    return texel.y * texture_size.x + texel.x;
}

// Coordinates in texels; what is far outside must not overflow on its way to an integer.
vec2 in_texels(vec2 uv, ivec2 texture_size) {
    return clamp(uv, -1.0, 2.0) * vec2(texture_size);
}
