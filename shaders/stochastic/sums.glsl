// Sums over pixels. In fixed point: integer additions give the same bits in any order. Or, with FLOAT_SUMS, in floats.

#include "stochastic/status.glsl"
#include "stochastic/sum_type.glsl"

uniform float scale;
layout(std430) coherent buffer Sums { SUM sums[]; };  // [pairs, rows]

bool is_finite(float value) {  // compilers take comparisons with NaN lightly
    return (floatBitsToUint(value) & 0x7f800000u) != 0x7f800000u;
}

// What is added for a difference: 0 if the difference is not finite or too large, which is then noted.
SUM to_sum(float value) {
    if (!is_finite(value)) {
        fail(NOT_FINITE);
        return SUM(0);
    }
#ifdef FLOAT_SUMS
    return value;
#else
    float scaled = round(value * scale);
    if (abs(scaled) >= 1073741824.0) {
        fail(OVERFLOW);
        return 0;
    }
    return int(scaled);
#endif
}

// Whether adding `value` to `before` left the range.
void check_sum(SUM before, SUM value) {
    SUM sum = before + value;
#ifdef FLOAT_SUMS
    if (!is_finite(sum)) fail(OVERFLOW);
#else
    if (((before ^ sum) & (value ^ sum)) < 0) fail(OVERFLOW);
#endif
}

void add(int index, SUM value) {
    check_sum(atomicAdd(sums[index], value), value);
}
