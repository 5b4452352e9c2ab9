/* DEPTHWISE_CONV_2D of 3x3 windows, undilated, where each input channel makes one output channel:
 * with the DSP instructions four channels side by side, in place; without them by packed planes. */
#include "depthwise_packed.h"
#include "mve.h"
#include "simd.h"
#include "tinykit/kernels.h"

#if TK_DSP && !TK_MVE
#include "fixed_point.h"
#include "rows.h"

/* One block of weights [3][3][count]: channels [first, first + count). */
typedef struct {
    const int8_t *weights;
    int32_t first, count;
} block;

#define PART 3 /* of tk_pixels.less: not all three columns lie inside */

/* Pixels of a row whose windows see the same taps.  pixels_3x3.S knows the order. */
typedef struct {
    const int8_t *x[3]; /* what the first pixel sees: its first taps in the last `rows` of these */
    const int8_t *weights; /* of the first of these taps */
    const int32_t *bias, *multiplier;
    const int8_t *shift;
    int8_t *output;
    int32_t mask;       /* -1: multipliers and shifts for each channel; 0: the first four for all */
    int32_t twice_zero; /* 2 * output zero point + 1 */
    int32_t channels, count; /* bytes from pixel to pixel, and from tap to tap of the weights */
    uint32_t offset;         /* minus the input's zero point, twice */
    int32_t last;            /* four channels: the first of them */
    int32_t pixels, advance; /* and bytes between what two pixels see */
    int32_t less;            /* rows outside the input, or PART */
    int32_t rows, taps;      /* inside */
} tk_pixels;

#if defined(__thumb2__)
void tk_pixels_3x3(const tk_pixels *pixels);
#else
/* What pixels_3x3.S does, for tests on other machines. */
static int8_t output_of(const tk_pixels *p, int32_t acc, int32_t o) {
    const int32_t c = p->mask & o, shift = p->shift[c];
    int32_t high = tk_scale_high(acc, p->multiplier[c]);
    high = (high + (high >> 31)) >> (-shift - 1);
    return tk_saturate_half(high + p->twice_zero);
}

static void four_channels(const tk_pixels *p, int32_t c) {
    int32_t acc[4] = {p->bias[c], p->bias[c + 1], p->bias[c + 2], p->bias[c + 3]};
    for (int32_t ky = 0; ky < p->rows; ky++) {
        for (int32_t kx = 0; kx < p->taps; kx++) {
            const uint32_t x = tk_load(p->x[3 - p->rows + ky] + kx * p->channels + c);
            const uint32_t w = tk_load(p->weights + (ky * 3 + kx) * p->count + c);
            const uint32_t x_even = tk_add_even_bytes(p->offset, x);
            const uint32_t x_odd = tk_add_odd_bytes(p->offset, x);
            acc[0] = tk_smlabb(x_even, tk_even_bytes(w), acc[0]);
            acc[1] = tk_smlabb(x_odd, tk_odd_bytes(w), acc[1]);
            acc[2] = tk_smlatt(x_even, tk_even_bytes(w), acc[2]);
            acc[3] = tk_smlatt(x_odd, tk_odd_bytes(w), acc[3]);
        }
    }
    for (int32_t k = 0; k < 4; k++) {
        p->output[c + k] = output_of(p, acc[k], c + k);
    }
}

static void tk_pixels_3x3(const tk_pixels *pixels) {
    tk_pixels p = *pixels;
    for (; p.pixels > 0; p.pixels--) {
        for (int32_t c = p.last; c > -4; c -= 4) {
            four_channels(&p, tk_max(c, 0));
        }
        for (int32_t ky = 3 - p.rows; ky < 3; ky++) {
            p.x[ky] += p.advance;
        }
        p.output += p.channels;
    }
}
#endif

