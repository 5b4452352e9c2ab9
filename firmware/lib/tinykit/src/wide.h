/* Rescaling 64-bit sums, as TensorFlow Lite Micro does it for int16x8. */
#ifndef TINYKIT_WIDE_H
#define TINYKIT_WIDE_H

#include "fixed_point.h"

/* round(x * m * 2^(shift - 15)), halves upwards, with m the multiplier's upper 15 bits, rounded.
 * |x| < 2^47; -31 <= shift <= 7; of a result that exceeds int32 the lower 32 bits. */
static inline int32_t tk_multiply_wide(int64_t x, int32_t multiplier, int shift) {
    const int32_t m = multiplier < 0x7FFF0000 ? (multiplier + (1 << 15)) >> 16 : 0x7FFF;
    const int right = 15 - shift;
    return (int32_t)((x * m + ((int64_t)1 << (right - 1))) >> right);
}

static inline int16_t tk_saturate16(int32_t x, int32_t low, int32_t high) {
    return (int16_t)tk_clamp(x, low, high);
}

#endif
