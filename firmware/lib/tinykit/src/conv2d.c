/* CONV_2D and FULLY_CONNECTED, int8. */
#include "fixed_point.h"
#include "rows.h"
#include "tinykit/kernels.h"

/* Copies the patch under output pixel (oy, ox), minus the zero point, as
 * [KH * KW][K] followed by [KH * KW][C - K]; padding is zero. */
static void expand_patch(const tk_conv2d *conv, const int8_t *input, int32_t ring, int32_t oy,
                         int32_t ox, int16_t *patch)
{
    const tk_window *w = conv->window;
    const int32_t channels = conv->input_channels;
    const int32_t split = conv->split;
    const int32_t zero_point = conv->input_zero_point;
    int16_t *first = patch;
    int16_t *rest = patch + (int32_t)w->kernel_height * w->kernel_width * split;
    int32_t y = oy * w->stride_height - w->pad_top;
    for (int32_t ky = 0; ky < w->kernel_height; ky++, y += w->dilation_height) {
        const int8_t *row = tk_input_row(w, input, ring, channels, y);
        int32_t x = ox * w->stride_width - w->pad_left;
        for (int32_t kx = 0; kx < w->kernel_width; kx++, x += w->dilation_width) {
            if (row != NULL && x >= 0 && x < w->input_width) {
                const int8_t *pixel = row + x * channels;
                for (int32_t c = 0; c < split; c++) {
                    *first++ = (int16_t)(pixel[c] - zero_point);
                }
                for (int32_t c = split; c < channels; c++) {
                    *rest++ = (int16_t)(pixel[c] - zero_point);
                }
            } else {
                for (int32_t c = 0; c < split; c++) {
                    *first++ = 0;
                }
                for (int32_t c = split; c < channels; c++) {
                    *rest++ = 0;
                }
            }
        }
    }
}

static int32_t dot(const int16_t *x, const int8_t *w, int32_t n)
{
    int32_t sum = 0;
    for (; n >= 4; n -= 4, x += 4, w += 4) {
        sum += x[0] * w[0] + x[1] * w[1] + x[2] * w[2] + x[3] * w[3];
    }
    for (; n > 0; n--) {
        sum += *x++ * *w++;
    }
    return sum;
}

void tk_conv2d_row_s8(const tk_conv2d *conv, const int8_t *input, int32_t ring, int32_t oy,
                      int8_t *output, int16_t *scratch)
{
    const tk_window *w = conv->window;
    const int32_t taps = (int32_t)w->kernel_height * w->kernel_width;
    const int32_t first = taps * conv->split;
    const int32_t rest = taps * (conv->input_channels - conv->split);
    for (int32_t ox = 0; ox < w->output_width; ox++) {
        expand_patch(conv, input, ring, oy, ox, scratch);
        const int8_t *weights = conv->weights;
        const int8_t *weights_rest = conv->weights_rest;
        for (int32_t o = 0; o < conv->output_channels; o++) {
            const int32_t channel = conv->per_channel ? o : 0;
            int32_t acc = conv->bias != NULL ? conv->bias[o] : 0;
            acc += dot(scratch, weights, first);
            weights += first;
            if (rest > 0) {
                acc += dot(scratch + first, weights_rest, rest);
                weights_rest += rest;
            }
            acc = tk_multiply(acc, conv->multiplier[channel], conv->shift[channel]);
            acc = tk_clamp(acc + conv->output_zero_point, conv->activation_min,
                           conv->activation_max);
            *output++ = (int8_t)acc;
        }
    }
}

void tk_conv2d_s8(const tk_conv2d *conv, const int8_t *input, int8_t *output, int16_t *scratch)
{
    const tk_window *w = conv->window;
    for (int32_t oy = 0; oy < w->output_height; oy++) {
        tk_conv2d_row_s8(conv, input, w->input_height, oy, output, scratch);
        output += (int32_t)w->output_width * conv->output_channels;
    }
}
