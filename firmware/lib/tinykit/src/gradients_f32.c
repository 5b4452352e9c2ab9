/* Gradients of float32, for comparison with those of 16 bits: single operations in a fixed order,
 * never fused, so that every machine has the same bits. */
#include "optimizer.h"
#include "scalar.h"

#define GRADIENT float
#define SUM float
#define FACTOR float
#define NAME(kernel) kernel##_f32
#define LARGEST 1073741824.0f /* 2^30 */

static float settled(float sum, int32_t shift, const uint32_t *saturations) {
    (void)shift;
    (void)saturations;
    return sum;
}

/* sum * 2^shift, rounded halves away from zero. */
static int32_t collected(float sum, int32_t shift, uint32_t *saturations) {
    const float scaled = sum * tk_power_of_two(shift);
    if (scaled > -LARGEST && scaled < LARGEST) {
        return (int32_t)(scaled + (scaled < 0.0f ? -0.5f : 0.5f));
    }
    ++*saturations;
    return scaled > 0.0f ? (int32_t)1 << 30 : -((int32_t)1 << 30);
}

static float averaged(float gradient, int32_t count) {
    return gradient / (float)count;
}

/* The weight scale of a channel: M * s_y / s_x. */
static float factor_of(const tk_plain_layer *layer, int32_t c) {
    const float power = tk_power_of_two(layer->multiplier_shift[c] - 31);
    return (float)layer->multiplier[c] * power * layer->scale;
}

#include "gradients_plain.h"

void tk_plain_convert_f32(const tk_plain_convert *op, const int16_t *gradient, float *result) {
    for (uint32_t i = 0; i < op->size; i++) {
        result[i] = (float)gradient[i] * tk_power_of_two(-op->shift);
    }
}

void tk_plain_add_f32(const tk_gradient_add *add, const float *a, const float *b, float *result) {
    for (uint32_t i = 0; i < add->size; i++) {
        result[i] = a[i] + b[i];
    }
}
