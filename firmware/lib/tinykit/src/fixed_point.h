/* TFLite's fixed-point arithmetic, with double rounding (gemmlowp, TensorFlow Lite Micro). */
#ifndef TINYKIT_FIXED_POINT_H
#define TINYKIT_FIXED_POINT_H

#include <stdint.h>

static inline int32_t tk_min(int32_t a, int32_t b) {
    return a < b ? a : b;
}
static inline int32_t tk_max(int32_t a, int32_t b) {
    return a > b ? a : b;
}
static inline int32_t tk_clamp(int32_t x, int32_t low, int32_t high) {
    return tk_max(low, tk_min(x, high));
}

/* round(a * b / 2^31), halves upwards; saturates only for INT32_MIN * INT32_MIN. */
static inline int32_t tk_doubling_high_multiply(int32_t a, int32_t b) {
    if (a == INT32_MIN && b == INT32_MIN) {
        return INT32_MAX;
    }
    return (int32_t)(((int64_t)a * b + (1 << 30)) >> 31);
}

/* round(x / 2^exponent), halves away from zero; 0 <= exponent <= 31. */
static inline int32_t tk_rounding_shift_right(int32_t x, int exponent) {
    const int32_t mask = (int32_t)(((uint32_t)1 << exponent) - 1);
    const int32_t remainder = x & mask;
    const int32_t threshold = (mask >> 1) + (x < 0 ? 1 : 0);
    return (x >> exponent) + (remainder > threshold ? 1 : 0);
}

/* round(x * multiplier / 2^31), halves upwards; 0 <= multiplier < 2^31. */
static inline int32_t tk_scale_high(int32_t x, int32_t multiplier) {
#if defined(__thumb2__)
    int32_t high;
    uint32_t low;
    __asm__("smull %0, %1, %2, %3\n\t"
            "adds %0, %0, #0x40000000\n\t"
            "adc %1, %1, #0\n\t"
            "adds %0, %0, %0\n\t"
            "adc %1, %1, %1"
            : "=&r"(low), "=&r"(high)
            : "r"(x), "r"(multiplier)
            : "cc");
    return high;
#elif defined(__thumb__) /* no long multiplication: by 16-bit halves */
    const int32_t x1 = x >> 16, m1 = multiplier >> 16, m0 = multiplier & 0xFFFF;
    const uint32_t x0 = (uint32_t)x & 0xFFFFu;
    const int32_t a = x1 * m0;
    const uint32_t b = x0 * (uint32_t)m1 + (x0 * (uint32_t)m0 >> 16) + (1u << 14);
    const uint32_t low = ((uint32_t)a & 0x7FFFu) + (b & 0x7FFFu);
    return 2 * x1 * m1 + (a >> 15) + (int32_t)(b >> 15) + (int32_t)(low >> 15);
#else
    return (int32_t)(((int64_t)x * multiplier + (1 << 30)) >> 31);
#endif
}

/* round(x * multiplier * 2^(shift - 31)) as TFLite's MultiplyByQuantizedMultiplier, that is
 * tk_rounding_shift_right(tk_doubling_high_multiply(x << left, multiplier), right).
 * 0 <= multiplier < 2^31; -31 <= shift <= 31. */
static inline int32_t tk_multiply(int32_t x, int32_t multiplier, int shift) {
    if (shift >= 0) {
        const int32_t shifted = (int32_t)((uint32_t)x << shift);
        return tk_scale_high(shifted, multiplier);
    }
    const int32_t high = tk_scale_high(x, multiplier);
    const int32_t half = (high + (high >> 31)) >> (-shift - 1); /* |high| < 2^31 - 1 */
    return (half + 1) >> 1;
}

#endif
