/* Input gradients of depthwise convolutions with the DSP instructions: four channels at a time,
 * taken apart into planes in which neighbours along a row are neighbours in memory. */
#ifndef TINYKIT_GRADIENT_PLANES_H
#define TINYKIT_GRADIENT_PLANES_H

#include "tinykit/training.h"

/* Channels [first, first + count), four or more, whose weights are [KH][KW][count]; conv->planes
 * must be set.  The result may lie on the gradients.  multipliers: of all channels.  scratch, in
 * bytes: 8 * (H + KH - 1) * (up2(W) + KW / 2 * 2) for planes and 32 * KH * (KW / 2 + 1) for
 * weights. */
void tk_gradient_planes(const tk_depthwise_input_grad *conv, const int16_t *multipliers,
                        const int8_t *weights, int32_t first, int32_t count,
                        const int16_t *gradient, int16_t *result, int16_t *scratch,
                        uint32_t *saturations);

#endif
