/* Gradients of 8 bits: exact integer sums, rounded once to nearest. */
#include "gradient.h"
#include "optimizer.h"

#define GRADIENT int8_t
#define SUM int64_t
#define FACTOR int16_t
#define NAME(kernel) kernel##_s8

static int8_t settled(int64_t acc, int32_t shift, uint32_t *saturations) {
    const int64_t rounded = tk_shift_round(acc, shift);
    const int32_t kept = (int32_t)(rounded > 127 ? 127 : (rounded < -127 ? -127 : rounded));
    *saturations += kept != rounded;
    return (int8_t)kept;
}

static int32_t collected(int64_t acc, int32_t shift, uint32_t *saturations) {
    (void)saturations; /* the shift is such that any sum fits */
    return (int32_t)tk_shift_round(acc, shift);
}

static int64_t averaged(int8_t gradient, int32_t count) {
    return gradient * (int64_t)(((1 << 25) / count + 1) / 2);
}

/* m / 2^15 of a channel's scale over the largest's power of two. */
#define factor_of(layer, c) \
    tk_channel_multiplier((layer)->scale, (layer)->multiplier[c], (layer)->multiplier_shift[c])

#include "gradients_plain.h"

void tk_plain_convert_s8(const tk_plain_convert *op, const int16_t *gradient, int8_t *result,
                         tk_trainer *trainer) {
    for (uint32_t i = 0; i < op->size; i++) {
        result[i] = settled(gradient[i], op->shift, &trainer->saturations);
    }
}

void tk_plain_add_s8(const tk_gradient_add *add, const int8_t *a, const int8_t *b, int8_t *result,
                     tk_trainer *trainer) {
    for (uint32_t i = 0; i < add->size; i++) {
        const int64_t sum =
            a[i] * ((int64_t)1 << add->shift_a) + b[i] * ((int64_t)1 << add->shift_b);
        result[i] = settled(sum, add->shift, &trainer->saturations);
    }
}
