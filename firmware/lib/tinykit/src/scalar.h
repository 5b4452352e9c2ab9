/* The few float32 functions: no libm, the same bits on every machine with IEEE single precision. */
#ifndef TINYKIT_SCALAR_H
#define TINYKIT_SCALAR_H

#include <stdint.h>

static inline uint32_t tk_float_bits(float x) {
    uint32_t bits;
    __builtin_memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float tk_bits_float(uint32_t bits) {
    float x;
    __builtin_memcpy(&x, &bits, sizeof x);
    return x;
}

/* The smallest k with x <= 2^k, for a positive normal x. */
static inline int32_t tk_exponent_above(float x) {
    const uint32_t bits = tk_float_bits(x);
    return (int32_t)(bits >> 23) - 127 + ((bits & 0x7FFFFFu) != 0 ? 1 : 0);
}

static inline float tk_power_of_two(int32_t exponent) {
    return tk_bits_float((uint32_t)(exponent + 127) << 23);
}

float tk_exp(float x); /* x <= 0; relative error below 3e-7; 0 below -87 */
float tk_log(float x); /* normal positive x; absolute error below 1e-6 * (1 + |ln x|) */

#endif
