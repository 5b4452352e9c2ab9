/* Depthwise convolutions with the DSP instructions: four channels at a time, taken apart into
 * planes of int16, in which neighbours along a row are neighbours in memory. */
#ifndef TINYKIT_PLANES_H
#define TINYKIT_PLANES_H

#include "requantize.h"
#include "rows.h"
#include "simd.h"

#define TK_PLANE 20        /* columns of a plane; a channel has KH rows of them */
#define TK_PLANE_KERNEL 15 /* widest kernel and stride */
#define TK_PLANE_WORDS 64  /* of a channel's weights: KH * (KW / 2 + 1) * 2 at most */

/* A tile: some outputs of a row, in four channels.  planes.S knows the order of the members up to
 * `wide`. */
typedef struct {
    const int16_t *planes;
    const uint32_t *words; /* planes.S: for each channel and kernel row (w0, w1), (w1, w2) */
    const int32_t *bias, *multiplier;
    const int8_t *shift;
    int8_t *output;
    int32_t step;       /* bytes from a channel's multiplier to the next one's: 4, or 0 */
    int32_t twice_zero; /* 2 * output zero point + 1 */
    int32_t channels;
    int32_t count; /* outputs */
    int32_t wide;  /* sums may reach 2^30 */
    const int8_t *weights;
} tk_tile;

#if TK_DSP

/* Outputs of a tile: an even number, so that each tile but the last starts on a whole word. */
static inline int32_t tk_plane_outputs(int32_t kernel, int32_t stride) {
    return ((TK_PLANE - kernel) / stride + 1) & ~1;
}

/* Whether tk_planes_tile can do it. */
static inline int tk_planes_serve(const tk_window *w) {
    return w->dilation_width == 1 && w->kernel_width <= TK_PLANE_KERNEL &&
           w->stride_width <= TK_PLANE_KERNEL && tk_plane_outputs(w->kernel_width, w->stride_width) >= 2 &&
           w->kernel_height * (w->kernel_width / 2 + 1) * 2 <= TK_PLANE_WORDS;
}

/* Two columns u and v of four channels, zero point subtracted, to `plane` of the first channel. */
static inline void tk_planes_put(int16_t *plane, int32_t size, uint32_t u, uint32_t v,
                                 uint32_t offset) {
    const uint32_t u_even = tk_add_even_bytes(offset, u), u_odd = tk_add_odd_bytes(offset, u);
    const uint32_t v_even = tk_add_even_bytes(offset, v), v_odd = tk_add_odd_bytes(offset, v);
    tk_store(plane, tk_pack_low(u_even, v_even));
    tk_store(plane + size, tk_pack_low(u_odd, v_odd));
    tk_store(plane + 2 * size, tk_pack_high(u_even, v_even));
    tk_store(plane + 3 * size, tk_pack_high(u_odd, v_odd));
}

/* Fills the planes of four channels, the first one's at `input`, with `columns` columns from
 * column x on, which may lie outside: there and in rows outside, zeros. */
static inline void tk_planes_fill(int16_t *planes, int32_t kernel_height, int32_t channels,
                                  const int8_t *input, const tk_view *view, int32_t x,
                                  int32_t columns, int32_t width, int32_t zero_point) {
    const int32_t size = kernel_height * TK_PLANE;
    const uint32_t offset = tk_both(-zero_point);
    const uint32_t zero = (uint32_t)(zero_point & 255) * 0x01010101u;
    tk_row_walk rows = view->rows;
    for (int32_t ky = 0; ky < kernel_height; ky++, planes += TK_PLANE) {
        if (ky < view->ky.first || ky >= view->ky.last) {
            for (int32_t i = 0; i < columns; i += 2) {
                tk_planes_put(planes + i, size, zero, zero, offset);
            }
            continue;
        }
        const int8_t *row = input + rows.offset;
        tk_next_row(&rows);
        int32_t i = 0;
        const int32_t inside = x < 0 ? (1 - x) & ~1 : 0; /* from here on the left is inside */
        const int32_t whole = tk_min(columns, width - x) & ~1;
        for (; i < columns; i += 2) {
            if (i == inside) { /* pairs with both columns inside */
                const int8_t *from = row + (x + i) * channels;
                for (; i < whole; i += 2, from += 2 * channels) {
                    tk_planes_put(planes + i, size, tk_load(from), tk_load(from + channels), offset);
                }
                if (i >= columns) {
                    break;
                }
            }
            const int32_t p = x + i;
            const uint32_t u = p >= 0 && p < width ? tk_load(row + p * channels) : zero;
            const uint32_t v =
                p + 1 >= 0 && p + 1 < width ? tk_load(row + (p + 1) * channels) : zero;
            tk_planes_put(planes + i, size, u, v, offset);
        }
    }
}

