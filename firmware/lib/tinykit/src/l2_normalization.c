/* Every row divided by its length: int8 to int8 with a scale of 1/128. */
#include "gemmlowp.h"
#include "tinykit/kernels.h"

#define OUTPUT_BITS 7

/* 1 / sqrt(value) = result * 2^(-31 - *shift), as TFLite's GetInvSqrtQuantizedMultiplierExp: five
 * Newton steps in Q3.28.  0 counts as 1. */
static int32_t inverse_square_root(int32_t value, int *shift) {
    *shift = 0;
    if (value <= 1) {
        return INT32_MAX;
    }
    int right = 11;
    for (; value >= 1 << 29; right++) {
        value /= 4;
    }
    const int pairs = (tk_leading_zeros((uint32_t)value) - 1) / 2 - 1;
    right -= pairs;
    value = (int32_t)((uint32_t)value << 2 * pairs);
    const int32_t half = tk_rounding_shift_right(value >> 1, 1);
    const int32_t three_halves = (1 << 28) + (1 << 27);
    int32_t x = 1 << 28;
    for (int i = 0; i < 5; i++) {
        const int32_t cube = tk_shift_left(tk_high_multiply(tk_high_multiply(x, x), x), 6);
        x = tk_shift_left(tk_high_multiply(three_halves, x) - tk_high_multiply(half, cube), 3);
    }
    const int32_t result = tk_high_multiply(x, 1518500250); /* sqrt(1/2) */
    if (right < 0) {
        return (int32_t)((uint32_t)result << -right);
    }
    *shift = right;
    return result;
}

void tk_l2_normalization_s8(const tk_l2_normalization *op, const int8_t *input, int8_t *output) {
    for (uint32_t row = 0; row < op->rows; row++) {
        int32_t squares = 0;
        for (uint32_t i = 0; i < op->depth; i++) {
            const int32_t x = input[i] - op->zero_point;
            squares += x * x;
        }
        int shift;
        const int32_t multiplier = inverse_square_root(squares, &shift);
        for (uint32_t i = 0; i < op->depth; i++) {
            const int32_t x = input[i] - op->zero_point;
            output[i] =
                (int8_t)tk_clamp(tk_multiply(x, multiplier, OUTPUT_BITS - shift), -128, 127);
        }
        input += op->depth;
        output += op->depth;
    }
}
