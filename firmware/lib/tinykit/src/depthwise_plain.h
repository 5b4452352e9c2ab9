/* Depthwise convolutions channel by channel: any window, any number of channels. */
#ifndef TINYKIT_DEPTHWISE_PLAIN_H
#define TINYKIT_DEPTHWISE_PLAIN_H

#include "requantize.h"
#include "rows.h"

/* One block of weights: channels [first, first + count) of the output. */
typedef struct {
    const int8_t *weights; /* [KH][KW][count] */
    int32_t first, count;
} block;

/* Output channel o, which sees input channel c. */
static int32_t tk_depthwise_sum(const tk_depthwise_conv2d *conv, const block *b,
                                const int8_t *input, const tk_view *view, int32_t o, int32_t c) {
    const tk_window *w = conv->window;
    const int32_t step = w->dilation_width * conv->input_channels;
    const int32_t zero_point = conv->input_zero_point;
    tk_row_walk rows = view->rows;
    int32_t acc = 0;
    for (int32_t ky = view->ky.first; ky < view->ky.last; ky++) {
        const int8_t *x = input + rows.offset + view->column + c;
        const int8_t *weight =
            b->weights + (ky * w->kernel_width + view->kx.first) * b->count + o - b->first;
        for (int32_t kx = view->kx.first; kx < view->kx.last; kx++) {
            acc += (*x - zero_point) * *weight;
            x += step;
            weight += b->count;
        }
        tk_next_row(&rows);
    }
    return acc;
}

/* Channels [from, end) of a row, one by one: any window, any number of channels. */
static void tk_depthwise_row_plain(const tk_depthwise_conv2d *conv, const block *b,
                                   const int8_t *input, tk_view *view, int32_t from,
                                   int8_t *output) {
    const tk_output finish = {
        conv->bias, conv->multiplier, conv->shift, conv->per_channel,
        tk_range_of(conv->activation_min, conv->activation_max, conv->output_zero_point)};
    const int32_t multiple = conv->output_channels / conv->input_channels;
    for (int32_t ox = 0; ox < conv->window->output_width; ox++) {
        tk_view_column(view, conv->window, conv->input_channels, ox);
        int32_t c = from / multiple;
        int32_t left = multiple - from % multiple;
        for (int32_t o = from; o < b->first + b->count; o++) {
            const int32_t acc = tk_depthwise_sum(conv, b, input, view, o, c);
            tk_finish(&finish, o, 1, &acc, output);
            if (--left == 0) {
                c++;
                left = multiple;
            }
        }
        output += conv->output_channels;
    }
}

#endif
