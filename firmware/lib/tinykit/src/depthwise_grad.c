/* Gradients of DEPTHWISE_CONV_2D. */
#include "gradient.h"
#include "master.h"
#include "taps.h"

/* sum over taps of g * w for output channel `o` at input pixel (y, x) */
static int32_t channel_sum(const tk_depthwise_input_grad *conv, const int16_t *gradient, int32_t y,
                           int32_t x, int32_t o)
{
    const tk_axis rows = TK_ROWS(conv->window), columns = TK_COLUMNS(conv->window);
    const int32_t outputs = conv->channels * conv->depth_multiplier;
    const int32_t split = conv->split;
    const int8_t *weights = o < split ? conv->weights + o : conv->weights_rest + o - split;
    const int32_t step = o < split ? split : outputs - split;
    int32_t sum = 0;
    for (int32_t ky = 0; ky < rows.kernel; ky++) {
        const int32_t oy = tk_output_of(&rows, y, ky);
        for (int32_t kx = 0; oy >= 0 && kx < columns.kernel; kx++) {
            const int32_t ox = tk_output_of(&columns, x, kx);
            if (ox >= 0) {
                sum += gradient[(oy * columns.output + ox) * outputs + o] *
                       weights[(ky * columns.kernel + kx) * step];
            }
        }
    }
    return sum;
}

void tk_depthwise_input_grad_s16(const tk_depthwise_input_grad *conv, const int16_t *gradient,
                                 int16_t *result, int16_t *scratch, tk_trainer *trainer)
{
    const tk_window *w = conv->window;
    const int32_t depth = conv->depth_multiplier;
    for (int32_t o = 0; o < conv->channels * depth; o++) {
        const int32_t c = conv->per_channel ? o : 0;
        scratch[o] =
            tk_channel_multiplier(conv->scale, conv->multiplier[c], conv->multiplier_shift[c]);
    }
    for (int32_t y = 0; y < w->input_height; y++) {
        for (int32_t x = 0; x < w->input_width; x++) {
            for (int32_t c = 0; c < conv->channels; c++) {
                int64_t acc = 0;
                for (int32_t o = c * depth; o < (c + 1) * depth; o++) {
                    acc += (int64_t)channel_sum(conv, gradient, y, x, o) * scratch[o];
                }
                *result++ = tk_to_gradient(acc, conv->shift, &trainer->saturations);
            }
        }
    }
}

void tk_depthwise_update_s16(const tk_depthwise_update *conv, const int16_t *gradient,
                             const int8_t *x, const tk_trainer *trainer)
{
    const tk_axis rows = TK_ROWS(conv->window), columns = TK_COLUMNS(conv->window);
    const tk_update *update = conv->update;
    const uint32_t base = tk_noise_base(update->seed, trainer->step, update->tensor);
    const int32_t channels = conv->channels;
    const int32_t outputs = channels * conv->depth_multiplier;
    int32_t index = 0;
    for (int32_t ky = 0; ky < rows.kernel; ky++) {
        const tk_range ys = tk_outputs_inside(&rows, ky);
        for (int32_t kx = 0; kx < columns.kernel; kx++) {
            const tk_range xs = tk_outputs_inside(&columns, kx);
            for (int32_t o = 0; o < conv->split; o++, index++) {
                const int32_t c = o / conv->depth_multiplier;
                int64_t total = 0;
                for (int32_t oy = ys.first; oy < ys.last; oy++) {
                    const int32_t y = oy * rows.stride - rows.pad + ky * rows.dilation;
                    const int32_t left = kx * columns.dilation - columns.pad;
                    int32_t sum = 0;
                    for (int32_t ox = xs.first; ox < xs.last; ox++) {
                        const int32_t at = y * columns.input + left + ox * columns.stride;
                        sum += gradient[(oy * columns.output + ox) * outputs + o] *
                               (x[at * channels + c] - conv->input_zero_point);
                    }
                    total += sum;
                }
                const tk_rate rate = tk_update_rate(update, trainer, o);
                const int32_t acc = (int32_t)tk_shift_round(total, conv->fold_shift);
                tk_weight_update(update, index,
                                 tk_delta(acc, rate, update->stochastic,
                                          tk_noise(base, (uint32_t)index)));
            }
        }
    }
}
