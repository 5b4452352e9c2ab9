/* CONV_2D, FULLY_CONNECTED, DEPTHWISE_CONV_2D and BATCH_MATMUL of int16x8. */
#include "rows.h"
#include "simd.h"
#include "wide.h"

#define SAFE 510 /* products of int16 and int8 whose sum always fits 32 bits; an even number */

static int16_t finish(const tk_convolution16 *conv, int32_t o, int64_t sum) {
    const int32_t at = conv->per_channel ? o : 0;
    const int32_t y = conv->narrow
                          ? tk_multiply((int32_t)sum, conv->multiplier[at], conv->shift[at])
                          : tk_multiply_wide(sum, conv->multiplier[at], conv->shift[at]);
    return tk_saturate16(y, conv->activation_min, conv->activation_max);
}

/* Adds two channels' products over the n positions (an even number) of a patch to `sums`: in 32
 * bits as far as they hold, in 64 from there on. */
static __attribute__((noinline)) void add_products(const int16_t *x, const int8_t *w, int32_t n,
                                                   int64_t *sums) {
    while (n > 0) {
        const int32_t part = tk_min(n, SAFE);
        const int16_t *end = x + part;
        int32_t first = 0, second = 0;
        for (; x != end; x += 2, w += 4) {
#if TK_DSP
            const uint32_t inputs = tk_load(x), weights = tk_load(w);
            first = tk_smlad(inputs, tk_even_bytes(weights), first);
            second = tk_smlad(inputs, tk_odd_bytes(weights), second);
#else
            first += x[0] * w[0] + x[1] * w[2];
            second += x[0] * w[1] + x[1] * w[3];
#endif
        }
        sums[0] += first;
        sums[1] += second;
        n -= part;
    }
}

/* The same for two pixels at once. */
static __attribute__((noinline)) void add_products_of_two(const int16_t *x, const int16_t *next,
                                                          const int8_t *w, int32_t n, int64_t *sums,
                                                          int64_t *next_sums) {
    while (n > 0) {
        const int32_t part = tk_min(n, SAFE);
        const int16_t *end = x + part;
        int32_t a = 0, b = 0, c = 0, d = 0;
        for (; x != end; x += 2, next += 2, w += 4) {
#if TK_DSP
            const uint32_t weights = tk_load(w), inputs = tk_load(x), others = tk_load(next);
            const uint32_t even = tk_even_bytes(weights), odd = tk_odd_bytes(weights);
            a = tk_smlad(inputs, even, a);
            b = tk_smlad(inputs, odd, b);
            c = tk_smlad(others, even, c);
            d = tk_smlad(others, odd, d);
#else
            a += x[0] * w[0] + x[1] * w[2];
            b += x[0] * w[1] + x[1] * w[3];
            c += next[0] * w[0] + next[1] * w[2];
            d += next[0] * w[1] + next[1] * w[3];
#endif
        }
        sums[0] += a;
        sums[1] += b;
        next_sums[0] += c;
        next_sums[1] += d;
        n -= part;
    }
}

/* All channels of a pixel that sees `patch`, and of the next one unless that is NULL. */
static void make_pixels(const tk_convolution16 *conv, const int16_t *patch, const int16_t *next,
                        int32_t positions, int16_t *output) {
    const int32_t channels = conv->output_channels;
    const int8_t *w = conv->weights;
    for (int32_t o = 0; o < channels; o += 2, w += 2 * positions) {
        const int32_t count = tk_min(channels - o, 2);
        const int64_t first = conv->bias[o], second = conv->bias[o + count - 1];
        int64_t sums[2] = {first, second}, next_sums[2] = {first, second};
        if (next == NULL) {
            add_products(patch, w, positions, sums);
        } else {
            add_products_of_two(patch, next, w, positions, sums, next_sums);
        }
        for (int32_t i = 0; i < count; i++) {
            output[o + i] = finish(conv, o + i, sums[i]);
            if (next != NULL) {
                output[channels + o + i] = finish(conv, o + i, next_sums[i]);
            }
        }
    }
}

static int16_t *put_zeros(int16_t *patch, int32_t n) {
    for (int32_t i = 0; i < n; i++) {
        patch[i] = 0;
    }
    return patch + n;
}

/* What the pixel under `view` sees, row after row of its window; 0 outside the input. */
static void fill_patch(const tk_convolution16 *conv, const int16_t *input, const tk_view *view,
                       int16_t *patch) {
    const tk_window *w = conv->window;
    const int32_t channels = conv->input_channels, step = w->dilation_width * channels;
    tk_row_walk rows = view->rows;
    for (int32_t ky = 0; ky < w->kernel_height; ky++) {
        if (ky < view->ky.first || ky >= view->ky.last) {
            patch = put_zeros(patch, w->kernel_width * channels);
            continue;
        }
        const int16_t *x = input + rows.offset + view->column;
        tk_next_row(&rows);
        patch = put_zeros(patch, view->kx.first * channels);
        for (int32_t kx = view->kx.first; kx < view->kx.last; kx++, x += step) {
            for (int32_t c = 0; c < channels; c++) {
                *patch++ = x[c];
            }
        }
        patch = put_zeros(patch, (w->kernel_width - view->kx.last) * channels);
    }
}

