/* QUANTIZE, RELU, RELU6, LEAKY_RELU, LOGISTIC, TANH and SOFTMAX of int16x8. */
#include "gemmlowp.h"
#include "sigmoid.h"
#include "tinykit/kernels.h"
#include "wide.h"

static int32_t rescaled(const tk_rescale *op, int32_t x) {
    const int32_t y = tk_multiply(x - op->input_zero_point, op->multiplier, op->shift);
    return tk_clamp(y, op->activation_min - op->output_zero_point,
                    op->activation_max - op->output_zero_point) +
           op->output_zero_point;
}

void tk_requantize_s16(const tk_rescale *op, const int16_t *input, int16_t *output) {
    for (uint32_t i = 0; i < op->size; i++) {
        output[i] = (int16_t)rescaled(op, input[i]);
    }
}

void tk_requantize_s16_s8(const tk_rescale *op, const int16_t *input, int8_t *output) {
    for (uint32_t i = 0; i < op->size; i++) {
        output[i] = (int8_t)rescaled(op, input[i]);
    }
}

void tk_requantize_s8_s16(const tk_rescale *op, const int8_t *input, int16_t *output) {
    for (uint32_t i = 0; i < op->size; i++) {
        output[i] = (int16_t)rescaled(op, input[i]);
    }
}

void tk_leaky_relu_s16(const tk_leaky_relu16 *op, const int16_t *input, int16_t *output) {
    for (uint32_t i = 0; i < op->size; i++) {
        const int32_t x = input[i];
        const int32_t y = x >= 0 ? tk_multiply(x, op->multiplier, op->shift)
                                 : tk_multiply(x, op->alpha_multiplier, op->alpha_shift);
        output[i] = tk_saturate16(y, INT16_MIN, INT16_MAX);
    }
}

/* An input in the table's steps, rounded. */
static int32_t table_steps(const tk_sigmoid16 *op, int32_t x) {
    const int32_t half = op->shift > 0 ? (int32_t)(1u << (op->shift - 1)) : 0;
    return (x * op->multiplier + half) >> op->shift;
}

void tk_logistic_s16(const tk_sigmoid16 *op, const int16_t *input, int16_t *output) {
    for (uint32_t i = 0; i < op->size; i++) {
        output[i] = (int16_t)tk_sigmoid(op->sigmoid, table_steps(op, input[i]));
    }
}

void tk_tanh_s16(const tk_sigmoid16 *op, const int16_t *input, int16_t *output) {
    for (uint32_t i = 0; i < op->size; i++) {
        output[i] = (int16_t)tk_tanh(op->sigmoid, table_steps(op, input[i]));
    }
}

/* A table of 512 steps over all of int16, with interpolation. */
static int32_t interpolated(const int16_t *table, int32_t x) {
    const int16_t *at = table + 256 + (x >> 7);
    return at[0] + (((at[1] - at[0]) * (x & 127) + 64) >> 7);
}

static void softmax_row(const tk_softmax16 *op, const int16_t *input, int16_t *output) {
    int32_t max = INT16_MIN, sum = 0; /* Q16.15 */
    for (int32_t i = 0; i < op->depth; i++) {
        max = tk_max(max, input[i]);
    }
    for (int32_t i = 0; i < op->depth; i++) {
        const int32_t x = tk_multiply(input[i] - max, op->multiplier, op->shift);
        output[i] = (int16_t)interpolated(op->exponential, tk_clamp(x, -65535, 0) + INT16_MAX);
        sum += output[i];
    }
    /* 1 / sum as 1 / (1 + fraction) / 2^power, the fraction in Q0.16 around the middle of int16. */
    const int zeros = tk_leading_zeros((uint32_t)sum);
    const int32_t shifted = (int32_t)((((int64_t)sum << (zeros - 1)) + (1 << 13)) >> 14);
    const int32_t fraction = tk_clamp(shifted - (1 << 15) - (1 << 16), INT16_MIN, INT16_MAX);
    const int32_t reciprocal = interpolated(op->reciprocal, fraction);
    const int right = 31 - zeros;
    for (int32_t i = 0; i < op->depth; i++) {
        const int32_t y = (output[i] * reciprocal + (1 << (right - 1))) >> right;
        output[i] = tk_saturate16(y, 0, INT16_MAX);
    }
}

void tk_softmax_s16(const tk_softmax16 *op, const int16_t *input, int16_t *output) {
    for (uint32_t row = 0; row < op->rows; row++) {
        softmax_row(op, input, output);
        input += op->depth;
        output += op->depth;
    }
}
