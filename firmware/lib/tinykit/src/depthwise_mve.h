/* Depthwise convolutions with Helium: up to eight channels at a time, taken apart into planes of
 * int8.
 *
 * A plane holds one channel of the KH input rows that a row of outputs sees, column by column: KH
 * bytes for each column.  What one output sees is then KH * KW bytes in a row, and sixteen of them
 * are one load and one multiplication with the channel's weights, which are filled up with zeros.
 * Input row y is row y % KH of the planes: from one row of outputs to the next one only the new
 * rows are filled in, and the weights are loaded in another order. */
#ifndef TINYKIT_DEPTHWISE_MVE_H
#define TINYKIT_DEPTHWISE_MVE_H

#include "mve.h"
#include "requantize.h"
#include "rows.h"

#if TK_MVE

#define TK_MVE_PLANES 160  /* bytes of planes for each row of the kernel */
#define TK_MVE_WEIGHTS 256 /* bytes of weights of some channels */

/* How a layer is cut. */
typedef struct {
    int32_t vectors; /* of sixteen weights for a channel */
    int32_t lanes;   /* channels at a time: 8 or 4 */
    int32_t pitch;   /* bytes of a plane */
    int32_t most;    /* outputs of a row at a time; 0: not for this layer */
} tk_mve_cut;

static inline tk_mve_cut tk_mve_cut_of(const tk_window *w) {
    tk_mve_cut cut = {(w->kernel_height * w->kernel_width + 15) / 16, 8, 0, 0};
    for (; cut.lanes >= 4; cut.lanes /= 2) {
        cut.pitch = TK_MVE_PLANES / cut.lanes * w->kernel_height;
        const int32_t room = cut.pitch - 16 * cut.vectors;
        if (room >= 0 && cut.lanes * cut.vectors * 16 <= TK_MVE_WEIGHTS) {
            cut.most = room / (w->stride_width * w->kernel_height) + 1;
            return cut;
        }
    }
    return cut;
}

/* Some channels of a layer. */
typedef struct {
    const tk_window *window;
    tk_mve_cut cut;
    int32_t lanes;    /* channels, at most cut.lanes */
    int32_t channels; /* of the layer */
    int32_t input_zero_point, output_zero_point;
    int32_t activation_min, activation_max;
    int32_t any; /* some multiplier may shift left */
    int32_t bias[8], multiplier[8], shift[8];
    int8_t weights[TK_MVE_WEIGHTS];
} tk_mve_group;

/* Channels o … of a layer: weights ordered as the planes are, biases with the zero point's part.
 * weights: `apart` bytes from tap to tap. */
static inline void tk_mve_group_of(tk_mve_group *g, const tk_depthwise_conv2d *conv, int32_t o,
                                   const int8_t *weights, int32_t apart) {
    const int32_t height = g->window->kernel_height, width = g->window->kernel_width;
    const int32_t bytes = 16 * g->cut.vectors;
    const uint16x8_t offsets = vmulq_n_u16(vidupq_n_u16(0, 1), (uint16_t)bytes);
    const mve_pred16_t p = vctp16q((uint32_t)g->lanes);
    int16x8_t sum = vdupq_n_s16(0); /* kernels of 256 taps at most: TK_MVE_WEIGHTS */
    for (int32_t ky = 0; ky < height; ky++) {
        int8_t *to = g->weights + ky;
        for (int32_t kx = 0; kx < width; kx++, to += height, weights += apart) {
            const int16x8_t tap = vldrbq_z_s16(weights, p);
            sum = vaddq_s16(sum, tap);
            vstrbq_scatter_offset_p_s16(to, offsets, tap, p);
        }
    }
    int16_t sums[8];
    vstrhq_s16(sums, sum);
    for (int32_t k = 0; k < g->lanes; k += 4) {
        const mve_pred16_t four = vctp32q((uint32_t)(g->lanes - k));
        const int32x4_t bias = vldrwq_z_s32(conv->bias + o + k, four);
        vstrwq_s32(g->bias + k, vmlaq_n_s32(bias, vldrhq_s32(sums + k), -g->input_zero_point));
        int32x4_t multiplier = vdupq_n_s32(conv->multiplier[0]);
        int32x4_t shift = vdupq_n_s32(conv->shift[0]);
        if (conv->per_channel) {
            multiplier = vldrwq_z_s32(conv->multiplier + o + k, four);
            shift = vldrbq_z_s32(conv->shift + o + k, four);
        }
        vstrwq_s32(g->multiplier + k, multiplier);
        vstrwq_s32(g->shift + k, shift);
    }
}

