/* CONV_2D and FULLY_CONNECTED, int8. */
#include "conv_packed.h"
#include "mve.h"
#include "rows.h"
#include "tinykit/kernels.h"

#if !TK_MVE /* conv2d_mve.c */
#include "patch.h"

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

/* What block_4 and block_1 of conv_block.S do, and what they leave out: layers whose multipliers
 * shift left, and a last channel without a neighbour. */
static void block_pairs(const tk_conv2d *conv, const tk_block *whole, int32_t count, int32_t o,
                        const tk_output *finish) {
    tk_block b = *whole;
    const int32_t bytes = (int32_t)(b.end - b.patch) / count * 2;
    const int32_t rest = (int32_t)(b.rest_end - b.end) / count * 2;
    b.weights += o / 2 * bytes;
    b.weights_rest += o / 2 * rest;
    for (; o < conv->output_channels; o += 2) {
        block_channels(conv, &b, count, o, o + 1 < conv->output_channels, finish);
        b.weights += bytes;
        b.weights_rest += rest;
    }
}

/* A layer's constants as its blocks need them, worked out once a row. */
typedef struct {
    tk_block block;
    tk_output finish;
    int32_t first, rest;   /* positions of the two blocks of weights */
    int32_t multiplier[2]; /* of a layer with one multiplier, for a pair */
    int8_t shift[2];
} layer;

static void layer_of(const tk_conv2d *conv, layer *l) {
    const int32_t taps = (int32_t)conv->window->kernel_height * conv->window->kernel_width;
    l->first = taps * conv->split;
    l->rest = taps * (conv->input_channels - conv->split);
    l->finish = (tk_output){
        conv->bias, conv->multiplier, conv->shift, conv->per_channel,
        tk_range_of(conv->activation_min, conv->activation_max, conv->output_zero_point)};
    l->multiplier[0] = l->multiplier[1] = conv->multiplier[0];
    l->shift[0] = l->shift[1] = conv->shift[0];
    l->block = (tk_block){
        .weights = conv->weights,
        .weights_rest = conv->weights_rest != NULL ? conv->weights_rest : conv->weights,
        .bias = conv->bias,
        .multiplier = conv->per_channel ? conv->multiplier : l->multiplier,
        .shift = conv->per_channel ? conv->shift : l->shift,
        .step = conv->per_channel ? 8 : 0,
        .twice_zero = 2 * conv->output_zero_point + 1,
        .channels = conv->output_channels,
        .pairs = conv->output_channels / 2,
        .wide = conv->sums != TK_SUMS_NARROW,
        .neighbours = conv->neighbours,
    };
}

/* All channels of the `count` pixels (4 or 1) whose patch is filled. */
static void finish_block(const tk_conv2d *conv, layer *l, int16_t *patch, int32_t count,
                         int8_t *output) {
    tk_block *b = &l->block;
    b->patch = patch;
    b->end = patch + (l->first + 1) / 2 * 2 * count;
    b->rest_end = b->end + (l->rest + 1) / 2 * 2 * count;
    b->output = output;
    int32_t done = 0;
#if TK_BLOCK_ASSEMBLY
    if (TK_PACKED || (conv->sums != TK_SUMS_ANY && b->pairs > 0)) {
        if (count == 4) {
            tk_block_4(b);
        } else {
            tk_block_1(b);
        }
        done = TK_PACKED ? conv->output_channels : 2 * b->pairs;
        const int32_t low = conv->activation_min, high = conv->activation_max;
        if (low > INT8_MIN || high < INT8_MAX) {
            for (int32_t i = 0; i < count * conv->output_channels; i++) {
                output[i] = (int8_t)tk_clamp(output[i], low, high);
            }
        }
    }
#endif
    if (done < conv->output_channels) {
        block_pairs(conv, b, count, done, &l->finish);
    }
}

static inline int8_t *copy(int8_t *to, const int8_t *from, int32_t n) {
#if TK_DSP
    for (; n >= 4; n -= 4, from += 4, to += 4) {
        tk_store(to, tk_load(from));
    }
#endif
    for (; n > 0; n--) {
        *to++ = *from++;
    }
    return to;
}

