/* Gradients of DEPTHWISE_CONV_2D. */
#include "gradient.h"
#include "gradient_planes.h"
#include "lanes.h"
#include "optimizer.h"
#include "simd.h"
#include "taps.h"

#define BLOCK 4 /* channels at a time where the result lies on the gradient */

/* One weight tap through which an output pixel sees the input pixel: offsets of the output pixel's
 * first gradient, and the tap's number. */
typedef struct {
    int32_t gradient, tap;
} seen;

/* Lists the outputs that see input pixel (y, x); `step` gradients from pixel to pixel. */
static int32_t list_taps(const tk_depthwise_input_grad *conv, int32_t step, int32_t y, int32_t x,
                         seen *list) {
    const tk_axis rows = TK_ROWS(conv->window), columns = TK_COLUMNS(conv->window);
    int32_t count = 0;
    for (int32_t ky = 0; ky < rows.kernel; ky++) {
        const int32_t oy = tk_output_of(&rows, y, ky);
        for (int32_t kx = 0; oy >= 0 && kx < columns.kernel; kx++) {
            const int32_t ox = tk_output_of(&columns, x, kx);
            if (ox >= 0) {
                list[count++] = (seen){(oy * columns.output + ox) * step, ky * columns.kernel + kx};
            }
        }
    }
    return count;
}

/* Sums over taps of g * w for output channels [o, o + 4), all in one block of weights. */
static void sums_4(const int16_t *gradient, const int8_t *weights, int32_t step, const seen *list,
                   int32_t count, int32_t acc[4]) {
    int32_t sums[4] = {0, 0, 0, 0};
    for (int32_t i = 0; i < count; i++) {
        tk_lanes_multiply(gradient + list[i].gradient, weights + list[i].tap * step, 0, sums);
    }
    for (int32_t k = 0; k < 4; k++) {
        acc[k] = sums[k];
    }
}

static int32_t sum_1(const int16_t *gradient, const int8_t *weights, int32_t step, const seen *list,
                     int32_t count) {
    int32_t sum = 0;
    for (int32_t i = 0; i < count; i++) {
        sum += gradient[list[i].gradient] * weights[list[i].tap * step];
    }
    return sum;
}

/* The sums of output channels [o, end) of a pixel; `gradient` is the first one's. */
static void pixel_sums(const tk_depthwise_input_grad *conv, const int16_t *gradient,
                       const seen *list, int32_t count, int32_t o, int32_t end, int32_t *sums) {
    const int32_t outputs = conv->channels * conv->depth_multiplier;
    const int32_t split = conv->split, first = o;
    while (o < end) {
        const int8_t *weights = o < split ? conv->weights + o : conv->weights_rest + o - split;
        const int32_t step = o < split ? split : outputs - split;
        const int32_t last = o < split ? tk_min(split, end) : end;
        for (; o + 4 <= last; o += 4, weights += 4) {
            sums_4(gradient + o - first, weights, step, list, count, sums + o);
        }
        for (; o < last; o++, weights++) {
            sums[o] = sum_1(gradient + o - first, weights, step, list, count);
        }
    }
}

/* Input channels [from, end), pixel by pixel, from gradients whose first channel is that of `from`,
 * `step` from pixel to pixel.  scratch: 4 * O + 8 * KH * KW bytes. */
static void pixels(const tk_depthwise_input_grad *conv, const int16_t *multipliers,
                   const int16_t *gradient, int32_t step, int32_t from, int32_t end,
                   int16_t *result, int32_t *scratch, uint32_t *saturations) {
    const tk_window *w = conv->window;
    const int32_t depth = conv->depth_multiplier;
    int32_t *sums = scratch;
    seen *list = (seen *)(void *)(scratch + conv->channels * depth);
    for (int32_t y = 0; y < w->input_height; y++) {
        for (int32_t x = 0; x < w->input_width; x++, result += conv->channels) {
            const int32_t count = list_taps(conv, step, y, x, list);
            pixel_sums(conv, gradient, list, count, from * depth, end * depth, sums);
            for (int32_t c = from; c < end; c++) {
                int64_t acc = 0;
                for (int32_t o = c * depth; o < (c + 1) * depth; o++) {
                    acc += (int64_t)sums[o] * multipliers[o];
                }
                result[c] = tk_to_gradient(acc, conv->shift, saturations);
            }
        }
    }
}

/* Input channels [from, C), each of which made one output channel, over their gradients: from a
 * copy of some channels at a time.  scratch: 8 * OH * OW bytes more than `pixels` takes. */
static void pixels_in_place(const tk_depthwise_input_grad *conv, const int16_t *multipliers,
                            int32_t from, int16_t *gradient, int32_t *scratch,
                            uint32_t *saturations) {
    const tk_window *w = conv->window;
    const int32_t channels = conv->channels, taps = w->kernel_height * w->kernel_width;
    int16_t *const copy = (int16_t *)(void *)(scratch + channels + 2 * taps);
    for (int32_t n; from < channels; from += n) {
        n = tk_min(BLOCK, channels - from);
        const int16_t *pixel = gradient + from;
        int16_t *to = copy;
        for (int32_t i = 0; i < w->output_height * w->output_width; i++, pixel += channels) {
            for (int32_t k = 0; k < n; k++) {
                *to++ = pixel[k];
            }
        }
        pixels(conv, multipliers, copy, n, from, from + n, gradient, scratch, saturations);
    }
}