/* One row of the planes: `columns` columns from x on, of which those outside are zero points.
 * row: column 0 of the group's first channel; NULL outside the input. */
static inline void tk_mve_fill(const tk_mve_group *g, const int8_t *row, int32_t x, int32_t columns,
                               int8_t *to) {
    const int32_t height = g->window->kernel_height, channels = g->channels;
    const uint16x8_t offsets = vmulq_n_u16(vidupq_n_u16(0, 1), (uint16_t)g->cut.pitch);
    const int16x8_t zero = vdupq_n_s16((int16_t)g->input_zero_point);
    const mve_pred16_t p = vctp16q((uint32_t)g->lanes);
    const int32_t left = row == NULL ? columns : tk_clamp(-x, 0, columns);
    const int32_t right = tk_clamp(g->window->input_width - x, left, columns);
    for (int32_t i = left; i > 0; i--, to += height) {
        vstrbq_scatter_offset_p_s16(to, offsets, zero, p);
    }
    if (right > left) {
        const int8_t *from = row + (x + left) * channels;
        if (g->lanes == 8) {
            for (int32_t i = right - left; i > 0; i--, from += channels, to += height) {
                vstrbq_scatter_offset_s16(to, offsets, vldrbq_s16(from));
            }
        } else {
            for (int32_t i = right - left; i > 0; i--, from += channels, to += height) {
                vstrbq_scatter_offset_p_s16(to, offsets, vldrbq_z_s16(from, p), p);
            }
        }
    }
    for (int32_t i = columns - right; i > 0; i--, to += height) {
        vstrbq_scatter_offset_p_s16(to, offsets, zero, p);
    }
}

/* Which of sixteen weights of a channel, from `first` on, go with the bytes of the planes, whose
 * row `top` is the kernel's first one.  The last weight is zero if they are more than the bytes. */
static inline uint8x16_t tk_mve_order(const tk_mve_group *g, int32_t first, int32_t top) {
    const uint32_t height = g->window->kernel_height;
    const uint32_t start = (uint32_t)first % height;
    const uint32_t turned = (start + height - (uint32_t)top) % height;
    const uint8x16_t column =
        vsubq_u8(vidupq_n_u8((uint32_t)first, 1), viwdupq_n_u8(start, height, 1));
    return vminq_u8(vaddq_u8(column, viwdupq_n_u8(turned, height, 1)),
                    vdupq_n_u8((uint8_t)(16 * g->cut.vectors - 1)));
}

/* `count` outputs of channels k … k + 3 of a group in planes of 60 bytes, when the kernel fits a
 * vector and all multipliers shift right.  The window of the next output is `apart` bytes on. */
