/* CONV_2D and FULLY_CONNECTED, int8, row by row: conv2d.c and conv2d_any.c. */
#ifndef TINYKIT_CONV2D_ROWS_H
#define TINYKIT_CONV2D_ROWS_H

#include "conv_packed.h"
#include "patch.h"
#include "rows.h"
#include "tinykit/kernels.h"

/* Blocks in C. */
#ifndef TK_BLOCK_PLAIN
#define TK_BLOCK_PLAIN !TK_BLOCK_ASSEMBLY
#endif

#if TK_BLOCK_PLAIN
/* Two channels from o on (`two`: both exist) of all pixels of a block, by the plain arithmetic. */
static void block_channels(const tk_conv2d *conv, const tk_block *b, int32_t count, int32_t o,
                           int32_t two, const tk_output *finish) {
    int32_t acc[4][2] = {{0, 0}, {0, 0}, {0, 0}, {0, 0}};
    const int8_t *w = b->weights;
    for (const int16_t *x = b->patch; x != b->rest_end; w += 4) {
        if (x == b->end) {
            w = b->weights_rest;
        }
        for (int32_t pixel = 0; pixel < count; pixel++, x += 2) {
            acc[pixel][0] += x[0] * w[0] + x[1] * w[2];
            acc[pixel][1] += x[0] * w[1] + x[1] * w[3];
        }
    }
    for (int32_t pixel = 0; pixel < count; pixel++) {
        tk_finish(finish, o, 1 + two, acc[pixel], b->output + pixel * conv->output_channels);
    }
}

/* What tk_block_4 and tk_block_1 do, for any multipliers. */
static void block_pairs(const tk_conv2d *conv, const tk_block *whole, int32_t count) {
    const tk_output finish = {
        conv->bias, conv->multiplier, conv->shift, conv->per_channel,
        tk_range_of(conv->activation_min, conv->activation_max, conv->output_zero_point)};
    tk_block b = *whole;
    const int32_t bytes = (int32_t)(b.end - b.patch) / count * 2;
    const int32_t rest = (int32_t)(b.rest_end - b.end) / count * 2;
    for (int32_t o = 0; o < conv->output_channels; o += 2) {
        block_channels(conv, &b, count, o, o + 1 < conv->output_channels, &finish);
        b.weights += bytes;
        b.weights_rest += rest;
    }
}
#endif

/* A layer's constants as its blocks need them, worked out once a row. */
typedef struct {
    tk_block block;
    int32_t first, rest;   /* positions of the two blocks of weights, filled up to pairs */
    int32_t multiplier[4]; /* of a layer with one multiplier, for as many channels as are read */
    int8_t shift[4];
} layer;

static void layer_of(const tk_conv2d *conv, layer *l) {
    const int32_t taps = (int32_t)conv->window->kernel_height * conv->window->kernel_width;
    l->first = (taps * conv->split + 1) & ~1;
    l->rest = (taps * (conv->input_channels - conv->split) + 1) & ~1;
    l->block = (tk_block){
        .weights = conv->weights,
        .weights_rest = conv->weights_rest != NULL ? conv->weights_rest : conv->weights,
        .bias = conv->bias,
        .multiplier = conv->multiplier,
        .shift = conv->shift,
        .step = 8,
        .twice_zero = 2 * conv->output_zero_point + 1,
        .channels = conv->output_channels,
        .pairs = conv->output_channels / 2,
        .wide = conv->sums != TK_SUMS_NARROW,
        .neighbours = conv->neighbours,
    };
    if (!conv->per_channel) {
        for (int32_t i = 0; i < 4; i++) {
            l->multiplier[i] = conv->multiplier[0];
            l->shift[i] = conv->shift[0];
        }
        l->block.multiplier = l->multiplier;
        l->block.shift = l->shift;
        l->block.step = 0;
    }
}

/* All channels of the `count` pixels (4 or 1) whose patch is filled. */
static void finish_block(const tk_conv2d *conv, layer *l, int16_t *patch, int32_t count,
                         int8_t *output) {
    tk_block *b = &l->block;
    b->patch = patch;
    b->end = patch + l->first * count;
    b->rest_end = b->end + l->rest * count;
    b->output = output;
#if TK_BLOCK_PLAIN
    block_pairs(conv, b, count);
#else
    if (count == 4) {
        tk_block_4(b);
    } else {
        tk_block_1(b);
    }
    tk_clamp_outputs(output, count * conv->output_channels, conv->activation_min,
                     conv->activation_max);
#endif
}

