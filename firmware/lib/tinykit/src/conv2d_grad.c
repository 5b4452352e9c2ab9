/* Gradients of CONV_2D and FULLY_CONNECTED. */
#include "conv_block.h"
#include "gradient.h"
#include "lanes.h"
#include "optimizer.h"
#include "pointwise_grad.h"
#include "simd.h"
#include "taps.h"

/* Products of int16 and int8 that an int32 surely holds: 510 * 2^15 * 2^7 < 2^31. */
#define CHUNK 510
/* Pixels of int16 times 9 bits that an int32 surely sums. */
#define FLAT_WIDTH 256

/* Where the weight of a channel at position `at` lies behind its pair's first (conv_block.h). */
static inline int32_t weight_place(int32_t channel, int32_t at) {
    return (at >> 1) * 4 + (at & 1) * 2 + (channel & 1);
}

/* total[i] += sum over o of g[o] * w[o][at + i], for n <= 4 input channels; `bytes` from a pair of
 * channels to the next. */
static void transposed(const int16_t *g, const int8_t *w, int32_t bytes, int32_t at, int32_t count,
                       int32_t n, int64_t total[4]) {
    while (count > 0) {
        const int32_t chunk = count < CHUNK ? count : CHUNK; /* CHUNK is even */
        int32_t a[4] = {0, 0, 0, 0};
        int32_t o = 0;
        if (n == 4 && (at & 1) == 0) {
            const int8_t *four = w + weight_place(0, at);
            for (; o + 2 <= chunk; o += 2, w += bytes, four += bytes) {
                tk_lanes_transposed_2(g + o, four, a);
            }
        }
        for (; o < chunk; o++) {
            for (int32_t i = 0; i < n; i++) {
                a[i] += g[o] * w[weight_place(o, at + i)];
            }
            w += o & 1 ? bytes : 0;
        }
        for (int32_t i = 0; i < n; i++) {
            total[i] += a[i];
        }
        g += chunk;
        count -= chunk;
    }
}

/* The gradient of input pixel (y, x) for the `width` input channels of one weight block.  scaled:
 * ring of rows of scaled output gradients. */
static void pixel_gradients(const tk_conv2d_input_grad *conv, const int16_t *scaled,
                            const int8_t *weights, int32_t width, int32_t y, int32_t x,
                            int16_t *result, uint32_t *saturations) {
    const tk_axis rows = TK_ROWS(conv->window), columns = TK_COLUMNS(conv->window);
    const int32_t outputs = conv->output_channels;
    const int32_t bytes = tk_pair_bytes(rows.kernel * columns.kernel * width);
    for (int32_t i = 0; i < width;) {
        const int32_t n = width - i >= 4 ? 4 : 1;
        int64_t total[4] = {0, 0, 0, 0};
        for (int32_t ky = 0; ky < rows.kernel; ky++) {
            const int32_t oy = tk_output_of(&rows, y, ky);
            for (int32_t kx = 0; oy >= 0 && kx < columns.kernel; kx++) {
                const int32_t ox = tk_output_of(&columns, x, kx);
                if (ox >= 0) {
                    const int16_t *g = scaled + ((oy % conv->ring) * columns.output + ox) * outputs;
                    const int32_t at = (ky * columns.kernel + kx) * width + i;
                    transposed(g, weights, bytes, at, outputs, n, total);
                }
            }
        }
        for (int32_t k = 0; k < n; k++) {
            result[i + k] = tk_to_gradient(total[k], conv->shift, saturations);
        }
        i += n;
    }
}

/* Scales row `oy` of the output's gradient into its place in the ring. */
static void scale_row(const tk_conv2d_input_grad *conv, const int16_t *gradient, int32_t oy,
                      const int16_t *multipliers, int16_t *scaled, uint32_t *saturations) {
    const int32_t width = conv->window->output_width, outputs = conv->output_channels;
    const int16_t *from = gradient + oy * width * outputs;
    int16_t *to = scaled + (oy % conv->ring) * width * outputs;
    for (int32_t x = 0; x < width; x++) {
        for (int32_t o = 0; o < outputs; o++) {
            *to++ = tk_to_gradient(*from++ * multipliers[o], conv->scale_shift, saturations);
        }
    }
}