static inline void tk_mve_four_3x3(const tk_mve_group *g, int32_t k, const int8_t *planes,
                                   uint8x16_t order, int32_t count, int8_t *output) {
    const int32_t apart = g->window->stride_width * g->window->kernel_height;
    const int8_t *x = planes + 60 * (k + 1), *weights = g->weights + 16 * k;
    const int32_t *constants = g->bias + k;
    const int8x16_t w0 = vldrbq_gather_offset_s8(weights, order);
    const int8x16_t w1 = vldrbq_gather_offset_s8(weights + 16, order);
    const int8x16_t w2 = vldrbq_gather_offset_s8(weights + 32, order);
    const int8x16_t w3 = vldrbq_gather_offset_s8(weights + 48, order);
    const int32x4_t low = vdupq_n_s32(g->activation_min), high = vdupq_n_s32(g->activation_max);
    int32_t a, b, c, d;
    register int32_t left __asm__("lr") = count;
    __asm__ volatile(
        "dls lr, lr\n"
        "1:\n\t"
        "vldrb.8 q0, [%[x], #-60]\n\t"
        "vmladav.s8 %[a], q0, %q[w0]\n\t"
        "vldrb.8 q1, [%[x]]\n\t"
        "vmladav.s8 %[b], q1, %q[w1]\n\t"
        "vldrb.8 q0, [%[x], #60]\n\t"
        "vmladav.s8 %[c], q0, %q[w2]\n\t"
        "vldrb.8 q1, [%[x], #120]\n\t"
        "vmladav.s8 %[d], q1, %q[w3]\n\t"
        "add %[x], %[x], %[apart]\n\t"
        "vldrw.32 q1, [%[constants]]\n\t" /* biases */
        "vmov q0[2], q0[0], %[a], %[c]\n\t"
        "vmov q0[3], q0[1], %[b], %[d]\n\t"
        "vadd.i32 q0, q0, q1\n\t"
        "vldrw.32 q1, [%[constants], #32]\n\t" /* multipliers */
        "vqrdmulh.s32 q0, q0, q1\n\t"
        "vldrw.32 q1, [%[constants], #64]\n\t" /* shifts */
        "vqdmlah.s32 q0, q0, %[one]\n\t"
        "vrshl.s32 q0, q0, q1\n\t"
        "vqadd.s32 q0, q0, %[zero_point]\n\t"
        "vmax.s32 q0, q0, %q[low]\n\t"
        "vmin.s32 q0, q0, %q[high]\n\t"
        "vstrb.32 q0, [%[output]]\n\t"
        "add %[output], %[output], %[channels]\n\t"
        "le lr, 1b"
        : "+r"(left), [x] "+r"(x), [output] "+r"(output), [a] "=&Te"(a), [b] "=&Te"(b),
          [c] "=&Te"(c), [d] "=&Te"(d)
        : [apart] "r"(apart), [constants] "r"(constants), [one] "r"(1),
          [zero_point] "r"(g->output_zero_point), [channels] "r"(g->channels), [w0] "w"(w0),
          [w1] "w"(w1), [w2] "w"(w2), [w3] "w"(w3), [low] "w"(low), [high] "w"(high)
        : "memory", "q0", "q1");
}

/* The same for any kernel, any multipliers and fewer channels. */
static inline void tk_mve_four(const tk_mve_group *g, int32_t k, const int8_t *planes, int32_t top,
                               int32_t count, int8_t *output) {
    const int32_t apart = g->window->stride_width * g->window->kernel_height;
    const int32_t channels = g->channels, zero_point = g->output_zero_point, pitch = g->cut.pitch;
    const int32_t bytes = 16 * g->cut.vectors;
    const int32x4_t low = vdupq_n_s32(g->activation_min), high = vdupq_n_s32(g->activation_max);
    const int32x4_t bias = vldrwq_s32(g->bias + k), multiplier = vldrwq_s32(g->multiplier + k);
    const int32x4_t shift = vldrwq_s32(g->shift + k);
    const mve_pred16_t p = vctp32q((uint32_t)(g->lanes - k));
    int8_t weights[TK_MVE_WEIGHTS]; /* in order: sixteen of each channel, the next sixteen, … */
    for (int32_t i = 0; i < bytes; i += 16) {
        const uint8x16_t order = tk_mve_order(g, i, top);
        for (int32_t j = 0; j < 4; j++) {
            vstrbq_s8(weights + 4 * i + 16 * j,
                      vldrbq_gather_offset_s8(g->weights + (k + j) * bytes, order));
        }
    }
    for (int32_t i = count; i > 0; i--, output += channels) {
        const int8_t *x0 = planes, *x1 = planes + pitch, *x2 = x1 + pitch, *x3 = x2 + pitch;
        const int8_t *w = weights;
        int32_t a = 0, b = 0, c = 0, d = 0;
        for (int32_t j = g->cut.vectors; j > 0; j--, w += 64) {
            a = vmladavaq_s8(a, vldrbq_s8(x0), vldrbq_s8(w));
            b = vmladavaq_s8(b, vldrbq_s8(x1), vldrbq_s8(w + 16));
            c = vmladavaq_s8(c, vldrbq_s8(x2), vldrbq_s8(w + 32));
            d = vmladavaq_s8(d, vldrbq_s8(x3), vldrbq_s8(w + 48));
            x0 += 16, x1 += 16, x2 += 16, x3 += 16;
        }
        int32x4_t v = vaddq_s32(tk_mve_collect(a, b, c, d), bias);
        v = vqaddq_n_s32(tk_mve_multiply_each(v, multiplier, shift, 1), zero_point);
        vstrbq_p_s32(output, vminq_s32(vmaxq_s32(v, low), high), p);
        planes += apart;
    }
}