static int8_t *pad(int8_t *to, int32_t value, int32_t n) {
    if (n > 0) {
        __builtin_memset(to, value, (size_t)n);
    }
    return to + n;
}

/* Gathers `count` channels, the first one at `input`, of all that the pixel under `view` sees. */
static void gather(const tk_conv2d *conv, const int8_t *input, const tk_view *view, int32_t count,
                   int8_t *to) {
    const tk_window *w = conv->window;
    const int32_t step = w->dilation_width * conv->input_channels;
    const int32_t taps = view->kx.last - view->kx.first;
    const int32_t left = view->kx.first * count, right = (w->kernel_width - view->kx.last) * count;
    const int32_t gap = step == count ? taps * count : count; /* bytes without one between */
    const int8_t *x = input + view->column;
    tk_row_walk rows = view->rows;
    to = pad(to, conv->padding, view->ky.first * w->kernel_width * count);
    for (int32_t ky = view->ky.first; ky < view->ky.last; ky++) {
        const int8_t *from = x + rows.offset;
        to = pad(to, conv->padding, left);
        for (int32_t bytes = taps * count; bytes > 0; bytes -= gap, from += step) {
            to = copy(to, from, gap);
        }
        to = pad(to, conv->padding, right);
        tk_next_row(&rows);
    }
    pad(to, conv->padding, (w->kernel_height - view->ky.last) * w->kernel_width * count);
}

/* Fills pixel `pixel` of a patch with what the output pixel under `view` sees: windows of several
 * taps are gathered as bytes behind the patch first. */
static void fill_pixel(const tk_conv2d *conv, const layer *l, const int8_t *input,
                       const tk_view *view, int32_t pixel, int32_t count, int16_t *patch) {
    const int32_t channels = conv->input_channels, split = conv->split;
    const int32_t even = (l->first + 1) & ~1;
    int8_t *stage = (int8_t *)(patch + (even + ((l->rest + 1) & ~1)) * count);
    const int one = l->first == split && view->ky.last > view->ky.first &&
                    view->kx.last > view->kx.first; /* tap, inside */
    const int8_t *x = input + view->rows.offset + view->column;
    if (!one) {
        gather(conv, input, view, split, stage);
    }
    int16_t *word = patch + 2 * pixel;
    tk_patch_fill(word, 2 * count, one ? x : stage, l->first, conv->input_zero_point);
    if (split < channels) {
        if (!one) {
            gather(conv, input + split, view, channels - split, stage);
        }
        tk_patch_fill(word + even * count, 2 * count, one ? x + split : stage, l->rest,
                      conv->input_zero_point);
    }
}

#if TK_DSP
/* Fills a patch of four pixels whose windows lie inside the input's columns, the first one's under
 * `view`; 0: not for this layer.  Runs of channels must be whole words. */
static int fill_4(const tk_conv2d *conv, const layer *l, const int8_t *input, const tk_view *view,
                  int16_t *patch) {
    const tk_window *w = conv->window;
    const int32_t channels = conv->input_channels, split = conv->split;
    if (channels % 4 != 0 || split % 4 != 0) {
        return 0;
    }
    const int32_t zero = conv->input_zero_point, padding = conv->padding - zero;
    const int32_t apart = w->stride_width * channels;
    int16_t *first = patch, *rest = patch + 4 * l->first;
    tk_row_walk rows = view->rows;
    for (int32_t ky = 0; ky < w->kernel_height; ky++) {
        if (ky < view->ky.first || ky >= view->ky.last) {
            for (int32_t i = 4 * w->kernel_width * split; i > 0; i--) {
                *first++ = (int16_t)padding;
            }
            for (int32_t i = 4 * w->kernel_width * (channels - split); i > 0; i--) {
                *rest++ = (int16_t)padding;
            }
            continue;
        }
        const int8_t *x = input + rows.offset + view->column;
        tk_next_row(&rows);
        if (split == channels && w->dilation_width == 1) {
            first = tk_patch_copy_4x4(first, x, apart, w->kernel_width * channels, zero);
            continue;
        }
        for (int32_t kx = 0; kx < w->kernel_width; kx++, x += w->dilation_width * channels) {
            first = tk_patch_copy_4x4(first, x, apart, split, zero);
            rest = tk_patch_copy_4x4(rest, x + split, apart, channels - split, zero);
        }
    }
    return 1;
}
#endif

