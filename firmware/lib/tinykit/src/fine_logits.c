/* Logits of int16, for the loss of a training step. */
#include "conv_block.h"
#include "gradient.h"

/* Sum over `count` positions of x * w; weights of one channel, every other one of its pair's. */
static int32_t sum_of(const int8_t *x, const int8_t *w, int32_t count, int32_t zero_point) {
    int32_t sum = 0;
    for (int32_t p = 0; p < count; p++) {
        sum += (x[p] - zero_point) * w[2 * p];
    }
    return sum;
}

void tk_fine_logits_s16(const tk_fine_logits *op, const int8_t *x, int16_t *logits) {
    const int32_t first = op->split, rest = op->inputs - op->split;
    uint32_t clamped = 0;
    for (int32_t o = 0; o < op->outputs; o++) {
        const int32_t pair = o >> 1, odd = o & 1, c = op->per_channel ? o : 0;
        int64_t acc = op->bias[o];
        acc += sum_of(x, op->weights + pair * tk_pair_bytes(first) + odd, first, op->zero_point);
        if (rest > 0) {
            acc += sum_of(x + first, op->weights_rest + pair * tk_pair_bytes(rest) + odd, rest,
                          op->zero_point);
        }
        const int32_t shift = 31 - TK_FINE_LOGIT_BITS - op->shift[c];
        logits[o] = tk_to_gradient(acc * op->multiplier[c], shift, &clamped);
    }
}
