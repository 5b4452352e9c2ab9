/* Depthwise convolutions with the DSP instructions: four channels at a time, taken apart into
 * planes of int16, in which neighbours along a row are neighbours in memory. */
#ifndef TINYKIT_PLANES_H
#define TINYKIT_PLANES_H

#include "requantize.h"
#include "rows.h"
#include "simd.h"

#define TK_PLANE 20        /* columns of a plane; a channel has KH rows of them */
#define TK_PLANE_KERNEL 15 /* widest kernel and stride */

/* A tile: some outputs of a row, in four channels.  planes.S knows the order of the members. */
typedef struct {
    const int16_t *planes;
    const uint32_t *words; /* of the weights, channel by channel */
    const int32_t *bias, *multiplier;
    const int8_t *shift;
    int8_t *output;
    int32_t step;       /* bytes from a channel's multiplier to the next one's: 4, or 0 */
    int32_t twice_zero; /* 2 * output zero point + 1 */
    int32_t channels;
    int32_t pairs;       /* of outputs, with stride 1 */
    int32_t singles;     /* outputs behind them; -1: the last pair is one output */
    int32_t wide;        /* sums may reach 2^30 */
    int32_t plane_bytes; /* of a channel's planes */
    int32_t words_bytes; /* of a channel's words */
    int32_t words_row;   /* words of columns that an output, or two neighbours, see in a row */
} tk_tile;

#if TK_DSP

/* Outputs of a tile: an even number, so that each tile but the last starts on a whole word. */
static inline int32_t tk_plane_outputs(int32_t kernel, int32_t stride) {
    return ((TK_PLANE - kernel) / stride + 1) & ~1;
}

/* Whether tk_planes_tile can do it. */
static inline int tk_planes_serve(const tk_window *w) {
    return w->dilation_width == 1 && w->kernel_width <= TK_PLANE_KERNEL &&
           w->stride_width <= TK_PLANE_KERNEL &&
           tk_plane_outputs(w->kernel_width, w->stride_width) >= 2;
}

/* The part of the input under a tile's planes: `columns` columns of the rows of a view, the first
 * one `left` into the planes.  What is outside the input stays zero. */
typedef struct {
    const int8_t *input; /* of the first column, in row 0 of the ring */
    int32_t columns, left;
    int32_t channels;
    int32_t size;    /* int16 from a channel's planes to the next channel's */
    uint32_t offset; /* minus the zero point, twice */
} tk_under;

/* n: a multiple of 4. */
static inline void tk_planes_zero(int16_t *planes, int32_t n) {
    for (int16_t *end = planes + n; planes != end; planes += 4) {
        tk_store(planes, 0);
        tk_store(planes + 2, 0);
    }
}

/* What lies under `count` outputs from ox on of a row; zeros the planes. */
static inline tk_under tk_planes_clear(int16_t *planes, const tk_window *w, int32_t channels,
                                       const int8_t *input, int32_t ox, int32_t count,
                                       int32_t zero_point) {
    const int32_t x = ox * w->stride_width - w->pad_left;
    const int32_t end = tk_min(x + (count - 1) * w->stride_width + w->kernel_width, w->input_width);
    const int32_t left = x < 0 ? -x : 0;
    const int32_t size = w->kernel_height * TK_PLANE;
    tk_planes_zero(planes, 4 * size);
    return (tk_under){input + (x + left) * channels, end - x - left, left, channels, size,
                      tk_both(-zero_point)};
}

/* One row of the planes of four channels, `to` the first one's and `from` in the input. */
static __attribute__((noinline)) void tk_planes_row(int16_t *to, const int8_t *from,
                                                    const tk_under *under) {
    const int32_t step = under->channels, size = under->size;
    const uint32_t offset = under->offset;
    const int8_t *next = from + step;
    for (int32_t n = under->columns; n > 0; n -= 2, to += 2, from += 2 * step, next += 2 * step) {
        const uint32_t u = tk_load(from);
        const uint32_t u_even = tk_add_even_bytes(offset, u), u_odd = tk_add_odd_bytes(offset, u);
        if (n == 1) {
            to[0] = (int16_t)u_even;
            to[size] = (int16_t)u_odd;
            to[2 * size] = (int16_t)(u_even >> 16);
            to[3 * size] = (int16_t)(u_odd >> 16);
            break;
        }
        const uint32_t v = tk_load(next);
        const uint32_t v_even = tk_add_even_bytes(offset, v), v_odd = tk_add_odd_bytes(offset, v);
        tk_store(to, tk_pack_low(u_even, v_even));
        tk_store(to + size, tk_pack_low(u_odd, v_odd));
        tk_store(to + 2 * size, tk_pack_high(u_even, v_even));
        tk_store(to + 3 * size, tk_pack_high(u_odd, v_odd));
    }
}

