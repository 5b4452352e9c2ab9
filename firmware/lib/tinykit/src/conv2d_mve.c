/* CONV_2D and FULLY_CONNECTED, int8, with Helium.
 *
 * What four pixels (or one) see is gathered in a patch of int8, sixteen positions of the first
 * pixel, sixteen of the second, … ; then come the next sixteen positions.  The last sixteen are
 * filled up with zeros, so that weights behind a channel's last one do no harm.  VLD2 takes the
 * weights of a pair of channels apart, VMLADAVA adds up sixteen products. */
#include "mve.h"
#include "requantize.h"
#include "rows.h"
#include "tinykit/kernels.h"

#if TK_MVE

#define INLINE static inline __attribute__((always_inline))

/* A block of weights: `positions` of each channel. */
typedef struct {
    const int8_t *weights;
    int32_t positions;
    int32_t bytes;  /* of a pair of channels */
    int32_t chunks; /* sixteen positions each */
} block;

/* A layer's constants, worked out once a row. */
typedef struct {
    const tk_conv2d *conv;
    block first, rest;
    int32_t safe;   /* pairs of channels behind which whole chunks may be read */
    int32_t simple; /* those of them that take the short way: see layer_of */
    const int32_t *multiplier;
    const int8_t *shift;
    int32_t step;              /* from a channel's multiplier to the next one's */
    int32_t one_multiplier[4]; /* of a layer with one for all channels */
    int8_t one_shift[4];
} layer;

static block block_of(const int8_t *weights, int32_t positions) {
    return (block){weights, positions, 2 * ((positions + 1) & ~1), (positions + 15) / 16};
}

/* Pairs of a block whose last chunk ends before the weights do. */
static int32_t safe_pairs(const block *b, int32_t pairs) {
    if (b->positions == 0) {
        return pairs;
    }
    const int32_t last = pairs - (32 * b->chunks + b->bytes - 1) / b->bytes;
    return last < 0 ? 0 : last + 1;
}

static void layer_of(const tk_conv2d *conv, layer *l) {
    const int32_t taps = (int32_t)conv->window->kernel_height * conv->window->kernel_width;
    const int32_t pairs = (conv->output_channels + 1) / 2;
    l->conv = conv;
    l->first = block_of(conv->weights, taps * conv->split);
    l->rest = block_of(conv->weights_rest, taps * (conv->input_channels - conv->split));
    l->safe = tk_min(safe_pairs(&l->first, pairs), safe_pairs(&l->rest, pairs));
    /* one block of weights, no zero point, all multipliers shift right, no lack of a neighbour */
    l->simple = l->rest.positions == 0 && conv->input_zero_point == 0 && conv->sums != TK_SUMS_ANY
                    ? tk_min(l->safe, conv->output_channels / 2)
                    : 0;
    l->multiplier = conv->multiplier;
    l->shift = conv->shift;
    l->step = 1;
    if (!conv->per_channel) {
        for (int32_t i = 0; i < 4; i++) {
            l->one_multiplier[i] = conv->multiplier[0];
            l->one_shift[i] = conv->shift[0];
        }
        l->multiplier = l->one_multiplier;
        l->shift = l->one_shift;
        l->step = 0;
    }
}

/* ---- sums of products ---- */

/* acc[i] += pixel i with the first channel, acc[4 + i] with the second, over whole chunks. */
INLINE void chunks_4(const int8_t *x, const int8_t *w, int32_t chunks, int32_t acc[8]) {
    int32_t a0 = acc[0], a1 = acc[1], a2 = acc[2], a3 = acc[3];
    int32_t b0 = acc[4], b1 = acc[5], b2 = acc[6], b3 = acc[7];
    __asm__ volatile("1:\n\t"
                     "vld20.8 {q0, q1}, [%[w]]\n\t"
                     "vld21.8 {q0, q1}, [%[w]]!\n\t"
                     "vldrb.8 q2, [%[x], #16]\n\t"
                     "vmladava.s8 %[a1], q2, q0\n\t"
                     "vmladava.s8 %[b1], q2, q1\n\t"
                     "vldrb.8 q3, [%[x], #32]\n\t"
                     "vmladava.s8 %[a2], q3, q0\n\t"
                     "vmladava.s8 %[b2], q3, q1\n\t"
                     "vldrb.8 q2, [%[x], #48]\n\t"
                     "vmladava.s8 %[a3], q2, q0\n\t"
                     "vmladava.s8 %[b3], q2, q1\n\t"
                     "vldrb.8 q3, [%[x]], #64\n\t"
                     "vmladava.s8 %[a0], q3, q0\n\t"
                     "vmladava.s8 %[b0], q3, q1\n\t"
                     "subs %[n], %[n], #1\n\t"
                     "bne 1b"
                     : [x] "+r"(x), [w] "+r"(w), [n] "+r"(chunks), [a0] "+Te"(a0), [a1] "+Te"(a1),
                       [a2] "+Te"(a2), [a3] "+Te"(a3), [b0] "+Te"(b0), [b1] "+Te"(b1),
                       [b2] "+Te"(b2), [b3] "+Te"(b3)
                     :
                     : "cc", "memory", "q0", "q1", "q2", "q3");
    acc[0] = a0, acc[1] = a1, acc[2] = a2, acc[3] = a3;
    acc[4] = b0, acc[5] = b1, acc[6] = b2, acc[7] = b3;
}

