/* Sigmoid cross-entropy, the mean over the outputs: several classes may hold at once, or none. */
#include "scalar.h"
#include "tinykit/training.h"

#define GRADIENT_EXPONENT 14 /* the loss gradient is in units of 2^-14 */

static float target_of(const tk_sigmoid_cross_entropy *loss, const tk_target *target, uint32_t c) {
    if (target->values != NULL) {
        return (float)(target->values[c] + 128) / 255.0f;
    }
    const uint32_t label = (uint32_t)target->label;
    return (loss->outputs == 1 ? label == 1 : label == c) ? 1.0f : 0.0f;
}

static int32_t predicted(const tk_sigmoid_cross_entropy *loss, const void *logits) {
    if (loss->outputs == 1) {
        return tk_logit(logits, loss->fine, 0) > loss->zero_point;
    }
    uint32_t best = 0;
    for (uint32_t c = 1; c < loss->outputs; c++) {
        if (tk_logit(logits, loss->fine, c) > tk_logit(logits, loss->fine, best)) {
            best = c;
        }
    }
    return (int32_t)best;
}

void tk_sigmoid_cross_entropy_s8(const tk_sigmoid_cross_entropy *loss, const void *logits,
                                 int16_t *gradient, float *scratch, const tk_target *target,
                                 tk_trainer *trainer, tk_step *step) {
    const float outputs = (float)loss->outputs;
    float total = 0.0f;
    float largest = 0.0f;
    for (uint32_t c = 0; c < loss->outputs; c++) {
        const int32_t logit = tk_logit(logits, loss->fine, c);
        const float x = (float)(logit - loss->zero_point) * loss->scale;
        const float e = tk_exp(x > 0.0f ? -x : x);
        const float t = target_of(loss, target, c);
        const float above = x > 0.0f ? x : 0.0f;
        total = total + ((above - x * t) + tk_log(1.0f + e));
        const float difference = (x > 0.0f ? 1.0f : e) / (1.0f + e) - t;
        scratch[c] = difference;
        const float size = difference < 0.0f ? -difference : difference;
        largest = size > largest ? size : largest;
    }
    step->prediction = predicted(loss, logits);
    step->loss = total / outputs;
    trainer->skips =
        largest < loss->skip_below || (loss->guard_loss > 0.0f && step->loss > loss->guard_loss);
    if (largest < tk_power_of_two(-100)) {
        trainer->rate = 0.0f;
        trainer->normalisation = 0.0f;
        for (uint32_t c = 0; c < loss->outputs; c++) {
            gradient[c] = 0;
        }
        return;
    }
    const int32_t k = tk_exponent_above(largest) + (int32_t)trainer->headroom;
    trainer->normalisation = tk_power_of_two(k) / outputs;
    trainer->rate = trainer->rate * trainer->normalisation;
    const float up = tk_power_of_two(GRADIENT_EXPONENT - k);
    for (uint32_t c = 0; c < loss->outputs; c++) {
        const float scaled = scratch[c] * up;
        gradient[c] = (int16_t)(scaled + (scaled >= 0.0f ? 0.5f : -0.5f));
    }
}
