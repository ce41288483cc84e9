// Sums in fixed point: integer additions give the same bits in any order.

#include "stochastic/status.glsl"

uniform float scale;
layout(std430) coherent buffer Sums { int sums[]; };  // [pairs, rows]

int to_fixed(float value) {
    if ((floatBitsToUint(value) & 0x7f800000u) == 0x7f800000u) {  // compilers take comparisons with NaN lightly
        fail(NOT_FINITE);
        return 0;
    }
    float scaled = round(value * scale);
    if (abs(scaled) >= 1073741824.0) {
        fail(OVERFLOW);
        return 0;
    }
    return int(scaled);
}

// Whether adding `value` to `before` left the range of int.
void check_sum(int before, int value) {
    int sum = before + value;
    if (((before ^ sum) & (value ^ sum)) < 0) fail(OVERFLOW);
}

void add(int index, int value) {
    check_sum(atomicAdd(sums[index], value), value);
}