/* acc[0] and acc[1] with the pair of channels at v, acc[2] and acc[3] with the one at w. */
INLINE void chunks_1(const int8_t *x, const int8_t *v, const int8_t *w, int32_t chunks,
                     int32_t acc[4]) {
    int32_t a = acc[0], b = acc[1], c = acc[2], d = acc[3];
    __asm__ volatile("dls lr, %[n]\n"
                     "1:\n\t"
                     "vldrb.8 q2, [%[x]], #16\n\t"
                     "vld20.8 {q0, q1}, [%[v]]\n\t"
                     "vld21.8 {q0, q1}, [%[v]]!\n\t"
                     "vmladava.s8 %[a], q2, q0\n\t"
                     "vmladava.s8 %[b], q2, q1\n\t"
                     "vld20.8 {q0, q1}, [%[w]]\n\t"
                     "vld21.8 {q0, q1}, [%[w]]!\n\t"
                     "vmladava.s8 %[c], q2, q0\n\t"
                     "vmladava.s8 %[d], q2, q1\n\t"
                     "le lr, 1b"
                     : [x] "+r"(x), [v] "+r"(v), [w] "+r"(w), [a] "+Te"(a), [b] "+Te"(b),
                       [c] "+Te"(c), [d] "+Te"(d)
                     : [n] "r"(chunks)
                     : "lr", "memory", "q0", "q1", "q2");
    acc[0] = a, acc[1] = b, acc[2] = c, acc[3] = d;
}

/* Adds up `bytes` bytes of weights of a pair of channels. */
INLINE void sums_of(const int8_t *w, int32_t bytes, int32_t sums[2]) {
    const int8x16_t first = vreinterpretq_s8_s16(vdupq_n_s16(1));
    const int8x16_t second = vreinterpretq_s8_s16(vdupq_n_s16(256));
    for (int32_t i = bytes; i > 0; i -= 16, w += 16) {
        const int8x16_t two = vldrbq_z_s8(w, vctp8q((uint32_t)i));
        sums[0] = vmladavaq_s8(sums[0], two, first);
        sums[1] = vmladavaq_s8(sums[1], two, second);
    }
}

/* Sums of one pair of channels' products with `count` pixels, from position `at` on; reads no
 * weight behind the pair's last one.  sums: those of the weights alone are added. */
INLINE void dot_exact(const block *b, const int8_t *x, const int8_t *w, int32_t at, int32_t count,
                      int32_t *acc, int32_t sums[2]) {
    const int32_t end = b->bytes / 2;
    for (; at < end; at += 8) {
        const mve_pred16_t p = vctp16q((uint32_t)(end - at));
        const int8x16_t two = vldrbq_z_s8(w + 2 * at, p);
        const int16x8_t even = vmovlbq_s8(two), odd = vmovltq_s8(two);
        const int8_t *from = x + (at & 8) + (at >> 4) * 16 * count;
        sums[0] = vaddvaq_s16(sums[0], even);
        sums[1] = vaddvaq_s16(sums[1], odd);
        for (int32_t i = 0; i < count; i++) {
            const int16x8_t pixel = vldrbq_s16(from + 16 * i);
            acc[i] = vmladavaq_s16(acc[i], pixel, even);
            acc[count + i] = vmladavaq_s16(acc[count + i], pixel, odd);
        }
    }
}