/* The channels of a block, four or more, in fours that may overlap. */
static void row_3x3(const tk_depthwise_conv2d *conv, const block *b, const int8_t *input,
                    tk_view *view, int8_t *row) {
    const tk_window *w = conv->window;
    const int32_t at = conv->per_channel ? b->first : 0;
    const int32_t m = conv->multiplier[at], multiplier[4] = {m, m, m, m};
    const int8_t s = conv->shift[at];
    const _Alignas(4) int8_t shift[4] = {s, s, s, s};
    tk_pixels p = {
        .bias = conv->bias + b->first,
        .multiplier = conv->per_channel ? conv->multiplier + at : multiplier,
        .shift = conv->per_channel ? conv->shift + at : shift,
        .mask = conv->per_channel ? -1 : 0,
        .twice_zero = 2 * conv->output_zero_point + 1,
        .channels = conv->input_channels,
        .count = b->count,
        .offset = tk_both(-conv->input_zero_point),
        .last = b->count - 4,
        .advance = w->stride_width * conv->input_channels,
    };
    for (int32_t ox = 0; ox < w->output_width; ox += p.pixels) {
        tk_view_column(view, w, conv->input_channels, ox);
        p.taps = view->kx.last - view->kx.first;
        p.pixels = 1;
        if (p.taps == 3) { /* and those behind it, as far as they go */
            const int32_t left = w->input_width - 3 + w->pad_left - ox * w->stride_width;
            p.pixels = tk_min(left / w->stride_width + 1, w->output_width - ox);
        }
        p.rows = view->ky.last - view->ky.first;
        p.less = p.taps == 3 ? 3 - p.rows : PART;
        tk_row_walk walk = view->rows;
        for (int32_t ky = 3 - p.rows; ky < 3; ky++) {
            p.x[ky] = input + walk.offset + view->column + b->first;
            tk_next_row(&walk);
        }
        p.weights = b->weights + (view->ky.first * 3 + view->kx.first) * b->count;
        p.output = row + ox * conv->output_channels + b->first;
        tk_pixels_3x3(&p);
    }
}

void tk_depthwise_conv2d_3x3_row_s8(const tk_depthwise_conv2d *conv, const int8_t *input,
                                    int32_t ring, int32_t oy, int8_t *output, int16_t *scratch) {
    const int32_t size = conv->window->output_width * conv->output_channels;
    block b = {conv->weights, 0, conv->split};
    tk_view view;
    (void)scratch;
    tk_view_row(&view, conv->window, ring, conv->input_channels, oy);
    for (;;) {
        row_3x3(conv, &b, input, &view, output);
        b.first += b.count;
        if (b.first == conv->output_channels) {
            break;
        }
        b = (block){conv->weights_rest, b.first, conv->output_channels - b.first};
    }
    tk_clamp_outputs(output, size, conv->activation_min, conv->activation_max);
}

void tk_depthwise_conv2d_3x3_s8(const tk_depthwise_conv2d *conv, const int8_t *input,
                                int8_t *output, int16_t *scratch) {
    const tk_window *w = conv->window;
    for (int32_t oy = 0; oy < w->output_height; oy++) {
        tk_depthwise_conv2d_3x3_row_s8(conv, input, w->input_height, oy, output, scratch);
        output += w->output_width * conv->output_channels;
    }
}

#elif TK_PACKED

void tk_depthwise_conv2d_3x3_row_s8(const tk_depthwise_conv2d *conv, const int8_t *input,
                                    int32_t ring, int32_t oy, int8_t *output, int16_t *scratch) {
    tk_packed_depthwise(conv, input, ring, oy, 1, output, (int32_t *)(void *)scratch);
}

void tk_depthwise_conv2d_3x3_s8(const tk_depthwise_conv2d *conv, const int8_t *input,
                                int8_t *output, int16_t *scratch) {
    const tk_window *w = conv->window;
    tk_packed_depthwise(conv, input, w->input_height, 0, w->output_height, output,
                        (int32_t *)(void *)scratch);
}

#else

void tk_depthwise_conv2d_3x3_row_s8(const tk_depthwise_conv2d *conv, const int8_t *input,
                                    int32_t ring, int32_t oy, int8_t *output, int16_t *scratch) {
    tk_depthwise_conv2d_row_s8(conv, input, ring, oy, output, scratch);
}

void tk_depthwise_conv2d_3x3_s8(const tk_depthwise_conv2d *conv, const int8_t *input,
                                int8_t *output, int16_t *scratch) {
    tk_depthwise_conv2d_s8(conv, input, output, scratch);
}

#endif
