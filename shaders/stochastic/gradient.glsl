// A row's gradient from the sums that were credited to it.

#include "stochastic/perturbation.glsl"
#include "stochastic/sum_type.glsl"

uniform SUM_SAMPLER sums;  // [pairs, rows]
#ifdef PRIMITIVES
uniform SUM_SAMPLER agreed;                                                  // [pairs, primitives]
layout(std430) readonly buffer PrimitiveStarts { int primitive_starts[]; };  // [rows + 1], into primitives_of
layout(std430) readonly buffer PrimitivesOf { int primitives_of[]; };        // the primitives of each row
uniform int primitives;
#endif
uniform int rows;
uniform int num_pairs;
uniform float unit;  // 1 / (2 x scale of the sums x number of pairs)

// Returns whether anything was credited.
bool gradient(int row, out float result[SIZE]) {
    for (int c = 0; c < SIZE; c++) result[c] = 0.0;
    bool credited = false;
#ifdef PRIMITIVES
    // Read first: a bound that is read again in the loop's condition is miscompiled by Mesa's llvmpipe.
    int start = primitive_starts[row], end = primitive_starts[row + 1];
#endif
    for (int pair = 0; pair < num_pairs; pair++) {
        float sum = float(texelFetch(sums, pair * rows + row).x);
#ifdef PRIMITIVES
        for (int i = start; i < end; i++) sum += float(texelFetch(agreed, pair * primitives + primitives_of[i]).x);
#endif
        if (sum == 0.0) continue;
        credited = true;
        uint bits = sign_bits(key, pair, row);
        sum *= unit / eps_of(pair, row);
        for (int c = 0; c < SIZE; c++) result[c] += sum * sign_of(bits, c);
    }
    return credited;
}
