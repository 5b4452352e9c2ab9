/* CONV_2D and FULLY_CONNECTED, int8. */
#include "patch.h"
#include "requantize.h"
#include "rows.h"
#include "tinykit/kernels.h"

/* Positions of the two weight blocks in a patch: [KH * KW][K], then, from a whole group on,
 * [KH * KW][C - K]. */
typedef struct {
    int32_t first, rest, start;
} blocks;

static blocks blocks_of(const tk_conv2d *conv) {
    const int32_t taps = (int32_t)conv->window->kernel_height * conv->window->kernel_width;
    const int32_t first = taps * conv->split;
    const int32_t start = (first + TK_GROUP - 1) / TK_GROUP * TK_GROUP;
    return (blocks){first, taps * (conv->input_channels - conv->split), start};
}

/* Writes what the output pixel under `view` sees into the patch; padding is zero. */
static void expand(const tk_conv2d *conv, const blocks *b, const int8_t *input, const tk_view *view,
                   int32_t pixel, int32_t count, int16_t *patch) {
    const tk_window *w = conv->window;
    const int32_t channels = conv->input_channels;
    const int32_t split = conv->split;
    int32_t first = 0;
    int32_t rest = b->start;
    tk_row_walk rows = view->rows;
    for (int32_t ky = 0; ky < w->kernel_height; ky++) {
        const int inside = ky >= view->ky.first && ky < view->ky.last;
        const int8_t *x = input + rows.offset + view->column;
        for (int32_t kx = 0; kx < w->kernel_width; kx++) {
            const int8_t *from = NULL;
            if (inside && kx >= view->kx.first && kx < view->kx.last) {
                from = x;
                x += w->dilation_width * channels;
            }
            tk_patch_write(patch, first, pixel, count, from, split, conv->input_zero_point);
            first += split;
            if (split < channels) {
                tk_patch_write(patch, rest, pixel, count, from != NULL ? from + split : NULL,
                               channels - split, conv->input_zero_point);
                rest += channels - split;
            }
        }
        if (inside) {
            tk_next_row(&rows);
        }
    }
}

/* acc[pixel][0 … 1] = sums of channels o and, if `two`, o + 1 of one or two pixels. */
static void sums(const tk_conv2d *conv, const blocks *b, const int16_t *patch, int32_t count,
                 int32_t o, int32_t two, int32_t acc[4]) {
    const int8_t *w = conv->weights + o * b->first;
    const int8_t *v = w + two * b->first;
    acc[0] = acc[1] = acc[2] = acc[3] = 0;
    if (count == 2) {
        tk_patch_dot_2x2(patch, w, v, b->first, acc);
    } else {
        tk_patch_dot_1x2(patch, w, v, b->first, acc);
    }
    if (b->rest > 0) {
        patch += b->start * count;
        w = conv->weights_rest + o * b->rest;
        v = w + two * b->rest;
        if (count == 2) {
            tk_patch_dot_2x2(patch, w, v, b->rest, acc);
        } else {
            tk_patch_dot_1x2(patch, w, v, b->rest, acc);
        }
    }
}

/* All channels of one or two neighbouring pixels. */
static void pixels(const tk_conv2d *conv, const blocks *b, const tk_output *finish,
                   const int16_t *patch, int32_t count, int8_t *output) {
    int32_t acc[4], first[TK_FINISH], second[TK_FINISH];
    const int32_t channels = conv->output_channels;
    for (int32_t o = 0; o < channels; o += TK_FINISH) {
        const int32_t n = tk_min(channels - o, TK_FINISH);
        for (int32_t k = 0; k < n; k += 2) {
            const int32_t two = k + 1 < n ? 1 : 0;
            sums(conv, b, patch, count, o + k, two, acc);
            first[k] = acc[0];
            first[k + two] = acc[two];
            second[k] = acc[2];
            second[k + two] = acc[2 + two];
        }
        tk_finish(finish, o, n, first, output);
        if (count == 2) {
            tk_finish(finish, o, n, second, output + channels);
        }
    }
}

void tk_conv2d_row_s8(const tk_conv2d *conv, const int8_t *input, int32_t ring, int32_t oy,
                      int8_t *output, int16_t *scratch) {
    const tk_window *w = conv->window;
    const blocks b = blocks_of(conv);
    const tk_output finish = {
        conv->bias, conv->multiplier, conv->shift, conv->per_channel,
        tk_range_of(conv->activation_min, conv->activation_max, conv->output_zero_point)};
    tk_view view;
    tk_view_row(&view, w, ring, conv->input_channels, oy);
    for (int32_t ox = 0; ox < w->output_width; ox += 2) {
        const int32_t count = ox + 1 < w->output_width ? 2 : 1;
        for (int32_t pixel = 0; pixel < count; pixel++) {
            tk_view_column(&view, w, conv->input_channels, ox + pixel);
            expand(conv, &b, input, &view, pixel, count, scratch);
        }
        pixels(conv, &b, &finish, scratch, count, output);
        output += count * conv->output_channels;
    }
}

void tk_conv2d_s8(const tk_conv2d *conv, const int8_t *input, int8_t *output, int16_t *scratch) {
    const tk_window *w = conv->window;
    for (int32_t oy = 0; oy < w->output_height; oy++) {
        tk_conv2d_row_s8(conv, input, w->input_height, oy, output, scratch);
        output += (int32_t)w->output_width * conv->output_channels;
    }
}
