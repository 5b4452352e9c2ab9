/* Mean squared error, in integers: no float but the loss and the rate. */
#include "gradient.h"
#include "scalar.h"
#include "tinykit/training.h"

#define GRADIENT_BITS 14 /* the largest gradient is at most 2^14 */
#define LOSS_SHIFT 6     /* differences lose so many bits before they are squared */

static int32_t difference_at(const tk_mean_squared_error *loss, const int8_t *y,
                             const int8_t *expected, uint32_t i) {
    return (y[i] - loss->zero_point) * loss->multiplier -
           (expected[i] - loss->target_zero_point) * loss->target_multiplier;
}

void tk_reconstruction_error_s8(const tk_mean_squared_error *loss, const int8_t *y,
                                const int8_t *expected, int16_t *gradient, tk_trainer *trainer,
                                tk_step *step) {
    int32_t largest = 0;
    uint64_t squares = 0;
    for (uint32_t i = 0; i < loss->size; i++) {
        const int32_t difference = difference_at(loss, y, expected, i);
        const int32_t size = difference < 0 ? -difference : difference;
        largest = size > largest ? size : largest;
        const uint32_t part = ((uint32_t)size + (1u << (LOSS_SHIFT - 1))) >> LOSS_SHIFT;
        squares += (uint64_t)part * part;
    }
    const float high = (float)(uint32_t)(squares >> 32) * 4294967296.0f;
    step->loss = (high + (float)(uint32_t)squares) * loss->loss_scale;
    int32_t bits = 0;
    while ((int32_t)1 << bits < largest) {
        bits++;
    }
    bits += (int32_t)trainer->headroom;
    trainer->skips = loss->guard_loss > 0.0f && step->loss > loss->guard_loss;
    trainer->normalisation = largest == 0 ? 0.0f : loss->gradient_scale * tk_power_of_two(bits);
    trainer->rate = trainer->rate * trainer->normalisation;
    for (uint32_t i = 0; i < loss->size; i++) {
        const int32_t difference = difference_at(loss, y, expected, i);
        gradient[i] = (int16_t)tk_shift_round(difference, bits - GRADIENT_BITS);
    }
}

void tk_mean_squared_error_s8(const tk_mean_squared_error *loss, const int8_t *y, int16_t *gradient,
                              const tk_target *target, tk_trainer *trainer, tk_step *step) {
    tk_reconstruction_error_s8(loss, y, target->values, gradient, trainer, step);
}
