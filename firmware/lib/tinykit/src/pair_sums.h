/* Sums of products with weights that lie in pairs of output channels (see tk_conv2d). */
#ifndef TINYKIT_PAIR_SUMS_H
#define TINYKIT_PAIR_SUMS_H

#include <stdint.h>

/* Channels o and o + 1 (o even) of [O, n] weights times n inputs, added to sums. */
static inline void tk_pair_sums(const int8_t *weights, int32_t o, const int8_t *x, int32_t n,
                                int32_t zero_point, int32_t sums[2]) {
    const int8_t *w = weights + o * (n + (n & 1));
    int32_t first = 0, second = 0;
    for (int32_t i = 0; i < n; i++) {
        const int32_t value = x[i] - zero_point;
        first += w[2 * i] * value;
        second += w[2 * i + 1] * value;
    }
    sums[0] += first;
    sums[1] += second;
}

#endif