/* Fills in what the output pixel under `view` sees, or it and the three behind it. */
static void fill(const tk_conv2d *conv, const int8_t *input, const tk_view *view, tk_filling *f) {
    const tk_window *w = conv->window;
    const int32_t channels = conv->input_channels, step = w->dilation_width * channels;
    const int32_t taps = view->kx.last - view->kx.first;
    const int32_t outside = conv->padding - conv->input_zero_point;
    int32_t n = conv->split;
    for (int32_t done = 0; done < channels; done += n, n = channels - n) {
        const int32_t run = step == n ? taps * n : n; /* without gaps */
        tk_row_walk rows = view->rows;
        for (int32_t ky = 0; ky < w->kernel_height; ky++) {
            if (ky < view->ky.first || ky >= view->ky.last) {
                tk_patch_pad(f, w->kernel_width * n, outside);
                continue;
            }
            const int8_t *from = input + done + rows.offset + view->column;
            tk_next_row(&rows);
            if (taps < w->kernel_width) {
                tk_patch_pad(f, view->kx.first * n, outside);
            }
            for (int32_t left = taps * n; left > 0; left -= run, from += step) {
                tk_patch_put(f, from, run);
            }
            if (taps < w->kernel_width) {
                tk_patch_pad(f, (w->kernel_width - view->kx.last) * n, outside);
            }
        }
        f->at += f->at & 1; /* what an odd last pair is filled up with has a weight of zero */
    }
}

#if TK_PACKED
/* Fills a pair of pixels, 0 and 1 or 2 and 3, of a packed patch with what they see. */
static void fill_pair(const tk_conv2d *conv, const layer *l, const int8_t *input, const tk_view *a,
                      const tk_view *b, int32_t *patch) {
    const tk_window *w = conv->window;
    const int32_t channels = conv->input_channels, split = conv->split, width = w->kernel_width;
    const int32_t zero = -conv->input_zero_point, padding = conv->padding + zero;
    const int run = split == channels && w->dilation_width == 1 && a->kx.first + b->kx.first == 0 &&
                    a->kx.last == width && b->kx.last == width;
    int32_t *first = patch, *rest = patch + 2 * l->first;
    tk_row_walk rows = a->rows;
    for (int32_t ky = 0; ky < w->kernel_height; ky++) {
        const int inside = ky >= a->ky.first && ky < a->ky.last;
        const int8_t *row = input + rows.offset;
        if (inside) {
            tk_next_row(&rows);
            if (run) {
                first = tk_packed_copy(first, row + a->column, row + b->column, width * channels,
                                       tk_two_pixels(zero, zero));
                continue;
            }
        }
        for (int32_t kx = 0; kx < width; kx++) {
            const int in_a = inside && kx >= a->kx.first && kx < a->kx.last;
            const int in_b = inside && kx >= b->kx.first && kx < b->kx.last;
            const int32_t step = w->dilation_width * channels;
            const int8_t *x = in_a ? row + a->column + (kx - a->kx.first) * step : NULL;
            const int8_t *y = in_b ? row + b->column + (kx - b->kx.first) * step : NULL;
            const int32_t offset = tk_two_pixels(in_a ? zero : padding, in_b ? zero : padding);
            first = tk_packed_copy(first, x, y, split, offset);
            if (split < channels) {
                rest = tk_packed_copy(rest, x != NULL ? x + split : NULL,
                                      y != NULL ? y + split : NULL, channels - split, offset);
            }
        }
    }
}
#endif

/* Fills a patch with what pixels ox … ox + 3, or ox alone, of the row see that `view` stands for.
 */
static void fill_patch(const tk_conv2d *conv, const layer *l, const int8_t *input, tk_view *view,
                       int32_t ox, int32_t count, int16_t *patch) {
    const tk_window *w = conv->window;
    const int32_t channels = conv->input_channels;
#if TK_PACKED
    for (int32_t pixel = 0; pixel < count && count == 4; pixel += 2) {
        tk_view next = *view;
        tk_view_column(&next, w, channels, ox + pixel + 1);
        tk_view_column(view, w, channels, ox + pixel);
        fill_pair(conv, l, input, view, &next, (int32_t *)(void *)patch + pixel / 2);
    }
    if (count == 4) {
        return;
    }
#else
    (void)l;
#endif
    tk_filling f = {patch, 2 * count, 0, count, w->stride_width * channels, conv->input_zero_point};
    const int32_t left = ox * w->stride_width - w->pad_left;
    const int32_t reach = (count - 1) * w->stride_width + (w->kernel_width - 1) * w->dilation_width;
    if (left >= 0 && left + reach < w->input_width) {
        view->kx = (tk_range){0, w->kernel_width};
        view->column = left * channels;
        fill(conv, input, view, &f);
        return;
    }
    f.pixels = 1;
    for (int32_t pixel = 0; pixel < count; pixel++) {
        tk_view_column(view, w, channels, ox + pixel);
        f.at = 0;
        fill(conv, input, view, &f);
        f.first += 2;
    }
}

/* Row oy of the output, from a ring of input rows. */
static void conv2d_row(const tk_conv2d *conv, const int8_t *input, int32_t ring, int32_t oy,
                       int8_t *output, int16_t *patch) {
    const int32_t width = conv->window->output_width;
    layer l;
    tk_view view;
    layer_of(conv, &l);
    tk_view_row(&view, conv->window, ring, conv->input_channels, oy);
    for (int32_t ox = 0; ox < width;) {
        const int32_t count = width - ox >= 4 ? 4 : 1;
        fill_patch(conv, &l, input, &view, ox, count, patch);
        finish_block(conv, &l, patch, count, output);
        output += count * conv->output_channels;
        ox += count;
    }
}

#endif