/* A finished sum to an output; every shift is in -31 … -1. */
static inline int8_t tk_planes_output(const tk_tile *tile, int32_t acc, int32_t multiplier,
                                      int32_t shift) {
    int32_t high = tile->wide ? tk_scale_high(acc, multiplier) : tk_smmulr(acc * 2, multiplier);
    high = (high + (high >> 31)) >> (-shift - 1);
    return (int8_t)tk_clamp((high + tile->twice_zero) >> 1, INT8_MIN, INT8_MAX);
}

/* The weights of one channel, `step` bytes from tap to tap, as words of two taps: for each row and
 * word one for outputs at even columns, (w0, w1), (w2, w3) …, and one for odd ones, (0, w0), … */
static inline void tk_planes_words(const int8_t *weights, int32_t step, int32_t height,
                                   int32_t width, uint32_t *words) {
    for (int32_t ky = 0; ky < height; ky++) {
        uint32_t before = 0; /* in the upper half */
        for (int32_t kx = 0; kx < width + 1; kx += 2) {
            const uint32_t a = kx < width ? (uint32_t)*weights & 0xFFFFu : 0;
            weights += kx < width ? step : 0;
            const uint32_t b = kx + 1 < width ? (uint32_t)*weights & 0xFFFFu : 0;
            weights += kx + 1 < width ? step : 0;
            *words++ = a | b << 16;
            *words++ = before >> 16 | a << 16;
            before = b << 16;
        }
    }
}

/* One channel of a tile. */
static inline void tk_planes_channel(const tk_tile *tile, const int16_t *plane,
                                     const uint32_t *words, int32_t height, int32_t pairs,
                                     int32_t stride, int32_t bias, int32_t multiplier,
                                     int32_t shift, int8_t *y) {
    int32_t i = 0;
    for (; stride == 1 && i + 2 <= tile->count; i += 2, plane += 2) {
        const int16_t *x = plane;
        const uint32_t *w = words;
        int32_t a = bias, b = bias;
        for (int32_t ky = 0; ky < height; ky++, x += TK_PLANE) {
            for (int32_t j = 0; j < pairs; j++, w += 2) {
                const uint32_t two = tk_load(x + 2 * j);
                a = tk_smlad(two, w[0], a);
                b = tk_smlad(two, w[1], b);
            }
        }
        y[0] = tk_planes_output(tile, a, multiplier, shift);
        y[tile->channels] = tk_planes_output(tile, b, multiplier, shift);
        y += 2 * tile->channels;
    }
    for (int32_t at = 0; i < tile->count; i++, at += stride) {
        const int16_t *x = plane + (at & ~1);
        const uint32_t *w = words + (at & 1);
        int32_t a = bias;
        for (int32_t ky = 0; ky < height; ky++, x += TK_PLANE) {
            for (int32_t j = 0; j < pairs; j++, w += 2) {
                a = tk_smlad(tk_load(x + 2 * j), w[0], a);
            }
        }
        *y = tk_planes_output(tile, a, multiplier, shift);
        y += tile->channels;
    }
}

#if defined(__thumb2__)
/* 3x3 with stride 1. */
void tk_planes_3x3(const tk_tile *tile);

/* Words of four channels for it. */
static inline void tk_planes_words_3x3(const int8_t *weights, int32_t step, uint32_t *words) {
    for (int32_t ky = 0; ky < 3; ky++, weights += 3 * step, words += 2) {
        const uint32_t w0 = tk_load(weights), w1 = tk_load(weights + step);
        const uint32_t w2 = tk_load(weights + 2 * step);
        const uint32_t even0 = tk_even_bytes(w0), even1 = tk_even_bytes(w1);
        const uint32_t even2 = tk_even_bytes(w2), odd0 = tk_odd_bytes(w0);
        const uint32_t odd1 = tk_odd_bytes(w1), odd2 = tk_odd_bytes(w2);
        words[0] = tk_pack_low(even0, even1);
        words[1] = tk_pack_low(even1, even2);
        words[6] = tk_pack_low(odd0, odd1);
        words[7] = tk_pack_low(odd1, odd2);
        words[12] = tk_pack_high(even0, even1);
        words[13] = tk_pack_high(even1, even2);
        words[18] = tk_pack_high(odd0, odd1);
        words[19] = tk_pack_high(odd1, odd2);
    }
}
#endif

/* The four channels of a tile; weights: `step` bytes from tap to tap. */
static inline void tk_planes_tile(tk_tile *tile, int32_t height, int32_t width, int32_t stride,
                                  int32_t step) {
    uint32_t words[TK_PLANE_WORDS];
#if defined(__thumb2__)
    if (height == 3 && width == 3 && stride == 1) {
        tk_planes_words_3x3(tile->weights, step, words);
        tile->words = words;
        tk_planes_3x3(tile);
        return;
    }
#endif
    for (int32_t k = 0; k < 4; k++) {
        const int32_t c = tile->step != 0 ? k : 0;
        tk_planes_words(tile->weights + k, step, height, width, words);
        tk_planes_channel(tile, tile->planes + k * height * TK_PLANE, words, height,
                          width / 2 + 1, stride, tile->bias[k], tile->multiplier[c],
                          tile->shift[c], tile->output + k);
    }
}

#endif

#endif
