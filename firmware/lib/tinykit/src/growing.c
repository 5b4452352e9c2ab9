/* A head that grows: what counts are the logits of the classes in use, as if there were no others.
 */
#include "tinykit/training.h"

void tk_growing_softmax_s8(const tk_softmax *softmax, const int8_t *input, int8_t *output,
                           const tk_trainer *trainer) {
    tk_softmax used = *softmax;
    used.depth = (uint16_t)trainer->classes;
    tk_softmax_s8(&used, input, output);
    for (uint32_t c = used.depth; c < softmax->depth; c++) {
        output[c] = -128;
    }
}

void tk_growing_softmax_cross_entropy_s8(const tk_softmax_cross_entropy *loss, const void *logits,
                                         int16_t *gradient, float *scratch, const tk_target *target,
                                         tk_trainer *trainer, tk_step *step) {
    tk_softmax_cross_entropy used = *loss;
    used.classes = trainer->classes;
    tk_softmax_cross_entropy_s8(&used, logits, gradient, scratch, target, trainer, step);
    for (uint32_t c = used.classes; c < loss->classes; c++) {
        gradient[c] = 0;
    }
}