/* The same for any block: whole chunks, then what is left. */
INLINE void dot_any(const layer *l, const block *b, const int8_t *x, int32_t pair, int32_t count,
                    int32_t *acc, int32_t sums[2]) {
    const int8_t *w = b->weights + pair * b->bytes;
    const int32_t chunks = pair < l->safe ? b->chunks : b->positions / 16;
    if (chunks > 0) {
        if (count == 4) {
            chunks_4(x, w, chunks, acc);
        } else {
            chunks_1(x, w, w, chunks, acc);
        }
        if (l->conv->input_zero_point != 0) {
            sums_of(w, tk_min(b->bytes, 32 * chunks), sums);
        }
    }
    dot_exact(b, x, w, 16 * chunks, count, acc, sums);
}

/* ---- blocks of pixels ---- */

/* Any pair of channels (the last one may lack a neighbour) of any layer. */
static void pair_any(const layer *l, const int8_t *x, int32_t pair, int32_t count, int8_t *output) {
    const tk_conv2d *conv = l->conv;
    const int32_t channels = conv->output_channels, o = 2 * pair;
    int32_t acc[8] = {0, 0, 0, 0, 0, 0, 0, 0}, sums[2] = {0, 0};
    const int8_t *rest = x + 16 * count * l->first.chunks;
    if (count == 4) {
        dot_any(l, &l->first, x, pair, 4, acc, sums);
        dot_any(l, &l->rest, rest, pair, 4, acc, sums);
    } else {
        dot_any(l, &l->first, x, pair, 1, acc, sums);
        dot_any(l, &l->rest, rest, pair, 1, acc, sums);
    }
    const mve_pred16_t p = vctp32q((uint32_t)count);
    const uint32x4_t offsets = vmulq_n_u32(vidupq_n_u32(0, 1), (uint32_t)channels);
    for (int32_t k = 0; k < 2 && o + k < channels; k++) {
        const int32_t *a = acc + k * count;
        const int32_t c = l->step * (o + k);
        const int32_t start =
            (int32_t)((uint32_t)conv->bias[o + k] - (uint32_t)(conv->input_zero_point * sums[k]));
        int32x4_t v = vaddq_n_s32(vldrwq_z_s32(a, p), start);
        v = tk_mve_multiply(v, l->multiplier[c], l->shift[c], 1);
        v = vqaddq_n_s32(v, conv->output_zero_point);
        v = vmaxq_s32(v, vdupq_n_s32(conv->activation_min));
        v = vminq_s32(v, vdupq_n_s32(conv->activation_max));
        vstrbq_scatter_offset_p_s32(output + o + k, offsets, v, p);
    }
}

/* conv_mve.S knows the order of these members. */
typedef struct {
    const int8_t *patch;
    int32_t chunks;
    int8_t *output, *end; /* of the first pixel: the first channel, and the one behind the last */
    int32_t skip;         /* from behind the last chunk's weights to the next pair's */
    int32_t step;         /* bytes from a pair's multipliers to the next one's */
    const int8_t *weights;
    const int32_t *bias, *multiplier;
    const int8_t *shift;
    int32_t low, high, zero_point, channels;
} tk_mve_block;

/* Some pairs of channels of four pixels: every multiplier shifts right. */
void tk_mve_block_4(const tk_mve_block *block);

/* All channels of four pixels. */
static void finish_4(const layer *l, const int8_t *x, int8_t *output) {
    const tk_conv2d *conv = l->conv;
    const int32_t pairs = (conv->output_channels + 1) / 2;
    int32_t pair = 0;
    if (l->simple > 0) {
        pair = l->simple;
        const tk_mve_block four = {
            x,
            l->first.chunks,
            output,
            output + 2 * pair,
            l->first.bytes - 32 * l->first.chunks,
            8 * l->step,
            l->first.weights,
            conv->bias,
            l->multiplier,
            l->shift,
            conv->activation_min,
            conv->activation_max,
            conv->output_zero_point,
            conv->output_channels,
        };
        tk_mve_block_4(&four);
    }
    for (; pair < pairs; pair++) {
        pair_any(l, x, pair, 4, output);
    }
}

