/* DEPTHWISE_CONV_2D, int8. */
#include "depthwise_mve.h"
#include "planes.h"
#include "rows.h"
#include "tinykit/kernels.h"

/* One block of weights: channels [first, first + count) of the output. */
typedef struct {
    const int8_t *weights; /* [KH][KW][count] */
    int32_t first, count;
} block;

/* Output channel o, which sees input channel c. */
static int32_t sum(const tk_depthwise_conv2d *conv, const block *b, const int8_t *input,
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

/* Channels [from, end) of a row, one by one: any window, any number of channels. */
static void row_plain(const tk_depthwise_conv2d *conv, const tk_output *finish, const block *b,
                      const int8_t *input, tk_view *view, int32_t from, int8_t *output) {
    const int32_t multiple = conv->output_channels / conv->input_channels;
    for (int32_t ox = 0; ox < conv->window->output_width; ox++) {
        tk_view_column(view, conv->window, conv->input_channels, ox);
        int32_t c = from / multiple;
        int32_t left = multiple - from % multiple;
        for (int32_t o = from; o < b->first + b->count; o++) {
            const int32_t acc = sum(conv, b, input, view, o, c);
            tk_finish(finish, o, 1, &acc, output);
            if (--left == 0) {
                c++;
                left = multiple;
            }
        }
        output += conv->output_channels;
    }
}

#if TK_DSP
/* Channels o … o + 3 of a row by planes, tile by tile. */
static void row_planes(const tk_depthwise_conv2d *conv, const block *b, const int8_t *input,
                       const tk_view *view, int32_t o, int8_t *output, int16_t *planes) {
    const tk_window *w = conv->window;
    const int32_t stride = w->stride_width, width = w->output_width;
    const int32_t most = tk_plane_outputs(w->kernel_width, stride);
    const int32_t step = conv->per_channel ? 4 : 0;
    tk_tile tile = {
        .planes = planes,
        .weights = b->weights + o - b->first,
        .bias = conv->bias + o,
        .multiplier = conv->multiplier + (step != 0 ? o : 0),
        .shift = conv->shift + (step != 0 ? o : 0),
        .step = step,
        .twice_zero = 2 * conv->output_zero_point + 1,
        .channels = conv->output_channels,
        .wide = conv->sums != TK_SUMS_NARROW,
    };
    for (int32_t ox = 0; ox < width; ox += most) {
        tile.count = tk_min(most, width - ox);
        tile.output = output + ox * conv->output_channels + o;
        const int32_t columns = (tile.count - 1) * stride + w->kernel_width;
        tk_planes_fill(planes, w->kernel_height, conv->input_channels, input + o, view,
                       ox * stride - w->pad_left, columns, w->input_width, conv->input_zero_point);
        tk_planes_tile(&tile, w->kernel_height, w->kernel_width, stride, b->count);
    }
}
#endif

/* The rows of a layer: what does not change from row to row. */
static void row(const tk_depthwise_conv2d *conv, const tk_output *finish, const int8_t *input,
                int32_t ring, int32_t oy, int8_t *output, int16_t *planes) {
    const tk_window *w = conv->window;
    const block blocks[2] = {
        {conv->weights, 0, conv->split},
        {conv->weights_rest, conv->split, conv->output_channels - conv->split},
    };
    tk_view view;
    tk_view_row(&view, w, ring, conv->input_channels, oy);
    for (int32_t i = 0; i < 2 && blocks[i].count > 0; i++) {
        const block *b = &blocks[i];
        int32_t o = b->first;
#if TK_DSP
        if (conv->sums != TK_SUMS_ANY && conv->input_channels == conv->output_channels &&
            tk_planes_serve(w)) {
            for (; o + 4 <= b->first + b->count; o += 4) {
                row_planes(conv, b, input, &view, o, output, planes);
            }
        }
#else
        (void)planes;
#endif
        if (o < b->first + b->count) {
            row_plain(conv, finish, b, input, &view, o, output);
        }
    }
#if TK_DSP
    const int32_t low = conv->activation_min, high = conv->activation_max;
    if (low > INT8_MIN || high < INT8_MAX) {
        for (int32_t i = 0; i < w->output_width * conv->output_channels; i++) {
            output[i] = (int8_t)tk_clamp(output[i], low, high);
        }
    }
#endif
}

static tk_output finish_of(const tk_depthwise_conv2d *conv) {
    return (tk_output){
        conv->bias, conv->multiplier, conv->shift, conv->per_channel,
        tk_range_of(conv->activation_min, conv->activation_max, conv->output_zero_point)};
}

void tk_depthwise_conv2d_row_s8(const tk_depthwise_conv2d *conv, const int8_t *input, int32_t ring,
                                int32_t oy, int8_t *output, int16_t *scratch) {
#if TK_MVE
    if (tk_mve_depthwise(conv, input, ring, oy, oy + 1, output, (int8_t *)scratch)) {
        return;
    }
#endif
    const tk_output finish = finish_of(conv);
    row(conv, &finish, input, ring, oy, output, scratch);
}

void tk_depthwise_conv2d_s8(const tk_depthwise_conv2d *conv, const int8_t *input, int8_t *output,
                            int16_t *scratch) {
    const tk_window *w = conv->window;
#if TK_MVE
    if (tk_mve_depthwise(conv, input, w->input_height, 0, w->output_height, output,
                         (int8_t *)scratch)) {
        return;
    }
#endif
    const tk_output finish = finish_of(conv);
    for (int32_t oy = 0; oy < w->output_height; oy++) {
        row(conv, &finish, input, w->input_height, oy, output, scratch);
        output += (int32_t)w->output_width * conv->output_channels;
    }
}
