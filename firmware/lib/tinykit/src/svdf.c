/* SVDF, int8 with an int16 state, and its gradient. */
#include "gradient.h"
#include "pair_sums.h"
#include "requantize.h"
#include "tinykit/kernels.h"

void tk_svdf_s8(const tk_svdf *op, const int8_t *input, int16_t *state, int8_t *output) {
    const int32_t memory = op->memory, filters = op->filters, zero = op->input_zero_point;
    for (int32_t i = 1; i < filters * memory; i++) {
        state[i - 1] = state[i];
    }
    for (int32_t f = 0; f < filters; f += 2) {
        int32_t sums[2] = {0, 0};
        tk_pair_sums(op->weights, f, input, op->split, zero, sums);
        if (op->weights_rest) {
            tk_pair_sums(op->weights_rest, f, input + op->split, op->inputs - op->split, zero,
                         sums);
        }
        for (int32_t i = 0; i < 2 && f + i < filters; i++) {
            const int32_t feature = tk_multiply(sums[i], op->feature_multiplier, op->feature_shift);
            state[(f + i + 1) * memory - 1] = (int16_t)tk_clamp(feature, INT16_MIN, INT16_MAX);
        }
    }
    const tk_output_range range = tk_range_of(INT8_MIN, INT8_MAX, op->output_zero_point);
    const int32_t reach = op->rank * memory; /* of one output */
    const int16_t *time = op->time;
    for (int32_t u = 0; u < filters / op->rank; u++) {
        uint32_t sum = op->bias ? (uint32_t)op->bias[u] : 0; /* wraps, as in TFLM */
        for (int32_t i = 0; i < reach; i++) {
            sum += (uint32_t)(*time++ * *state++);
        }
        *output++ =
            (int8_t)tk_requantize((int32_t)sum, op->output_multiplier, op->output_shift, &range);
    }
}

void tk_svdf_grad_s16(const tk_svdf_grad *op, const int16_t *gradient, int16_t *result,
                      tk_trainer *trainer) {
    for (int32_t f = 0; f < op->filters; f++) {
        const int32_t newest = op->time[(f + 1) * op->memory - 1];
        const int64_t product = (int64_t)(gradient[f / op->rank] * newest) * op->multiplier;
        result[f] = tk_to_gradient(product, op->shift, &trainer->saturations);
    }
}