void tk_conv2d_input_grad_s16(const tk_conv2d_input_grad *conv, const int16_t *gradient,
                              int16_t *result, int16_t *scratch, tk_trainer *trainer) {
    const tk_window *w = conv->window;
    const int32_t split = conv->split;
    const int32_t rest = conv->input_channels - split;
    uint32_t *saturations = &trainer->saturations;
    int16_t *multipliers = scratch;
    int16_t *scaled = scratch + conv->output_channels;
    for (int32_t o = 0; o < conv->output_channels; o++) {
        const int32_t c = conv->per_channel ? o : 0;
        multipliers[o] =
            tk_channel_multiplier(conv->scale, conv->multiplier[c], conv->multiplier_shift[c]);
    }
    if (tk_is_pointwise(w)) {
        int16_t *patch = scratch + ((conv->output_channels + 1) & ~1);
        tk_pointwise_input_grad(conv, multipliers, gradient, result, patch, trainer);
        return;
    }
    int32_t ready = 0; /* rows of the output that have been scaled */
    for (int32_t y = 0; y < w->input_height; y++) {
        const int32_t last = tk_min((y + w->pad_top) / w->stride_height, w->output_height - 1);
        for (; ready <= last; ready++) {
            scale_row(conv, gradient, ready, multipliers, scaled, saturations);
        }
        for (int32_t x = 0; x < w->input_width; x++) {
            pixel_gradients(conv, scaled, conv->weights, split, y, x, result, saturations);
            if (rest > 0) {
                pixel_gradients(conv, scaled, conv->weights_rest, rest, y, x, result + split,
                                saturations);
            }
            result += split + rest;
        }
    }
    for (; ready < w->output_height; ready++) { /* rows that see padding alone, for the count */
        scale_row(conv, gradient, ready, multipliers, scaled, saturations);
    }
}

/* Sums over pixels of g * (x - zero_point) through tap (ky, kx), for output channels o (total[0])
 * and, with `pair`, o + 1 (total[1]) and n <= 4 input channels from `x` on. */
static void weight_gradients(const tk_conv2d_update *conv, const int16_t *g, const int8_t *x,
                             int32_t ky, int32_t kx, int pair, int32_t n, int64_t total[2][4]) {
    const tk_axis rows = TK_ROWS(conv->window), columns = TK_COLUMNS(conv->window);
    const tk_range ys = tk_outputs_inside(&rows, ky), xs = tk_outputs_inside(&columns, kx);
    const int32_t g_step = conv->output_channels;
    const int32_t x_step = columns.stride * conv->input_channels;
    const int32_t zero_point = conv->input_zero_point;
    for (int32_t oy = ys.first; oy < ys.last; oy++) {
        const int32_t y = oy * rows.stride - rows.pad + ky * rows.dilation;
        const int32_t left = xs.first * columns.stride - columns.pad + kx * columns.dilation;
        const int8_t *px = x + (y * columns.input + left) * conv->input_channels;
        const int16_t *pg = g + (oy * columns.output + xs.first) * g_step;
        int32_t a[4] = {0, 0, 0, 0};
        int32_t b[4] = {0, 0, 0, 0};
        int32_t ox = xs.first;
        if (pair && n == 4) {
            for (; ox + 2 <= xs.last; ox += 2, px += 2 * x_step, pg += 2 * g_step) {
                tk_lanes_outer_2x2(pg, g_step, px, x_step, zero_point, a, b);
            }
        }
        for (; ox < xs.last; ox++, px += x_step, pg += g_step) {
            for (int32_t i = 0; i < n; i++) {
                a[i] += pg[0] * (px[i] - zero_point);
                b[i] += pair ? pg[1] * (px[i] - zero_point) : 0;
            }
        }
        for (int32_t i = 0; i < n; i++) {
            total[0][i] += a[i];
            total[1][i] += b[i];
        }
    }
}