/* Zeros the rows of four planes that lie outside the input. */
static inline void tk_planes_zero_outside(int16_t *planes, int32_t size, int32_t height,
                                          const tk_view *view) {
    for (int32_t ky = 0; ky < height; ky++, planes += TK_PLANE) {
        for (int32_t k = 0; k < 4 && (ky < view->ky.first || ky >= view->ky.last); k++) {
            tk_planes_zero(planes + k * size, TK_PLANE);
        }
    }
}

/* Fills the planes of channels c … c + 3; rows outside the input are left as they are. */
static inline void tk_planes_fill(int16_t *planes, const tk_view *view, const tk_under *under,
                                  int32_t c) {
    tk_row_walk rows = view->rows;
    int16_t *to = planes + view->ky.first * TK_PLANE + under->left;
    for (int32_t ky = view->ky.first; ky < view->ky.last; ky++, to += TK_PLANE) {
        tk_planes_row(to, under->input + rows.offset + c, under);
        tk_next_row(&rows);
    }
}

/* A finished sum to an output; every shift is in -31 … -1. */
static inline int8_t tk_planes_output(const tk_tile *tile, int32_t acc, int32_t multiplier,
                                      int32_t shift) {
    int32_t high = tile->wide ? tk_scale_high(acc, multiplier) : tk_smmulr(acc * 2, multiplier);
    high = (high + (high >> 31)) >> (-shift - 1);
    return tk_saturate_half(high + tile->twice_zero);
}

/* The weights of four channels, `step` bytes from tap to tap, as words of two taps.  For outputs at
 * even columns (w0, w1), (w2, w3) …; with `both`, for those at odd ones (0, w0), (w1, w2) … as
 * well, in turn. */
static __attribute__((noinline)) void tk_planes_words(const int8_t *weights, int32_t step,
                                                      const tk_window *w, int both,
                                                      uint32_t *words) {
    const int32_t pairs = w->kernel_width / 2 + 1;
    const int32_t size = w->kernel_height * pairs << both; /* of a channel */
    for (int32_t ky = 0; ky < w->kernel_height; ky++) {
        uint32_t before_even = 0, before_odd = 0;
        for (int32_t left = w->kernel_width; left > w->kernel_width - 2 * pairs; left -= 2) {
            uint32_t a = 0, b = 0; /* zeros behind the last tap */
            if (left > 0) {
                a = tk_load(weights);
                weights += step;
            }
            if (left > 1) {
                b = tk_load(weights);
                weights += step;
            }
            const uint32_t a_even = tk_even_bytes(a), a_odd = tk_odd_bytes(a);
            const uint32_t b_even = tk_even_bytes(b), b_odd = tk_odd_bytes(b);
            words[0] = tk_pack_low(a_even, b_even);
            words[size] = tk_pack_low(a_odd, b_odd);
            words[2 * size] = tk_pack_high(a_even, b_even);
            words[3 * size] = tk_pack_high(a_odd, b_odd);
            words++;
            if (both) {
                words[0] = tk_pack_low(before_even, a_even);
                words[size] = tk_pack_low(before_odd, a_odd);
                words[2 * size] = tk_pack_high(before_even, a_even);
                words[3 * size] = tk_pack_high(before_odd, a_odd);
                words++;
                before_even = b_even;
                before_odd = b_odd;
            }
        }
    }
}

/* One channel of a tile whose kernel has `height` rows. */
static inline void tk_planes_channel(const tk_tile *tile, const int16_t *plane,
                                     const uint32_t *words, int32_t height, int32_t stride,
                                     int32_t bias, int32_t multiplier, int32_t shift, int8_t *y) {
    const int32_t both = stride != 2; /* words for odd columns, too */
    const int32_t outputs = 2 * tile->pairs + tile->singles;
    for (int32_t i = 0, at = 0; i < outputs; i++, at += stride) {
        const int16_t *x = plane + (at & ~1);
        const uint32_t *w = words + (at & both);
        int32_t acc = bias;
        for (int32_t ky = 0; ky < height; ky++, x += TK_PLANE) {
            for (int32_t j = 0; j < tile->words_row; j++, w += 1 + both) {
                acc = tk_smlad(tk_load(x + 2 * j), *w, acc);
            }
        }
        *y = tk_planes_output(tile, acc, multiplier, shift);
        y += tile->channels;
    }
}

#if defined(__thumb2__)
/* Up to four words of columns, stride 1 or, without pairs, 2. */
void tk_planes_any(const tk_tile *tile);
#endif

/* The four channels of a tile. */
static inline void tk_planes_tile(const tk_tile *tile, const tk_window *w) {
    const int32_t stride = w->stride_width;
#if defined(__thumb2__)
    if (stride <= 2 && tile->words_row >= 2 && tile->words_row <= 4) {
        tk_planes_any(tile);
        return;
    }
#endif
    for (int32_t k = 0; k < 4; k++) {
        const int32_t c = tile->step != 0 ? k : 0;
        tk_planes_channel(tile, tile->planes + k * tile->plane_bytes / 2,
                          tile->words + k * tile->words_bytes / 4, w->kernel_height, stride,
                          tile->bias[k], tile->multiplier[c], tile->shift[c], tile->output + k);
    }
}

#endif

#endif