#if TK_PACKED
/* Fills a pair of pixels, 0 and 1 or 2 and 3, of a packed patch with what they see. */
static void fill_pair(const tk_conv2d *conv, const layer *l, const int8_t *input, const tk_view *a,
                      const tk_view *b, int32_t *patch) {
    const tk_window *w = conv->window;
    const int32_t channels = conv->input_channels, split = conv->split, width = w->kernel_width;
    const int32_t zero = -conv->input_zero_point, padding = conv->padding + zero;
    const int run = split == channels && w->dilation_width == 1 && a->kx.first + b->kx.first == 0 &&
                    a->kx.last == width && b->kx.last == width;
    int32_t *first = patch, *rest = patch + 2 * ((l->first + 1) & ~1);
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
    if (l->first % 2 != 0) { /* for it the weight is zero */
        *first = 0;
    }
    if (l->rest % 2 != 0) {
        *rest = 0;
    }
}
#endif

/* Pixels ox … ox + 3, or ox alone, of the row that `view` stands for. */
static void pixels(const tk_conv2d *conv, layer *l, const int8_t *input, tk_view *view, int32_t ox,
                   int32_t count, int16_t *patch, int8_t *output) {
    const tk_window *w = conv->window;
    const int32_t channels = conv->input_channels;
    tk_view_column(view, w, channels, ox);
#if TK_DSP
    const int32_t right =
        (ox + 3) * w->stride_width - w->pad_left + (w->kernel_width - 1) * w->dilation_width;
    if (count == 4 && view->kx.first == 0 && right < w->input_width &&
        fill_4(conv, l, input, view, patch)) {
        finish_block(conv, l, patch, count, output);
        return;
    }
#endif
#if TK_PACKED
    for (int32_t pixel = 0; pixel < count && count == 4; pixel += 2) {
        tk_view next = *view;
        tk_view_column(&next, w, channels, ox + pixel + 1);
        tk_view_column(view, w, channels, ox + pixel);
        fill_pair(conv, l, input, view, &next, (int32_t *)(void *)patch + pixel / 2);
    }
    if (count == 4) {
        finish_block(conv, l, patch, count, output);
        return;
    }
#endif
    for (int32_t pixel = 0;;) {
        fill_pixel(conv, l, input, view, pixel, count, patch);
        if (++pixel == count) {
            break;
        }
        tk_view_column(view, w, channels, ox + pixel);
    }
    finish_block(conv, l, patch, count, output);
}

static void row_pixels(const tk_conv2d *conv, layer *l, const int8_t *input, tk_view *view,
                       int8_t *output, int16_t *patch) {
    const int32_t width = conv->window->output_width;
    for (int32_t ox = 0; ox < width;) {
        const int32_t count = width - ox >= 4 ? 4 : 1;
        pixels(conv, l, input, view, ox, count, patch, output);
        output += count * conv->output_channels;
        ox += count;
    }
}

void tk_conv2d_row_s8(const tk_conv2d *conv, const int8_t *input, int32_t ring, int32_t oy,
                      int8_t *output, int16_t *scratch) {
    layer l;
    tk_view view;
    layer_of(conv, &l);
    tk_view_row(&view, conv->window, ring, conv->input_channels, oy);
    row_pixels(conv, &l, input, &view, output, scratch);
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
        row_pixels(&flat, &l, input, &view, output, scratch);
        output += (int32_t)window.output_width * conv->output_channels;
    }
}

#endif
