#include "pointwise_grad.h"

#include "conv_block.h"
#include "gradient.h"

/* Products of int16 and int8 that an int32 surely holds: 510 * 2^15 * 2^7 < 2^31. */
#define CHUNK 255 /* pairs */

/* The gradients of four pixels' inputs (or of one's) at pairs of positions.  The patch holds scaled
 * gradients: for each pair of output channels one word per pixel.  grad_block.S knows the order. */
typedef struct {
    const int16_t *patch, *end;
    const int8_t *weights; /* of the first positions, of output channels 0 and 1 */
    int32_t step;          /* bytes to the next pair of output channels */
    int16_t *output;
    int32_t channel_bytes; /* from pixel to pixel of the output */
    int32_t pairs;         /* of positions */
    int32_t round, shift;  /* 2^(shift - 1) */
} tk_grad_block;

#if TK_DSP && defined(__thumb2__)
/* Returns 1 where a result was clamped.  Sums must fit an int32. */
int32_t tk_grad_block_4(const tk_grad_block *block);
#endif

/* Position `at` of all `count` pixels. */
static void block_position(const tk_grad_block *b, int32_t count, int32_t at,
                           uint32_t *saturations) {
    for (int32_t pixel = 0; pixel < count; pixel++) {
        const int16_t *g = b->patch + 2 * pixel;
        const int8_t *w = b->weights + (at >> 1) * 4 + (at & 1) * 2;
        int64_t total = 0;
        for (int32_t pairs = (int32_t)(b->end - b->patch) / (2 * count); pairs > 0;) {
            const int32_t chunk = pairs < CHUNK ? pairs : CHUNK;
            int32_t sum = 0;
            for (int32_t i = 0; i < chunk; i++, g += 2 * count, w += b->step) {
                sum += g[0] * w[0] + g[1] * w[1];
            }
            total += sum;
            pairs -= chunk;
        }
        b->output[pixel * b->channel_bytes / 2 + at] = tk_to_gradient(total, b->shift, saturations);
    }
}

/* One block of weights with `width` positions. */
static void block_gradients(const tk_grad_block *whole, int32_t count, int32_t width, int narrow,
                            uint32_t *saturations) {
    int32_t at = 0;
#if TK_DSP && defined(__thumb2__)
    if (count == 4 && narrow && width >= 2) {
        at = tk_grad_block_4(whole) ? 0 : width & ~1; /* clamped ones are counted below */
    }
#else
    (void)narrow;
#endif
    for (; at < width; at++) {
        block_position(whole, count, at, saturations);
    }
}

static inline int16_t scaled(int32_t product, int32_t shift, uint32_t *saturations) {
    const int32_t rounded = (product + (1 << (shift - 1))) >> shift; /* |product| <= 2^30 */
    if (rounded != (int16_t)rounded) {
        ++*saturations;
        return rounded < 0 ? INT16_MIN : INT16_MAX;
    }
    return (int16_t)rounded;
}

/* Gradients of `count` pixels times their channels' multipliers, into the patch. */
static void scale(const tk_conv2d_input_grad *conv, const int16_t *multipliers, const int16_t *from,
                  int32_t count, int16_t *patch, uint32_t *saturations) {
    const int32_t outputs = conv->output_channels, shift = conv->scale_shift, step = 2 * count;
    for (int32_t pixel = 0; pixel < count; pixel++, from += outputs) {
        int16_t *to = patch + 2 * pixel;
        int32_t o = 0;
        if (shift > 0 && shift < 31) {
            for (; o + 2 <= outputs; o += 2, to += step) {
                to[0] = scaled(from[o] * multipliers[o], shift, saturations);
                to[1] = scaled(from[o + 1] * multipliers[o + 1], shift, saturations);
            }
        }
        for (; o < outputs; o++) {
            to[o & 1] = tk_to_gradient(from[o] * multipliers[o], shift, saturations);
            to += o & 1 ? step : 0;
        }
        if (outputs & 1) {
            to[1] = 0;
        }
    }
}

void tk_pointwise_input_grad(const tk_conv2d_input_grad *conv, const int16_t *multipliers,
                             const int16_t *gradient, int16_t *result, int16_t *patch,
                             tk_trainer *trainer) {
    const int32_t outputs = conv->output_channels, channels = conv->input_channels;
    const int32_t split = conv->split;
    const int32_t pixels = (int32_t)conv->window->input_height * conv->window->input_width;
    for (int32_t p = 0; p < pixels;) {
        const int32_t count = pixels - p >= 4 ? 4 : 1;
        scale(conv, multipliers, gradient, count, patch, &trainer->saturations);
        tk_grad_block block = {
            .patch = patch,
            .end = patch + (outputs + 1) / 2 * 2 * count,
            .weights = conv->weights,
            .step = tk_pair_bytes(split),
            .output = result,
            .channel_bytes = 2 * channels,
            .pairs = split / 2,
            .round = conv->narrow && conv->shift > 0 ? 1 << (conv->shift - 1) : 0,
            .shift = conv->shift,
        };
        block_gradients(&block, count, split, conv->narrow, &trainer->saturations);
        if (split < channels) {
            block.weights = conv->weights_rest;
            block.step = tk_pair_bytes(channels - split);
            block.output = result + split;
            block.pairs = (channels - split) / 2;
            block_gradients(&block, count, channels - split, conv->narrow, &trainer->saturations);
        }
        gradient += count * outputs;
        result += count * channels;
        p += count;
    }
}
