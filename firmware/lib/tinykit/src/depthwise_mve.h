/* Depthwise convolutions with Helium: some channels at a time, taken apart into planes of int8.
 *
 * A plane holds one channel of the input rows that an output row sees, column by column: KH bytes
 * for each column.  What one output sees is then KH * KW bytes in a row, and sixteen of them are one
 * load and one multiplication with the channel's weights, ordered alike and filled up with zeros. */
#ifndef TINYKIT_DEPTHWISE_MVE_H
#define TINYKIT_DEPTHWISE_MVE_H

#include "mve.h"
#include "requantize.h"
#include "rows.h"

#if TK_MVE

#define TK_MVE_SCRATCH 160 /* bytes of planes for each row of the kernel */
#define TK_MVE_WEIGHTS 256 /* bytes of weights of some channels */

/* How a layer is cut. */
typedef struct {
    int32_t vectors; /* of sixteen weights for a channel */
    int32_t lanes;   /* channels at a time: 8, 4, 2, 1 */
    int32_t pitch;   /* bytes of a plane */
    int32_t most;    /* outputs of a row at a time, a multiple of 4; 0: not for this layer */
} tk_mve_cut;

static inline tk_mve_cut tk_mve_cut_of(const tk_window *w) {
    const int32_t apart = w->stride_width * w->kernel_height;
    tk_mve_cut cut = {(w->kernel_height * w->kernel_width + 15) / 16, 8, 0, 0};
    while (cut.lanes > 0 && (cut.most == 0 || cut.lanes * cut.vectors * 16 > TK_MVE_WEIGHTS)) {
        cut.pitch = TK_MVE_SCRATCH / cut.lanes * w->kernel_height;
        const int32_t room = cut.pitch - 16 * cut.vectors;
        cut.most = room < 0 ? 0 : (room / apart + 1) & ~3;
        if (cut.most == 0 || cut.lanes * cut.vectors * 16 > TK_MVE_WEIGHTS) {
            cut.lanes /= 2;
        }
    }
    return cut;
}

/* Some channels of a layer. */
typedef struct {
    const tk_window *window;
    tk_mve_cut cut;
    int32_t lanes; /* channels, at most cut.lanes */
    int32_t input_channels, output_channels;
    int32_t input_zero_point, output_zero_point;
    int8_t activation_min, activation_max;
    int32_t step; /* from a channel's multiplier to the next one's */
    const int32_t *multiplier;
    const int8_t *shift;
    int32_t bias[8];
    int8_t weights[TK_MVE_WEIGHTS];
} tk_mve_group;

/* Weights ordered as the planes are, `apart` bytes from tap to tap; biases with the zero point. */
static inline void tk_mve_group_weights(tk_mve_group *g, const int8_t *weights, int32_t apart,
                                        const int32_t *bias) {
    const int32_t height = g->window->kernel_height, width = g->window->kernel_width;
    const int32_t bytes = 16 * g->cut.vectors;
    const uint16x8_t offsets = vmulq_n_u16(vidupq_n_u16(0, 1), (uint16_t)bytes);
    const mve_pred16_t p = vctp16q((uint32_t)g->lanes);
    for (int32_t i = 0; i < g->lanes * bytes; i += 16) {
        vstrbq_s8(g->weights + i, vdupq_n_s8(0));
    }
    for (int32_t ky = 0; ky < height; ky++) {
        int8_t *to = g->weights + ky;
        for (int32_t kx = 0; kx < width; kx++, to += height, weights += apart) {
            vstrbq_scatter_offset_p_s16(to, offsets, vldrbq_z_s16(weights, p), p);
        }
    }
    for (int32_t k = 0; k < g->lanes; k++) {
        int32_t sum = 0;
        for (int32_t i = 0; i < bytes; i += 16) {
            sum = vaddvaq_s8(sum, vldrbq_s8(g->weights + k * bytes + i));
        }
        g->bias[k] = (int32_t)((uint32_t)bias[k] - (uint32_t)(g->input_zero_point * sum));
    }
}