/* All channels of one pixel. */
static void finish_1(const layer *l, const int8_t *x, int8_t *output) {
    const tk_conv2d *conv = l->conv;
    const int32_t pairs = (conv->output_channels + 1) / 2;
    int32_t pair = 0;
    if (l->simple > 0) {
        const int32x4_t low = vdupq_n_s32(conv->activation_min);
        const int32x4_t high = vdupq_n_s32(conv->activation_max);
        const int8_t *w = l->first.weights;
        const int32_t *bias = conv->bias, *multiplier = l->multiplier;
        const int8_t *shift = l->shift;
        for (; pair + 2 <= l->simple; pair += 2) {
            int32_t acc[4] = {bias[0], bias[1], bias[2], bias[3]};
            chunks_1(x, w, w + l->first.bytes, l->first.chunks, acc);
            int32x4_t v = tk_mve_multiply_each(tk_mve_collect(acc[0], acc[1], acc[2], acc[3]),
                                               vldrwq_s32(multiplier), vldrbq_s32(shift), 0);
            v = vqaddq_n_s32(v, conv->output_zero_point);
            vstrbq_s32(output + 2 * pair, vminq_s32(vmaxq_s32(v, low), high));
            w += 2 * l->first.bytes;
            bias += 4;
            multiplier += 4 * l->step;
            shift += 4 * l->step;
        }
    }
    for (; pair < pairs; pair++) {
        pair_any(l, x, pair, 1, output);
    }
}

/* ---- patches ---- */

/* A place in a patch: position `at` of the pixel whose first sixteen positions lie at `start`. */
typedef struct {
    int8_t *start;
    int32_t at;
    int32_t apart; /* bytes from chunk to chunk: sixteen times the pixels of the patch */
} place;

/* Where sixteen positions from `at` on lie, seen from the chunk of the first one. */
INLINE uint8x16_t lanes_of(const place *to) {
    const uint8x16_t lanes = vidupq_n_u8((uint32_t)to->at & 15, 1);
    return vmlaq_n_u8(lanes, vshrq_n_u8(lanes, 4), (uint8_t)(to->apart - 16));
}

/* The next n positions of `pixels` pixels, which lie `from_apart` bytes apart.  Those before
 * `first` and from `last` on are padding, and are not read. */
INLINE void put(place *to, const int8_t *from, int32_t from_apart, int32_t pixels, int32_t n,
                int32_t first, int32_t last, int32_t padding) {
    int8_t *chunk = to->start + (to->at >> 4) * to->apart;
    if (first == 0 && last == n && ((to->at | n) & 15) == 0) {
        for (int32_t i = n >> 4; i > 0; i--, from += 16, chunk += to->apart) {
#pragma GCC unroll 4
            for (int32_t k = 0; k < pixels; k++) {
                vstrbq_s8(chunk + 16 * k, vldrbq_s8(from + k * from_apart));
            }
        }
    } else {
        const uint8x16_t lanes = lanes_of(to);
        const int8x16_t outside = vdupq_n_s8((int8_t)padding);
        for (int32_t i = 0; i < n; i += 16, from += 16, chunk += to->apart) {
            const mve_pred16_t p = vctp8q((uint32_t)(n - i));
            const mve_pred16_t before = vctp8q((uint32_t)tk_max(first - i, 0));
            const mve_pred16_t inside = vctp8q((uint32_t)tk_max(last - i, 0)) & ~before;
#pragma GCC unroll 4
            for (int32_t k = 0; k < pixels; k++) {
                int8x16_t x = vldrbq_z_s8(from + k * from_apart, inside);
                x = vpselq_s8(x, outside, inside);
                vstrbq_scatter_offset_p_s8(chunk + 16 * k, lanes, x, p);
            }
        }
    }
    to->at += n;
}

/* What `pixels` neighbours see, the first one under `view`; they are pixels `pixel` … of a patch of
 * `count`.  More than one must lie inside the input's columns. */
INLINE void fill(const layer *l, const int8_t *input, const tk_view *view, int32_t pixels,
                 int32_t pixel, int32_t count, int8_t *patch) {
    const tk_window *w = l->conv->window;
    const int32_t channels = l->conv->input_channels, split = l->conv->split;
    const int32_t padding = l->conv->padding, apart = w->stride_width * channels;
    const int32_t width = w->kernel_width, left = view->kx.first, right = view->kx.last;
    const int32_t step = w->dilation_width * channels;
    place first = {patch + 16 * pixel, 0, 16 * count};
    place rest = {first.start + 16 * count * l->first.chunks, 0, 16 * count};
    tk_row_walk rows = view->rows;
    for (int32_t ky = 0; ky < w->kernel_height; ky++) {
        const int inside = ky >= view->ky.first && ky < view->ky.last;
        const int8_t *x = input + rows.offset + view->column - left * step;
        if (inside) {
            tk_next_row(&rows);
        }
        if (split == channels && w->dilation_width == 1) {
            put(&first, x, apart, pixels, width * channels, inside ? left * channels : 0,
                inside ? right * channels : 0, padding);
            continue;
        }
        for (int32_t kx = 0; kx < width; kx++, x += step) {
            const int32_t seen = inside && kx >= left && kx < right;
            put(&first, x, apart, pixels, split, 0, seen ? split : 0, padding);
            if (split < channels) {
                put(&rest, x + split, apart, pixels, channels - split, 0,
                    seen ? channels - split : 0, padding);
            }
        }
    }
}

