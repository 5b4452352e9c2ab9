/* DEPTHWISE_CONV_2D, int8. */
#include "requantize.h"
#include "rows.h"
#include "simd.h"
#include "tinykit/kernels.h"

/* One block of weights: channels [first, first + count) of the output. */
typedef struct {
    const int8_t *weights; /* [KH][KW][count] */
    int32_t first, count;
} block;

/* Output channel o, which sees input channel c. */
static int32_t sum_1(const tk_depthwise_conv2d *conv, const block *b, const int8_t *input,
                     const tk_view *view, int32_t o, int32_t c) {
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

/* The same for the four output channels from o and input channels from c. */
static void sum_4(const tk_depthwise_conv2d *conv, const block *b, const int8_t *input,
                  const tk_view *view, int32_t o, int32_t c, int32_t acc[4]) {
    const tk_window *w = conv->window;
    const int32_t step = w->dilation_width * conv->input_channels;
#if TK_DSP
    const uint32_t offset = tk_both(-conv->input_zero_point);
#else
    const int32_t zero_point = conv->input_zero_point;
#endif
    tk_row_walk rows = view->rows;
    int32_t a0 = 0;
    int32_t a1 = 0;
    int32_t a2 = 0;
    int32_t a3 = 0;
    for (int32_t ky = view->ky.first; ky < view->ky.last; ky++) {
        const int8_t *x = input + rows.offset + view->column + c;
        const int8_t *weight =
            b->weights + (ky * w->kernel_width + view->kx.first) * b->count + o - b->first;
        for (int32_t kx = view->kx.first; kx < view->kx.last; kx++) {
#if TK_DSP
            const uint32_t pixels = tk_load(x);
            const uint32_t weights = tk_load(weight);
            const uint32_t x_even = tk_add_even_bytes(offset, pixels);
            const uint32_t x_odd = tk_add_odd_bytes(offset, pixels);
            const uint32_t w_even = tk_even_bytes(weights);
            const uint32_t w_odd = tk_odd_bytes(weights);
            a0 = tk_smlabb(x_even, w_even, a0);
            a1 = tk_smlabb(x_odd, w_odd, a1);
            a2 = tk_smlatt(x_even, w_even, a2);
            a3 = tk_smlatt(x_odd, w_odd, a3);
#else
            a0 += (x[0] - zero_point) * weight[0];
            a1 += (x[1] - zero_point) * weight[1];
            a2 += (x[2] - zero_point) * weight[2];
            a3 += (x[3] - zero_point) * weight[3];
#endif
            x += step;
            weight += b->count;
        }
        tk_next_row(&rows);
    }
    acc[0] = a0;
    acc[1] = a1;
    acc[2] = a2;
    acc[3] = a3;
}

/* One pixel of a block, where each input channel makes one output channel. */
static void pixel_single(const tk_depthwise_conv2d *conv, const tk_output *finish, const block *b,
                         const int8_t *input, const tk_view *view, int8_t *output) {
    int32_t acc[TK_FINISH];
    const int32_t end = b->first + b->count;
    for (int32_t o = b->first; o < end; o += TK_FINISH) {
        const int32_t n = tk_min(end - o, TK_FINISH);
        int32_t k = 0;
        for (; k + 4 <= n; k += 4) {
            sum_4(conv, b, input, view, o + k, o + k, acc + k);
        }
        for (; k < n; k++) {
            acc[k] = sum_1(conv, b, input, view, o + k, o + k);
        }
        tk_finish(finish, o, n, acc, output);
    }
}

/* One pixel of a block, where each input channel makes several output channels. */
static void pixel_multiple(const tk_depthwise_conv2d *conv, const tk_output *finish, const block *b,
                           const int8_t *input, const tk_view *view, int8_t *output) {
    const int32_t multiple = conv->output_channels / conv->input_channels;
    int32_t c = b->first / multiple;
    int32_t left = multiple - b->first % multiple;
    for (int32_t o = b->first; o < b->first + b->count; o++) {
        const int32_t acc = sum_1(conv, b, input, view, o, c);
        tk_finish(finish, o, 1, &acc, output);
        if (--left == 0) {
            c++;
            left = multiple;
        }
    }
}

void tk_depthwise_conv2d_row_s8(const tk_depthwise_conv2d *conv, const int8_t *input, int32_t ring,
                                int32_t oy, int8_t *output) {
    const tk_window *w = conv->window;
    const block blocks[2] = {
        {conv->weights, 0, conv->split},
        {conv->weights_rest, conv->split, conv->output_channels - conv->split},
    };
    const int32_t count = conv->split < conv->output_channels ? 2 : 1;
    const tk_output finish = {
        conv->bias, conv->multiplier, conv->shift, conv->per_channel,
        tk_range_of(conv->activation_min, conv->activation_max, conv->output_zero_point)};
    tk_view view;
    tk_view_row(&view, w, ring, conv->input_channels, oy);
    for (int32_t ox = 0; ox < w->output_width; ox++) {
        tk_view_column(&view, w, conv->input_channels, ox);
        for (int32_t i = 0; i < count; i++) {
            if (conv->input_channels == conv->output_channels) {
                pixel_single(conv, &finish, &blocks[i], input, &view, output);
            } else {
                pixel_multiple(conv, &finish, &blocks[i], input, &view, output);
            }
        }
        output += conv->output_channels;
    }
}

void tk_depthwise_conv2d_s8(const tk_depthwise_conv2d *conv, const int8_t *input, int8_t *output) {
    const tk_window *w = conv->window;
    for (int32_t oy = 0; oy < w->output_height; oy++) {
        tk_depthwise_conv2d_row_s8(conv, input, w->input_height, oy, output);
        output += (int32_t)w->output_width * conv->output_channels;
    }
}