/* What output pixel ox of the row that `view` stands for sees: where it lies in the input, or
 * gathered in `patch` with the even number of positions. */
static const int16_t *patch_of(const tk_convolution16 *conv, const int16_t *input, tk_view *view,
                               int32_t ox, int16_t *patch, int32_t positions) {
    tk_view_column(view, conv->window, conv->input_channels, ox);
    if (conv->direct) {
        return input + view->rows.offset + view->column;
    }
    patch[positions - 1] = 0; /* an odd number is filled up */
    fill_patch(conv, input, view, patch);
    return patch;
}

void tk_conv2d_row_s16(const tk_convolution16 *conv, const int16_t *input, int32_t ring, int32_t oy,
                       int16_t *output, int16_t *scratch) {
    const tk_window *w = conv->window;
    const int32_t seen = (int32_t)w->kernel_height * w->kernel_width * conv->input_channels;
    const int32_t positions = (seen + 1) & ~1, width = w->output_width;
    tk_view view;
    tk_view_row(&view, w, ring, conv->input_channels, oy);
    for (int32_t ox = 0; ox < width; ox += 2) {
        const int16_t *patch = patch_of(conv, input, &view, ox, scratch, positions), *next = NULL;
        if (ox + 1 < width) {
            next = patch_of(conv, input, &view, ox + 1, scratch + positions, positions);
        }
        make_pixels(conv, patch, next, positions, output);
        output += 2 * conv->output_channels;
    }
}

void tk_conv2d_s16(const tk_convolution16 *conv, const int16_t *input, int16_t *output,
                   int16_t *scratch) {
    const tk_window *w = conv->window;
    for (int32_t oy = 0; oy < w->output_height; oy++) {
        tk_conv2d_row_s16(conv, input, w->input_height, oy, output, scratch);
        output += (int32_t)w->output_width * conv->output_channels;
    }
}

/* Output channel o of the pixel under `view`, which sees input channel c. */
static int64_t depthwise_sum(const tk_convolution16 *conv, const int16_t *input,
                             const tk_view *view, int32_t o, int32_t c) {
    const tk_window *w = conv->window;
    const int32_t step = w->dilation_width * conv->input_channels;
    tk_row_walk rows = view->rows;
    int64_t sum = conv->bias[o];
    for (int32_t ky = view->ky.first; ky < view->ky.last; ky++) {
        const int16_t *x = input + rows.offset + view->column + c;
        const int8_t *weight =
            conv->weights + (ky * w->kernel_width + view->kx.first) * conv->output_channels + o;
        for (int32_t kx = view->kx.first; kx < view->kx.last; kx++) {
            sum += *x * *weight;
            x += step;
            weight += conv->output_channels;
        }
        tk_next_row(&rows);
    }
    return sum;
}

void tk_depthwise_conv2d_row_s16(const tk_convolution16 *conv, const int16_t *input, int32_t ring,
                                 int32_t oy, int16_t *output) {
    const int32_t multiple = conv->output_channels / conv->input_channels;
    tk_view view;
    tk_view_row(&view, conv->window, ring, conv->input_channels, oy);
    for (int32_t ox = 0; ox < conv->window->output_width; ox++) {
        tk_view_column(&view, conv->window, conv->input_channels, ox);
        int32_t o = 0;
        for (int32_t c = 0; c < conv->input_channels; c++) {
            for (int32_t i = 0; i < multiple; i++, o++) {
                *output++ = finish(conv, o, depthwise_sum(conv, input, &view, o, c));
            }
        }
    }
}

void tk_depthwise_conv2d_s16(const tk_convolution16 *conv, const int16_t *input, int16_t *output) {
    const tk_window *w = conv->window;
    for (int32_t oy = 0; oy < w->output_height; oy++) {
        tk_depthwise_conv2d_row_s16(conv, input, w->input_height, oy, output);
        output += (int32_t)w->output_width * conv->output_channels;
    }
}

void tk_batch_matmul_s16(const tk_batch_matmul *op, const int16_t *a, const int16_t *b,
                         int16_t *output) {
    enum { BATCH, ROW, COLUMN, INNER = 4 };
    const uint32_t *size = op->size, *step_a = op->stride_a, *step_b = op->stride_b;
    for (uint32_t batch = 0; batch < size[BATCH]; batch++) {
        for (uint32_t row = 0; row < size[ROW]; row++) {
            for (uint32_t column = 0; column < size[COLUMN]; column++) {
                const int16_t *x = a + batch * step_a[BATCH] + row * step_a[ROW];
                const int16_t *w = b + batch * step_b[BATCH] + column * step_b[COLUMN];
                int64_t sum = 0;
                for (uint32_t i = 0; i < size[INNER]; i++) {
                    sum += (int32_t)x[i * step_a[INNER]] * w[i * step_b[INNER]];
                }
                *output++ = tk_saturate16(tk_multiply_wide(sum, op->multiplier, op->shift),
                                          INT16_MIN, INT16_MAX);
            }
        }
    }
}
