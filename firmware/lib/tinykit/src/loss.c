/* Losses. */
#include "scalar.h"
#include "tinykit/training.h"

#define GRADIENT_EXPONENT 14 /* the loss gradient is in units of 2^-14 */

void tk_softmax_cross_entropy_s8(const tk_softmax_cross_entropy *loss, const void *logits,
                                 int16_t *gradient, float *scratch, const tk_target *target,
                                 tk_trainer *trainer, tk_step *step) {
    const uint32_t classes = loss->classes, fine = loss->fine;
    const uint32_t label = (uint32_t)target->label;
    uint32_t best = 0;
    for (uint32_t c = 1; c < classes; c++) {
        if (tk_logit(logits, fine, c) > tk_logit(logits, fine, best)) {
            best = c;
        }
    }
    const int32_t top = tk_logit(logits, fine, best);
    const float distance = (float)(top - tk_logit(logits, fine, label)) * loss->scale;
    float total = 0.0f;
    for (uint32_t c = 0; c < classes; c++) {
        scratch[c] = tk_exp((float)(tk_logit(logits, fine, c) - top) * loss->scale);
        total = total + scratch[c];
    }
    float largest = 0.0f;
    for (uint32_t c = 0; c < classes; c++) {
        float difference = scratch[c] / total;
        if (c == label) {
            difference = difference - 1.0f;
        }
        scratch[c] = difference;
        const float size = difference < 0.0f ? -difference : difference;
        largest = size > largest ? size : largest;
    }
    step->prediction = (int32_t)best;
    step->loss = tk_log(total) + distance;
    trainer->skips =
        largest < loss->skip_below || (loss->guard_loss > 0.0f && step->loss > loss->guard_loss);
    if (largest < tk_power_of_two(-100)) {
        trainer->rate = 0.0f;
        trainer->normalisation = 0.0f;
        for (uint32_t c = 0; c < classes; c++) {
            gradient[c] = 0;
        }
        return;
    }
    const int32_t k = tk_exponent_above(largest) + (int32_t)trainer->headroom;
    trainer->normalisation = tk_power_of_two(k);
    trainer->rate = trainer->rate * trainer->normalisation;
    const float up = tk_power_of_two(GRADIENT_EXPONENT - k);
    for (uint32_t c = 0; c < classes; c++) {
        const float scaled = scratch[c] * up;
        gradient[c] = (int16_t)(scaled + (scaled >= 0.0f ? 0.5f : -0.5f));
    }
}
