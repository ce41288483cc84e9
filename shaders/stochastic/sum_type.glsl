// What differences are added in.

#ifdef FLOAT_SUMS
#define SUM float
#define SUM_SAMPLER samplerBuffer
#else
#define SUM int
#define SUM_SAMPLER isamplerBuffer
#endif
