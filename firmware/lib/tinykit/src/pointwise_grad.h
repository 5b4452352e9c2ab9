/* Input gradients of convolutions of one tap with stride 1, and of fully connected layers. */
#ifndef TINYKIT_POINTWISE_GRAD_H
#define TINYKIT_POINTWISE_GRAD_H

#include "tinykit/training.h"

/* Whether tk_pointwise_input_grad serves. */
static inline int tk_is_pointwise(const tk_window *w) {
    return w->kernel_height == 1 && w->kernel_width == 1 && w->stride_height == 1 &&
           w->stride_width == 1 && w->input_height == w->output_height &&
           w->input_width == w->output_width;
}

/* multipliers: of the output channels.  patch: 8 * up2(O) bytes (2 * up2(O), if there are less
 * than four pixels). */
void tk_pointwise_input_grad(const tk_conv2d_input_grad *conv, const int16_t *multipliers,
                             const int16_t *gradient, int16_t *result, int16_t *patch,
                             tk_trainer *trainer);

#endif