#if TK_DSP && defined(__thumb2__)
/* sums += those over pixels of gradients times inputs in planes; `step` bytes from pixel to pixel
 * of the gradients. */
void tk_outer_2x4(const int16_t *g, int32_t step, const int16_t *x, const int16_t *end,
                  int32_t sums[2][4]);

/* The inputs of channels 0 … 4n - 1 less the zero point: for four channels and two pixels, four
 * words of an input at both. */
static void input_planes(const tk_conv2d_update *conv, const int8_t *x, int32_t pixels,
                         int16_t *planes) {
    const uint32_t offset = tk_both(-conv->input_zero_point);
    const int32_t step = conv->input_channels;
    for (int32_t i = 0; i + 4 <= conv->split; i += 4) {
        const int8_t *from = x + i;
        for (int32_t p = 0; p + 2 <= pixels; p += 2, from += 2 * step, planes += 8) {
            const uint32_t u = tk_load(from), v = tk_load(from + step);
            const uint32_t u_even = tk_add_even_bytes(offset, u),
                           v_even = tk_add_even_bytes(offset, v);
            const uint32_t u_odd = tk_add_odd_bytes(offset, u), v_odd = tk_add_odd_bytes(offset, v);
            tk_store(planes, tk_pack_low(u_even, v_even));
            tk_store(planes + 2, tk_pack_low(u_odd, v_odd));
            tk_store(planes + 4, tk_pack_high(u_even, v_even));
            tk_store(planes + 6, tk_pack_high(u_odd, v_odd));
        }
    }
}

/* weight_gradients() of a convolution of one tap for input channels i … i + 3, by planes. */
static void gradients_by_planes(const tk_conv2d_update *conv, const int16_t *g, const int8_t *x,
                                const int16_t *planes, int32_t i, int64_t total[2][4]) {
    const int32_t pixels = conv->window->output_width, last = pixels - 1;
    const int32_t size = (pixels & ~1) * 4; /* of four channels' planes */
    int32_t sums[2][4] = {{0, 0, 0, 0}, {0, 0, 0, 0}};
    if (size > 0) {
        const int16_t *four = planes + (i >> 2) * size;
        tk_outer_2x4(g, 2 * conv->output_channels, four, four + size, sums);
    }
    for (int32_t k = 0; k < 4; k++) {
        if (pixels & 1) {
            const int32_t input = x[last * conv->input_channels + i + k] - conv->input_zero_point;
            sums[0][k] += g[last * conv->output_channels] * input;
            sums[1][k] += g[last * conv->output_channels + 1] * input;
        }
        total[0][k] = sums[0][k];
        total[1][k] = sums[1][k];
    }
}
#endif

/* Updates the n weights of output channel o at positions at, at + 1, … by plain SGD. */
static void update_weights(const tk_conv2d_update *conv, tk_trainer *trainer, tk_rate rate,
                           int32_t o, int32_t at, int32_t n, const int64_t total[4]) {
    const tk_update *update = conv->update;
    const tk_window *w = conv->window;
    const int32_t row = (int32_t)w->kernel_height * w->kernel_width * conv->split;
    const int32_t first = (o >> 1) * tk_pair_bytes(row); /* of the pair */
    const uint32_t base = tk_noise_base(update->seed, trainer->step, update->tensor);
    uint32_t updated = 0;
    uint64_t moved = 0;
    for (int32_t k = at; k < at + n; k++) {
        const int32_t acc = (int32_t)tk_shift_round(total[k - at], conv->fold_shift);
        const uint32_t noise = tk_noise(base, (uint32_t)(o * row + k));
        const int32_t delta = tk_delta(acc, rate, update->stochastic, noise);
        updated += delta != 0;
        moved += tk_delta_size(delta);
        tk_weight_update(update, first + weight_place(o, k), delta);
    }
    trainer->updated += updated;
    trainer->moved += moved;
}

