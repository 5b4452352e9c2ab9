/* Rounding of gradient accumulators to int16. */
#ifndef TINYKIT_GRADIENT_H
#define TINYKIT_GRADIENT_H

#include "tinykit/training.h"

/* round(acc / 2^shift), halves upwards; a negative shift multiplies. */
static inline int64_t tk_shift_round(int64_t acc, int32_t shift) {
    if (shift <= 0) {
        return (int64_t)((uint64_t)acc << -shift);
    }
    return (acc + ((int64_t)1 << (shift - 1))) >> shift;
}

static inline int16_t tk_to_gradient(int64_t acc, int32_t shift, uint32_t *saturations) {
    const int64_t rounded = tk_shift_round(acc, shift);
    if (rounded > INT16_MAX) {
        ++*saturations;
        return INT16_MAX;
    }
    if (rounded < INT16_MIN) {
        ++*saturations;
        return INT16_MIN;
    }
    return (int16_t)rounded;
}

#endif