/* `count` outputs of all channels of a group. */
static inline void tk_mve_tile(const tk_mve_group *g, const int8_t *planes, int32_t top,
                               int32_t count, int8_t *output) {
    int32_t k = 0;
    if (!g->any && g->cut.vectors == 1 && g->cut.pitch == 60) {
        const uint8x16_t order = tk_mve_order(g, 0, top);
        for (; k + 4 <= g->lanes; k += 4) {
            tk_mve_four_3x3(g, k, planes, order, count, output + k);
        }
    }
    for (; k < g->lanes; k += 4) {
        tk_mve_four(g, k, planes + k * g->cut.pitch, top, count, output + k);
    }
}

/* Outputs ox … ox + count - 1 of the rows oy … end - 1, in all channels of a group. */
static inline void tk_mve_rows(const tk_mve_group *g, const int8_t *input, int32_t ring, int32_t oy,
                               int32_t end, int32_t ox, int32_t count, int8_t *output,
                               int8_t *planes) {
    const tk_window *w = g->window;
    const int32_t height = w->kernel_height, row_bytes = w->input_width * g->channels;
    const int32_t x = ox * w->stride_width - w->pad_left;
    const int32_t columns = (count - 1) * w->stride_width + w->kernel_width;
    int32_t y = oy * w->stride_height - w->pad_top; /* the next row to fill in */
    int32_t slot = y < 0 ? (height - -y % height) % height : y % height; /* y modulo KH */
    int32_t place = y < 0 ? 0 : y % ring;
    int32_t top = slot;
    for (; oy < end; oy++, output += w->output_width * g->channels) {
        const int32_t first = oy * w->stride_height - w->pad_top;
        for (; y < first + height; y++) {
            const int inside = y >= 0 && y < w->input_height;
            if (y >= first) {
                tk_mve_fill(g, inside ? input + place * row_bytes : NULL, x, columns,
                            planes + slot);
            }
            slot = slot + 1 == height ? 0 : slot + 1;
            place = !inside ? place : place + 1 == ring ? 0 : place + 1;
        }
        tk_mve_tile(g, planes, top, count, output);
        for (top += w->stride_height; top >= height;) {
            top -= height;
        }
    }
}

/* Output rows oy … end - 1; 0: not for this layer.  planes: TK_MVE_PLANES * KH bytes. */
static inline int tk_mve_depthwise(const tk_depthwise_conv2d *conv, const int8_t *input,
                                   int32_t ring, int32_t oy, int32_t end, int8_t *output,
                                   int8_t *planes) {
    const tk_window *w = conv->window;
    tk_mve_group g;
    g.cut = tk_mve_cut_of(w);
    if (g.cut.most == 0 || w->dilation_height != 1 || w->dilation_width != 1 ||
        conv->input_channels != conv->output_channels) {
        return 0;
    }
    g.window = w;
    g.channels = conv->output_channels;
    g.input_zero_point = conv->input_zero_point;
    g.output_zero_point = conv->output_zero_point;
    g.activation_min = conv->activation_min;
    g.activation_max = conv->activation_max;
    g.any = conv->sums == TK_SUMS_ANY;
    for (int32_t i = 0; i < g.cut.lanes * g.cut.vectors * 16; i += 16) {
        vstrbq_s8(g.weights + i, vdupq_n_s8(0)); /* what is behind the taps stays zero */
    }
    for (int32_t o = 0; o < g.channels; o += g.lanes) {
        const int first = o < conv->split;
        const int32_t from = first ? 0 : conv->split, to = first ? conv->split : g.channels;
        const int8_t *weights = first ? conv->weights : conv->weights_rest;
        g.lanes = tk_min(g.cut.lanes, to - o);
        tk_mve_group_of(&g, conv, o, weights + o - from, to - from);
        for (int32_t ox = 0; ox < w->output_width; ox += g.cut.most) {
            tk_mve_rows(&g, input + o, ring, oy, end, ox, tk_min(g.cut.most, w->output_width - ox),
                        output + o + ox * g.channels, planes);
        }
    }
    return 1;
}

#endif

#endif