/* The same by another optimizer. */
static void update_weights_by(const tk_conv2d_update *conv, tk_updating *u, tk_rate rate, int32_t o,
                              int32_t at, int32_t n, const int64_t total[4]) {
    const tk_window *w = conv->window;
    const int32_t row = (int32_t)w->kernel_height * w->kernel_width * conv->split;
    const int32_t first = (o >> 1) * tk_pair_bytes(row);
    for (int32_t k = at; k < at + n; k++) {
        const int32_t acc = (int32_t)tk_shift_round(total[k - at], conv->fold_shift);
        tk_updating_weight(u, rate, first + weight_place(o, k), (uint32_t)(o * row + k), acc);
    }
}

/* In line, so that plain SGD (u is NULL) pays nothing for what it does without. */
static inline __attribute__((always_inline)) void update_all(const tk_conv2d_update *whole,
                                                             const int16_t *gradient,
                                                             const int8_t *x, int16_t *scratch,
                                                             tk_trainer *trainer, tk_updating *u) {
    tk_window flat = *whole->window;
    tk_conv2d_update layer = *whole;
    if (tk_is_pointwise(&flat) && flat.input_height * flat.input_width <= FLAT_WIDTH) {
        flat.input_width = flat.output_width = (uint16_t)(flat.input_height * flat.input_width);
        flat.input_height = flat.output_height = 1; /* all pixels are one row */
        layer.window = &flat;
    }
    const tk_conv2d_update *conv = &layer;
    const tk_window *w = conv->window;
    const int32_t split = conv->split;
#if TK_DSP && defined(__thumb2__)
    if (conv->planes) {
        input_planes(conv, x, w->output_width, scratch);
    }
#else
    (void)scratch;
#endif
    const float step_rate = u == NULL ? trainer->rate : u->rate;
    for (int32_t o = 0; o < conv->output_channels;) {
        const int pair = o + 1 < conv->output_channels;
        const tk_rate rate = tk_update_rate(conv->update, step_rate, o);
        const tk_rate next = tk_update_rate(conv->update, step_rate, o + pair);
        int32_t at = 0;
        for (int32_t ky = 0; ky < w->kernel_height; ky++) {
            for (int32_t kx = 0; kx < w->kernel_width; kx++) {
                for (int32_t i = 0; i < split;) {
                    const int32_t n = split - i >= 4 ? 4 : 1;
                    int64_t total[2][4] = {{0, 0, 0, 0}, {0, 0, 0, 0}};
#if TK_DSP && defined(__thumb2__)
                    if (conv->planes && pair && n == 4) {
                        gradients_by_planes(conv, gradient + o, x, scratch, i, total);
                    } else
#endif
                    {
                        weight_gradients(conv, gradient + o, x + i, ky, kx, pair, n, total);
                    }
                    for (int32_t k = 0; k <= pair; k++) {
                        if (u == NULL) {
                            update_weights(conv, trainer, k ? next : rate, o + k, at, n, total[k]);
                        } else {
                            update_weights_by(conv, u, k ? next : rate, o + k, at, n, total[k]);
                        }
                    }
                    i += n;
                    at += n;
                }
            }
        }
        o += 1 + pair;
    }
}

void tk_conv2d_update_s16(const tk_conv2d_update *conv, const int16_t *gradient, const int8_t *x,
                          int16_t *scratch, tk_trainer *trainer) {
    update_all(conv, gradient, x, scratch, trainer, NULL);
}

void tk_conv2d_update_state_s16(const tk_conv2d_update *conv, const int16_t *gradient,
                                const int8_t *x, int16_t *scratch, tk_trainer *trainer) {
    tk_updating u = tk_updating_begin(conv->update, trainer);
    do {
        update_all(conv, gradient, x, scratch, trainer, &u);
    } while (tk_updating_again(&u));
}