/* Zeros behind the last positions: nothing else is written there. */
static void fill_ends(const layer *l, int32_t count, int8_t *patch) {
    const block *blocks[2] = {&l->first, &l->rest};
    for (int32_t i = 0; i < 2; i++) {
        patch += 16 * count * blocks[i]->chunks;
        if (blocks[i]->positions % 16 != 0) {
            for (int32_t k = 1; k <= count; k++) {
                vstrbq_s8(patch - 16 * k, vdupq_n_s8(0));
            }
        }
    }
}

static void fill_4(const layer *l, const int8_t *input, const tk_view *view, int8_t *patch) {
    fill(l, input, view, 4, 0, 4, patch);
}

static void fill_1(const layer *l, const int8_t *input, const tk_view *view, int32_t pixel,
                   int32_t count, int8_t *patch) {
    fill(l, input, view, 1, pixel, count, patch);
}

/* Output pixels ox … ox + count - 1 of the row that `view` stands for. */
static void fill_pixels(const layer *l, const int8_t *input, tk_view *view, int32_t ox,
                        int32_t count, int8_t *patch) {
    const tk_window *w = l->conv->window;
    const int32_t channels = l->conv->input_channels;
    const int32_t span = (w->kernel_width - 1) * w->dilation_width;
    int32_t x = ox * w->stride_width - w->pad_left;
    if (count == 4 && x >= 0 && x + 3 * w->stride_width + span < w->input_width) {
        view->kx = (tk_range){0, w->kernel_width};
        view->column = x * channels;
        fill_4(l, input, view, patch);
        return;
    }
    for (int32_t pixel = 0; pixel < count; pixel++, x += w->stride_width) {
        if (x >= 0 && x + span < w->input_width) {
            view->kx = (tk_range){0, w->kernel_width};
            view->column = x * channels;
        } else {
            tk_view_column(view, w, channels, ox + pixel);
        }
        fill_1(l, input, view, pixel, count, patch);
    }
}

static void row(const layer *l, const int8_t *input, tk_view *view, int8_t *output, int8_t *patch) {
    const int32_t width = l->conv->window->output_width, channels = l->conv->output_channels;
    int32_t ox = 0;
    if (width >= 4 && channels <= UINT16_MAX / 4) { /* offsets of four pixels fit 16 bits */
        fill_ends(l, 4, patch);
        for (; ox + 4 <= width; ox += 4, output += 4 * channels) {
            fill_pixels(l, input, view, ox, 4, patch);
            finish_4(l, patch, output);
        }
    }
    if (ox < width) {
        fill_ends(l, 1, patch);
    }
    for (; ox < width; ox++, output += channels) {
        fill_pixels(l, input, view, ox, 1, patch);
        finish_1(l, patch, output);
    }
}

void tk_conv2d_row_s8(const tk_conv2d *conv, const int8_t *input, int32_t ring, int32_t oy,
                      int8_t *output, int16_t *scratch) {
    layer l;
    tk_view view;
    layer_of(conv, &l);
    tk_view_row(&view, conv->window, ring, conv->input_channels, oy);
    row(&l, input, &view, output, (int8_t *)scratch);
}

void tk_conv2d_s8(const tk_conv2d *conv, const int8_t *input, int8_t *output, int16_t *scratch) {
    tk_conv2d flat = *conv;
    tk_window window = *conv->window;
    const int32_t size = window.input_height * window.input_width;
    if (window.kernel_height == 1 && window.kernel_width == 1 && window.stride_height == 1 &&
        window.stride_width == 1 && window.output_height == window.input_height &&
        window.output_width == window.input_width && size <= UINT16_MAX) {
        /* all pixels are one row: fewer are left over when they are taken in fours */
        window.input_height = window.output_height = 1;
        window.input_width = window.output_width = (uint16_t)size;
        flat.window = &window;
    }
    layer l;
    tk_view view;
    layer_of(&flat, &l);
    for (int32_t oy = 0; oy < window.output_height; oy++) {
        tk_view_row(&view, &window, window.input_height, conv->input_channels, oy);
        row(&l, input, &view, output, (int8_t *)scratch);
        output += (int32_t)window.output_width * conv->output_channels;
    }
}

#endif
