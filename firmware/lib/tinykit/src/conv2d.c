/* CONV_2D and FULLY_CONNECTED, int8. */
#include "requantize.h"
#include "rows.h"
#include "tinykit/kernels.h"

/* Copies the patch under output pixel (oy, ox), minus the zero point, as
 * [KH * KW][K] followed by [KH * KW][C - K]; padding is zero. */
static void expand_patch(const tk_conv2d *conv, const int8_t *input, const tk_view *view,
                         int16_t *patch) {
    const tk_window *w = conv->window;
    const int32_t channels = conv->input_channels;
    const int32_t split = conv->split;
    const int32_t zero_point = conv->input_zero_point;
    int16_t *first = patch;
    int16_t *rest = patch + (int32_t)w->kernel_height * w->kernel_width * split;
    tk_row_walk rows = view->rows;
    for (int32_t ky = 0; ky < w->kernel_height; ky++) {
        const int inside = ky >= view->ky.first && ky < view->ky.last;
        const int8_t *pixel = input + rows.offset + view->column;
        for (int32_t kx = 0; kx < w->kernel_width; kx++) {
            if (inside && kx >= view->kx.first && kx < view->kx.last) {
                for (int32_t c = 0; c < split; c++) {
                    *first++ = (int16_t)(pixel[c] - zero_point);
                }
                for (int32_t c = split; c < channels; c++) {
                    *rest++ = (int16_t)(pixel[c] - zero_point);
                }
                pixel += w->dilation_width * channels;
            } else {
                for (int32_t c = 0; c < split; c++) {
                    *first++ = 0;
                }
                for (int32_t c = split; c < channels; c++) {
                    *rest++ = 0;
                }
            }
        }
        if (inside) {
            tk_next_row(&rows);
        }
    }
}

/* Sums of two patches with two channels' weights: acc[pixel * 2 + channel]. */
static void dot_2x2(const int16_t *x0, const int16_t *x1, const int8_t *w0, const int8_t *w1,
                    int32_t n, int32_t acc[4]) {
    int32_t a = acc[0];
    int32_t b = acc[1];
    int32_t c = acc[2];
    int32_t d = acc[3];
    for (; n > 0; n--) {
        const int32_t p = *x0++;
        const int32_t q = *x1++;
        const int32_t u = *w0++;
        const int32_t v = *w1++;
        a += p * u;
        b += p * v;
        c += q * u;
        d += q * v;
    }
    acc[0] = a;
    acc[1] = b;
    acc[2] = c;
    acc[3] = d;
}

/* Sums of one patch with two channels' weights. */
static void dot_1x2(const int16_t *x, const int8_t *w0, const int8_t *w1, int32_t n,
                    int32_t acc[2]) {
    int32_t a = acc[0];
    int32_t b = acc[1];
    for (; n > 0; n--) {
        const int32_t p = *x++;
        a += p * *w0++;
        b += p * *w1++;
    }
    acc[0] = a;
    acc[1] = b;
}

static int8_t finish(const tk_conv2d *conv, const tk_output_range *range, int32_t acc, int32_t o) {
    const int32_t channel = conv->per_channel ? o : 0;
    acc = tk_add_bias(acc, conv->bias, o);
    return (int8_t)tk_requantize(acc, conv->multiplier[channel], conv->shift[channel], range);
}

/* All channels of one or two neighbouring pixels, whose patches lie behind each other. */
static void pixels(const tk_conv2d *conv, const tk_output_range *range, const int16_t *patch,
                   int32_t count, int8_t *output) {
    const int32_t taps = (int32_t)conv->window->kernel_height * conv->window->kernel_width;
    const int32_t first = taps * conv->split;
    const int32_t rest = taps * (conv->input_channels - conv->split);
    const int16_t *second = patch + first + rest;
    const int32_t channels = conv->output_channels;
    for (int32_t o = 0; o < channels; o += 2) {
        const int32_t next = o + 1 < channels ? o + 1 : o;
        const int8_t *w0 = conv->weights + o * first;
        const int8_t *w1 = conv->weights + next * first;
        int32_t acc[4] = {0, 0, 0, 0};
        if (count == 2) {
            dot_2x2(patch, second, w0, w1, first, acc);
        } else {
            dot_1x2(patch, w0, w1, first, acc);
        }
        if (rest > 0) {
            w0 = conv->weights_rest + o * rest;
            w1 = conv->weights_rest + next * rest;
            if (count == 2) {
                dot_2x2(patch + first, second + first, w0, w1, rest, acc);
            } else {
                dot_1x2(patch + first, w0, w1, rest, acc);
            }
        }
        for (int32_t pixel = 0; pixel < count; pixel++) {
            int8_t *y = output + pixel * channels;
            y[o] = finish(conv, range, acc[2 * pixel], o);
            y[next] = next > o ? finish(conv, range, acc[2 * pixel + 1], next) : y[o];
        }
    }
}

void tk_conv2d_row_s8(const tk_conv2d *conv, const int8_t *input, int32_t ring, int32_t oy,
                      int8_t *output, int16_t *scratch) {
    const tk_window *w = conv->window;
    const int32_t channels = conv->input_channels;
    const int32_t patch = (int32_t)w->kernel_height * w->kernel_width * channels;
    const tk_output_range range =
        tk_range_of(conv->activation_min, conv->activation_max, conv->output_zero_point);
    tk_view view;
    tk_view_row(&view, w, ring, channels, oy);
    for (int32_t ox = 0; ox < w->output_width; ox += 2) {
        const int32_t count = ox + 1 < w->output_width ? 2 : 1;
        for (int32_t i = 0; i < count; i++) {
            tk_view_column(&view, w, channels, ox + i);
            expand_patch(conv, input, &view, scratch + i * patch);
        }
        pixels(conv, &range, scratch, count, output);
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