/* Fills the planes of a group, whose first channel lies at `input`, with `columns` columns from x
 * on, which may lie outside: there and in rows outside, zero points. */
static inline void tk_mve_fill(const tk_mve_group *g, const int8_t *input, const tk_view *view,
                               int32_t x, int32_t columns, int8_t *planes) {
    const int32_t height = g->window->kernel_height, width = g->window->input_width;
    const int32_t channels = g->input_channels;
    const uint16x8_t offsets = vmulq_n_u16(vidupq_n_u16(0, 1), (uint16_t)g->cut.pitch);
    const int16x8_t zero = vdupq_n_s16((int16_t)g->input_zero_point);
    const mve_pred16_t p = vctp16q((uint32_t)g->lanes);
    const int32_t left = tk_clamp(-x, 0, columns), right = tk_clamp(width - x, left, columns);
    tk_row_walk rows = view->rows;
    for (int32_t ky = 0; ky < height; ky++) {
        int8_t *to = planes + ky;
        int32_t outside = columns;
        if (ky >= view->ky.first && ky < view->ky.last) {
            const int8_t *from = input + rows.offset + (x + left) * channels;
            tk_next_row(&rows);
            for (int32_t i = left; i > 0; i--, to += height) {
                vstrbq_scatter_offset_p_s16(to, offsets, zero, p);
            }
            if (g->lanes == 8) {
                for (int32_t i = right - left; i > 0; i--, from += channels, to += height) {
                    vstrbq_scatter_offset_s16(to, offsets, vldrbq_s16(from));
                }
            } else {
                for (int32_t i = right - left; i > 0; i--, from += channels, to += height) {
                    vstrbq_scatter_offset_p_s16(to, offsets, vldrbq_z_s16(from, p), p);
                }
            }
            outside = columns - right;
        }
        for (; outside > 0; outside--, to += height) {
            vstrbq_scatter_offset_p_s16(to, offsets, zero, p);
        }
    }
}

/* Four sums of products, of windows `apart` bytes from each other. */
static inline __attribute__((always_inline)) int32x4_t
tk_mve_windows(const int8_t *plane, int32_t apart, const int8_t *weights, int32_t vectors,
               int8x16_t first) {
    const int8_t *x0 = plane, *x1 = plane + apart, *x2 = plane + 2 * apart,
                 *x3 = plane + 3 * apart;
    int32_t a = vmladavq_s8(vldrbq_s8(x0), first);
    int32_t b = vmladavq_s8(vldrbq_s8(x1), first);
    int32_t c = vmladavq_s8(vldrbq_s8(x2), first);
    int32_t d = vmladavq_s8(vldrbq_s8(x3), first);
    for (int32_t i = 16; i < 16 * vectors; i += 16) {
        const int8x16_t w = vldrbq_s8(weights + i);
        a = vmladavaq_s8(a, vldrbq_s8(x0 + i), w);
        b = vmladavaq_s8(b, vldrbq_s8(x1 + i), w);
        c = vmladavaq_s8(c, vldrbq_s8(x2 + i), w);
        d = vmladavaq_s8(d, vldrbq_s8(x3 + i), w);
    }
    return tk_mve_collect(a, b, c, d);
}

