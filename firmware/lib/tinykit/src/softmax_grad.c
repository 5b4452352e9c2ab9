/* SOFTMAX and LOG_SOFTMAX backward. */
#include "gradient.h"

/* Differences times p have 14 fraction bits more than the gradient, before beta. */
void tk_softmax_grad_s16(const tk_softmax_grad *op, const int16_t *gradient, const int8_t *y,
                         int16_t *result, tk_trainer *trainer) {
    for (uint32_t row = 0; row < op->rows; row++) {
        int64_t products = 0;
        int32_t sum = 0;
        for (int32_t i = 0; i < op->depth; i++) {
            const int32_t q = y[i] + 128;
            sum += q;
            products += gradient[i] * q;
        }
        const int64_t square = (int64_t)sum * sum;
        const int64_t inverse = sum > 0 ? (((int64_t)1 << 32) + square / 2) / square : 0;
        for (int32_t i = 0; i < op->depth; i++) {
            const int64_t centred = (int64_t)gradient[i] * sum - products;
            const int64_t fraction = ((y[i] + 128) * centred * inverse) >> 18;
            result[i] = tk_to_gradient(fraction * op->multiplier, op->shift, &trainer->saturations);
        }
        gradient += op->depth;
        y += op->depth;
        result += op->depth;
    }
}

void tk_log_softmax_grad_s16(const tk_log_softmax_grad *op, const int16_t *gradient,
                             const int8_t *y, int16_t *result, tk_trainer *trainer) {
    for (uint32_t row = 0; row < op->rows; row++) {
        int64_t total = 0; /* Q0.24 */
        int32_t sum = 0;
        for (int32_t i = 0; i < op->depth; i++) {
            total += op->table[y[i] + 128];
            sum += gradient[i];
        }
        const int64_t inverse = (((int64_t)1 << 40) + total / 2) / total;
        for (int32_t i = 0; i < op->depth; i++) {
            const int64_t p = (op->table[y[i] + 128] * inverse + (1 << 15)) >> 16;
            const int64_t wide = (int64_t)gradient[i] * (1 << 24) - p * sum;
            result[i] = tk_to_gradient(wide, op->shift, &trainer->saturations);
        }
        gradient += op->depth;
        y += op->depth;
        result += op->depth;
    }
}
