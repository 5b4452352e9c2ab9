/* Support vector machines: radial basis functions, and the votes of one-versus-one decisions. */
#include "distance.h"
#include "requantize.h"
#include "tinykit/classical.h"

/* 2^15 * 2^(-distance * rate / 256); 0 from the limit on. */
static int32_t similarity(const tk_radial *op, int32_t distance) {
    if (distance >= op->limit) {
        return 0;
    }
    const int32_t exponent = tk_multiply(distance, op->rate, op->rate_shift);
    return op->power[exponent & 255] >> (exponent >> 8);
}

void tk_radial_s8(const tk_radial *op, const int8_t *x, int8_t *output, int32_t *sums) {
    const uint32_t columns = op->columns;
    for (uint32_t o = 0; o < op->outputs; o++) {
        sums[o] = op->start[o];
    }
    const int8_t *vector = op->vectors;
    const int16_t *weights = op->weights;
    for (uint32_t group = 0; group < op->groups; group++) {
        const uint8_t *into = op->output + group * columns;
        for (uint32_t n = 0; n < op->members[group]; n++) {
            const int32_t k = similarity(op, tk_squared_distance(x, vector, op->features));
            for (uint32_t c = 0; c < columns; c++) {
                sums[into[c]] += weights[c] * k >> op->down;
            }
            vector += op->features;
            weights += columns;
        }
    }
    const tk_output_range range = tk_range_of(INT8_MIN, INT8_MAX, op->zero_point);
    for (uint32_t o = 0; o < op->outputs; o++) {
        output[o] = (int8_t)tk_requantize(sums[o], op->multiplier, op->shift, &range);
    }
}

void tk_votes_s8(const tk_votes *op, const int8_t *decisions, int8_t *output) {
    for (uint32_t i = 0; i < op->classes; i++) {
        output[i] = 0;
    }
    for (uint32_t i = 0; i < op->classes; i++) {
        for (uint32_t j = i + 1; j < op->classes; j++) {
            output[*decisions++ > op->zero_point ? i : j]++;
        }
    }
}