/* `count` outputs of channel k of a group. */
static inline __attribute__((always_inline)) void
tk_mve_channel(const tk_mve_group *g, int32_t k, const int8_t *plane, int32_t apart,
               int32_t vectors, int32_t any, int32_t count, int8_t *output) {
    const int8_t *weights = g->weights + k * 16 * vectors;
    const int8x16_t first = vldrbq_s8(weights);
    const int32_t bias = g->bias[k];
    const int32_t multiplier = g->multiplier[k * g->step], shift = g->shift[k * g->step];
    const int32x4_t low = vdupq_n_s32(g->activation_min), high = vdupq_n_s32(g->activation_max);
    const uint32x4_t offsets =
        vmulq_n_u32(vidupq_n_u32(0, 1), (uint32_t)g->output_channels);
    for (int32_t left = count; left > 0; left -= 4) {
        int32x4_t v = tk_mve_windows(plane, apart, weights, vectors, first);
        v = tk_mve_multiply(vaddq_n_s32(v, bias), multiplier, shift, any);
        v = vqaddq_n_s32(v, g->output_zero_point);
        v = vminq_s32(vmaxq_s32(v, low), high);
        if (left >= 4) {
            vstrbq_scatter_offset_s32(output, offsets, v);
        } else {
            vstrbq_scatter_offset_p_s32(output, offsets, v, vctp32q((uint32_t)left));
        }
        plane += 4 * apart;
        output += 4 * g->output_channels;
    }
}

/* `count` outputs of all channels of a group. */
static inline void tk_mve_tile(const tk_mve_group *g, const int8_t *planes, int32_t count,
                               int8_t *output) {
    const int32_t apart = g->window->stride_width * g->window->kernel_height;
    const int32_t vectors = g->cut.vectors;
    for (int32_t k = 0; k < g->lanes; k++, planes += g->cut.pitch, output++) {
        if (g->shift[k * g->step] >= 0) {
            tk_mve_channel(g, k, planes, apart, vectors, 1, count, output);
        } else if (vectors == 1 && apart == 3) { /* the same with numbers that are known */
            tk_mve_channel(g, k, planes, 3, 1, 0, count, output);
        } else if (vectors == 1 && apart == 6) {
            tk_mve_channel(g, k, planes, 6, 1, 0, count, output);
        } else {
            tk_mve_channel(g, k, planes, apart, vectors, 0, count, output);
        }
    }
}

/* Output rows oy … end - 1; 0: not for this layer.  scratch: TK_MVE_SCRATCH * KH bytes. */
static inline int tk_mve_depthwise(const tk_depthwise_conv2d *conv, const int8_t *input,
                                   int32_t ring, int32_t oy, int32_t end, int8_t *output,
                                   int8_t *scratch) {
    const tk_window *w = conv->window;
    tk_mve_group g;
    g.cut = tk_mve_cut_of(w);
    if (g.cut.most == 0 || w->dilation_width != 1 ||
        conv->input_channels != conv->output_channels) {
        return 0;
    }
    g.window = w;
    g.input_channels = conv->input_channels;
    g.output_channels = conv->output_channels;
    g.input_zero_point = conv->input_zero_point;
    g.output_zero_point = conv->output_zero_point;
    g.activation_min = conv->activation_min;
    g.activation_max = conv->activation_max;
    g.step = conv->per_channel ? 1 : 0;
    const int32_t channels = conv->output_channels, width = w->output_width;
    for (int32_t o = 0; o < channels; o += g.lanes) {
        const int first = o < conv->split;
        const int32_t from = first ? 0 : conv->split, to = first ? conv->split : channels;
        const int8_t *weights = first ? conv->weights : conv->weights_rest;
        g.lanes = tk_min(g.cut.lanes, to - o);
        g.multiplier = conv->multiplier + g.step * o;
        g.shift = conv->shift + g.step * o;
        tk_mve_group_weights(&g, weights + o - from, to - from, conv->bias + o);
        int8_t *y = output + o;
        for (int32_t row = oy; row < end; row++) {
            tk_view view;
            tk_view_row(&view, w, ring, channels, row);
            for (int32_t ox = 0; ox < width; ox += g.cut.most) {
                const int32_t count = tk_min(g.cut.most, width - ox);
                tk_mve_fill(&g, input + o, &view, ox * w->stride_width - w->pad_left,
                            (count - 1) * w->stride_width + w->kernel_width, scratch);
                tk_mve_tile(&g, scratch, count, y + ox * channels);
            }
            y += width * channels;
        }
    }
    return 1;
}

#endif

#endif