void tk_depthwise_input_grad_s16(const tk_depthwise_input_grad *conv, const int16_t *gradient,
                                 int16_t *result, int16_t *scratch, tk_trainer *trainer) {
    const int32_t outputs = conv->channels * conv->depth_multiplier;
    int16_t *multipliers = scratch, *rest = scratch + ((outputs + 1) & ~1);
    for (int32_t o = 0; o < outputs; o++) {
        const int32_t c = conv->per_channel ? o : 0;
        multipliers[o] =
            tk_channel_multiplier(conv->scale, conv->multiplier[c], conv->multiplier_shift[c]);
    }
    int32_t from = 0; /* channels before it are done */
#if TK_DSP
    const int32_t split = conv->split;
    if (conv->planes && split >= 4) {
        tk_gradient_planes(conv, multipliers, conv->weights, 0, split, gradient, result, rest,
                           &trainer->saturations);
        from = split;
    }
    if (conv->planes && from == split && outputs - split >= 4) {
        tk_gradient_planes(conv, multipliers, conv->weights_rest, split, outputs - split, gradient,
                           result, rest, &trainer->saturations);
        from = outputs;
    }
#endif
    if (gradient == result) {
        pixels_in_place(conv, multipliers, from, result, (int32_t *)(void *)rest,
                        &trainer->saturations);
    } else if (from < outputs) {
        pixels(conv, multipliers, gradient + from, outputs, from / conv->depth_multiplier,
               conv->channels, result, (int32_t *)(void *)rest, &trainer->saturations);
    }
}

/* Sums over pixels of g * (x - zero_point) through tap (ky, kx) for `n` output channels from o on;
 * four at once where each input channel makes one output channel. */
static void weight_gradients(const tk_depthwise_update *conv, const int16_t *gradient,
                             const int8_t *x, int32_t ky, int32_t kx, int32_t o, int32_t n,
                             int64_t total[4]) {
    const tk_axis rows = TK_ROWS(conv->window), columns = TK_COLUMNS(conv->window);
    const tk_range ys = tk_outputs_inside(&rows, ky), xs = tk_outputs_inside(&columns, kx);
    const int32_t outputs = conv->channels * conv->depth_multiplier;
    const int32_t x_step = columns.stride * conv->channels;
    const int32_t zero_point = conv->input_zero_point;
    for (int32_t oy = ys.first; oy < ys.last; oy++) {
        const int32_t y = oy * rows.stride - rows.pad + ky * rows.dilation;
        const int32_t left = xs.first * columns.stride - columns.pad + kx * columns.dilation;
        const int8_t *px =
            x + (y * columns.input + left) * conv->channels + o / conv->depth_multiplier;
        const int16_t *pg = gradient + (oy * columns.output + xs.first) * outputs + o;
        int32_t sums[4] = {0, 0, 0, 0};
        if (n == 4) {
            for (int32_t ox = xs.first; ox < xs.last; ox++, px += x_step, pg += outputs) {
                tk_lanes_multiply(pg, px, zero_point, sums);
            }
        } else {
            for (int32_t ox = xs.first; ox < xs.last; ox++, px += x_step, pg += outputs) {
                sums[0] += *pg * (*px - zero_point);
            }
        }
        for (int32_t k = 0; k < n; k++) {
            total[k] += sums[k];
        }
    }
}

/* In line, so that plain SGD (u is NULL) pays nothing for what it does without. */
static inline __attribute__((always_inline)) void update_all(const tk_depthwise_update *conv,
                                                             const int16_t *gradient,
                                                             const int8_t *x, tk_trainer *trainer,
                                                             tk_updating *u) {
    const tk_window *w = conv->window;
    const tk_update *update = conv->update;
    const uint32_t base = tk_noise_base(update->seed, trainer->step, update->tensor);
    const float step_rate = u == NULL ? trainer->rate : u->rate;
    const int32_t block = conv->depth_multiplier == 1 ? 4 : 1;
    int32_t index = 0;
    for (int32_t ky = 0; ky < w->kernel_height; ky++) {
        for (int32_t kx = 0; kx < w->kernel_width; kx++) {
            for (int32_t o = 0; o < conv->split;) {
                const int32_t n = conv->split - o >= block ? block : 1;
                int64_t total[4] = {0, 0, 0, 0};
                weight_gradients(conv, gradient, x, ky, kx, o, n, total);
                for (int32_t k = 0; k < n; k++, o++, index++) {
                    const tk_rate rate = tk_update_rate(update, step_rate, o);
                    const int32_t acc = (int32_t)tk_shift_round(total[k], conv->fold_shift);
                    if (u != NULL) {
                        tk_updating_weight(u, rate, index, (uint32_t)index, acc);
                        continue;
                    }
                    const uint32_t noise = tk_noise(base, (uint32_t)index);
                    const int32_t delta = tk_delta(acc, rate, update->stochastic, noise);
                    tk_weight_update(update, index, delta);
                    tk_count_change(trainer, delta);
                }
            }
        }
    }
}

void tk_depthwise_update_s16(const tk_depthwise_update *conv, const int16_t *gradient,
                             const int8_t *x, tk_trainer *trainer) {
    update_all(conv, gradient, x, trainer, NULL);
}

void tk_depthwise_update_state_s16(const tk_depthwise_update *conv, const int16_t *gradient,
                                   const int8_t *x, tk_trainer *trainer) {
    tk_updating u = tk_updating_begin(conv->update, trainer);
    do {
        update_all(conv, gradient, x, trainer, &u);
    } while (tk_updating_again(&u));
}
