/* Gaussian naive Bayes and Gaussian mixtures: log-densities relative to the best one's. */
#include "fixed_point.h"
#include "tinykit/classical.h"

#define LARGEST (1 << 26) /* deviation: its square times 1,024 features fits into 62 bits */

static int32_t deviation(int32_t sum, int shift) {
    if (shift >= 0) {
        return tk_clamp(tk_rounding_shift_right(sum, shift), -LARGEST, LARGEST);
    }
    const int64_t wide = sum * ((int64_t)1 << -shift);
    const int64_t low = wide < LARGEST ? wide : LARGEST;
    return (int32_t)(low > -LARGEST ? low : -LARGEST);
}

/* The log-density of one component in 2^-17: -1/2 * sum of squared deviations in 2^-16. */
static int64_t density(const tk_gaussians *op, uint32_t component, const int16_t **weights,
                       const int8_t *x) {
    const uint32_t first = component * op->features;
    int64_t squares = 0;
    for (uint32_t i = 0; i < op->features; i++) {
        int32_t sum = op->bias[first + i];
        for (uint32_t j = op->full ? 0 : i; j <= i; j++) {
            sum += *(*weights)++ * x[j];
        }
        const int32_t y = deviation(sum, op->shift[first + i]);
        squares += (int64_t)y * y;
    }
    return op->start[component] - squares;
}

void tk_gaussians_s8(const tk_gaussians *op, const int8_t *x, int8_t *output, int32_t *scratch) {
    const uint32_t components = op->scores->count;
    int32_t *scores = scratch, *densities = scratch + components; /* int64 on word boundaries */
    const int16_t *weights = op->weights;
    int64_t best = INT64_MIN;
    for (uint32_t c = 0; c < components; c++) {
        const int64_t value = density(op, c, &weights, x);
        __builtin_memcpy(densities + 2 * c, &value, sizeof value);
        best = value > best ? value : best;
    }
    for (uint32_t c = 0; c < components; c++) {
        int64_t value;
        __builtin_memcpy(&value, densities + 2 * c, sizeof value);
        const int64_t below = (best - value + 511) >> 9; /* in 2^-8, upwards: 0 for the best only */
        scores[c] = below < INT32_MAX ? -(int32_t)below : -INT32_MAX;
    }
    tk_scores_s8(op->scores, scores, output);
}
