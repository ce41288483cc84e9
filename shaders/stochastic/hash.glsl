// Signs of the perturbations: computed wherever they are needed, never stored.
// The permuted congruential generator of Jarzynski and Olano, "Hash Functions for GPU Rendering" (JCGT 9(3), 2020).

uint pcg(uint value) {
    uint state = value * 747796405u + 2891336453u;
    uint word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
    return (word >> 22u) ^ word;
}

// Bit c is the sign of component c. `key` stands for seed, step and parameter.
uint sign_bits(uint key, int pair, int row) {
    return pcg(uint(row) ^ pcg(uint(pair) + key));
}

float sign_of(uint bits, int component) {
    return ((bits >> uint(component)) & 1u) != 0u ? 1.0 : -1.0;
}
