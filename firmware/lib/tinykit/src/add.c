/* ADD, int8. */
#include "requantize.h"
#include "tinykit/kernels.h"

/* x - zero_point with 20 fractional bits, rescaled.  The input with the larger scale has the
 * multiplier 1/2, for which no rounding is needed. */
static inline int32_t scaled(int32_t x, int32_t multiplier, int shift) {
    if (multiplier == 1 << 30 && shift == 0) {
        return x * (1 << 19);
    }
    return tk_multiply(x * (1 << 20), multiplier, shift);
}

void tk_add_s8(const tk_add *add, const int8_t *a, const int8_t *b, int8_t *output) {
    const tk_output_range range =
        tk_range_of(add->activation_min, add->activation_max, add->output_zero_point);
    const int32_t zero_a = add->zero_point_a;
    const int32_t zero_b = add->zero_point_b;
    for (uint32_t repeat = 0; repeat < add->repeats; repeat++) {
        for (uint32_t i = 0; i < add->size; i++) {
            const int32_t sum = scaled(*a++ - zero_a, add->multiplier_a, add->shift_a) +
                                scaled(b[i] - zero_b, add->multiplier_b, add->shift_b);
            *output++ =
                (int8_t)tk_requantize(sum, add->output_multiplier, add->output_shift, &range);
        }
    }
}
