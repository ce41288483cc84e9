// One picture per tile of an atlas, drawn by one instanced call.

uniform ivec2 grid;        // tiles along x and y
uniform vec2 pixel_size;   // of a tile's pixel in normalised device coordinates

// Where a clip-space position of picture `slot` lies in the atlas.
vec4 into_tile(vec4 position, int slot) {
    vec2 tile = vec2(slot % grid.x, slot / grid.x);
    vec2 scale = 1.0 / vec2(grid);
    return vec4(position.xy * scale + position.w * ((2.0 * tile + 1.0) * scale - 1.0), position.zw);
}
