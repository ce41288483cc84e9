#version 430
// Credits each pixel to the rows of the primitives that it shows in either picture, each row once.
// Where both show one primitive, one addition per pixel does: gradient.glsl hands it on to the rows.

#include "stochastic/difference.glsl"

uniform usampler2D ids;
layout(std430) coherent buffer Agreed { SUM agreed[]; };              // [pairs, primitives]
layout(std430) readonly buffer RowStarts { int row_starts[]; };       // [primitives + 1], into rows_of
layout(std430) readonly buffer RowsOf { int rows_of[]; };             // the rows of each primitive
uniform int primitives;
uniform int rows;

const uint NONE = 0xffffffffu;

void main() {
    ivec2 pixel = ivec2(gl_FragCoord.xy);
    uint plus = texelFetch(ids, plus_corner + pixel, 0).x, minus = texelFetch(ids, minus_corner + pixel, 0).x;
    if (plus == NONE && minus == NONE) return;
    SUM value = difference();
    if (value == SUM(0)) return;
    if (plus == minus) {
        int index = pair * primitives + int(plus);
        check_sum(atomicAdd(agreed[index], value), value);
        return;
    }
    int plus_start = 0, plus_end = 0;
    if (plus != NONE) {
        plus_start = row_starts[plus];
        plus_end = row_starts[plus + 1u];
    }
    for (int i = plus_start; i < plus_end; i++) add(pair * rows + rows_of[i], value);
    if (minus == NONE) return;
    int minus_start = row_starts[minus], minus_end = row_starts[minus + 1u];
    for (int j = minus_start; j < minus_end; j++) {
        int row = rows_of[j];
        bool repeated = false;
        for (int i = plus_start; i < plus_end; i++) repeated = repeated || rows_of[i] == row;
        if (!repeated) add(pair * rows + row, value);
    }
}
