/* Parts of gemmlowp's fixed-point arithmetic.  Qm.n: m integer, n fraction bits. */
#ifndef TINYKIT_GEMMLOWP_H
#define TINYKIT_GEMMLOWP_H

#include "fixed_point.h"

/* x * 2^bits, saturating. */
static inline int32_t tk_shift_left(int32_t x, int bits) {
    const int32_t limit = INT32_MAX >> bits;
    if (x > limit) {
        return INT32_MAX;
    }
    return x < -limit ? INT32_MIN : (int32_t)((uint32_t)x << bits);
}

/* As tk_doubling_high_multiply, where not both can be INT32_MIN.  One copy
 * in a file: a softmax is short. */
static __attribute__((noinline)) int32_t tk_high_multiply(int32_t a, int32_t b) {
    return (int32_t)(((int64_t)a * b + (1 << 30)) >> 31);
}

/* 1 / (1 + fraction) in Q0.31, fraction in [0, 1) in Q0.31, by Newton's method. */
static inline int32_t tk_one_over_one_plus(int32_t fraction) {
    const int32_t half = (int32_t)(((uint32_t)fraction + 0x80000000u) >> 1);
    int32_t x = 1515870810 + tk_high_multiply(half, -1010580540); /* Q2.29 */
    for (int i = 0; i < 3; i++) {
        const int32_t error = (1 << 29) - tk_high_multiply(half, x);
        x += tk_shift_left(tk_high_multiply(x, error), 2);
    }
    return tk_shift_left(x, 1);
}

/* Of x != 0, in the same number of instructions for each. */
static inline int tk_leading_zeros(uint32_t x) {
#if defined(__thumb__) && !defined(__thumb2__) /* no CLZ */
    uint32_t zeros = 0;
    for (uint32_t step = 16; step != 0; step >>= 1) {
        const uint32_t upper = x >> (32 - step);
        const uint32_t shift = step & (((upper | (0u - upper)) >> 31) - 1); /* if upper is 0 */
        x <<= shift;
        zeros += shift;
    }
    return (int)zeros;
#else
    return __builtin_clz(x);
#endif
}

#endif
