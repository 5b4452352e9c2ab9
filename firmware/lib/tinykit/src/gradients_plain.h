/* Gradients of another type than int16, in plain loops: included once for each type.
 *
 * Before it: GRADIENT, SUM and FACTOR (of an output channel), NAME(kernel), and the functions
 * factor_of, settled (a sum to GRADIENT), collected (a sum to an update's int32) and averaged.
 * Sums go tap by tap, rows first, then output channel by output channel. */
#include "conv_block.h"
#include "optimizer.h"
#include "taps.h"

/* Where the weight of output channel o and input channel i at tap `tap` lies in its block, which
 * is `width` channels wide (conv_block.h); `taps` of the whole kernel. */
static int32_t place_of(const tk_plain_layer *layer, int32_t o, int32_t taps, int32_t tap,
                        int32_t i, int32_t width) {
    if (layer->depth_multiplier > 0) {
        return tap * width + o;
    }
    const int32_t at = tap * width + i;
    return (o >> 1) * tk_pair_bytes(taps * width) + (at >> 1) * 4 + (at & 1) * 2 + (o & 1);
}

static int8_t weight_of(const tk_plain_layer *layer, int32_t o, int32_t taps, int32_t tap,
                        int32_t i) {
    const int depthwise = layer->depth_multiplier > 0;
    const int32_t split = layer->split;
    const int32_t all = depthwise ? layer->output_channels : layer->input_channels;
    if ((depthwise ? o : i) < split) {
        return layer->weights[place_of(layer, o, taps, tap, i, split)];
    }
    const int32_t rest = depthwise ? o - split : o;
    return layer->weights_rest[place_of(layer, rest, taps, tap, i - split, all - split)];
}

/* The gradient of input (y, x, i). */
static SUM input_sum(const tk_plain_layer *layer, const GRADIENT *gradient, const FACTOR *factors,
                     int32_t y, int32_t x, int32_t i) {
    const tk_axis rows = TK_ROWS(layer->window), columns = TK_COLUMNS(layer->window);
    const int32_t taps = rows.kernel * columns.kernel, multiplier = layer->depth_multiplier;
    const int32_t first = i * multiplier;
    const int32_t last = multiplier > 0 ? first + multiplier : layer->output_channels;
    SUM total = 0;
    for (int32_t ky = 0; ky < rows.kernel; ky++) {
        const int32_t oy = tk_output_of(&rows, y, ky);
        for (int32_t kx = 0; oy >= 0 && kx < columns.kernel; kx++) {
            const int32_t ox = tk_output_of(&columns, x, kx);
            const int32_t pixel = (oy * columns.output + ox) * layer->output_channels;
            for (int32_t o = first; ox >= 0 && o < last; o++) {
                const SUM scaled = (SUM)gradient[pixel + o] * factors[o];
                const SUM weight = weight_of(layer, o, taps, ky * columns.kernel + kx, i);
                total = total + scaled * weight;
            }
        }
    }
    return total;
}

void NAME(tk_plain_input_grad)(const tk_plain_layer *layer, const GRADIENT *gradient,
                               GRADIENT *result, FACTOR *factors, tk_trainer *trainer) {
    for (int32_t o = 0; o < layer->output_channels; o++) {
        factors[o] = factor_of(layer, layer->per_channel ? o : 0);
    }
    for (int32_t y = 0; y < layer->window->input_height; y++) {
        for (int32_t x = 0; x < layer->window->input_width; x++) {
            for (int32_t i = 0; i < layer->input_channels; i++) {
                const SUM sum = input_sum(layer, gradient, factors, y, x, i);
                *result++ = settled(sum, layer->shift, &trainer->saturations);
            }
        }
    }
}

/* The sum over pixels of g * (x - zero point) through tap (ky, kx). */
static SUM weight_sum(const tk_plain_layer *layer, const GRADIENT *gradient, const int8_t *x,
                      int32_t o, int32_t ky, int32_t kx, int32_t i) {
    const tk_axis rows = TK_ROWS(layer->window), columns = TK_COLUMNS(layer->window);
    const tk_range ys = tk_outputs_inside(&rows, ky), xs = tk_outputs_inside(&columns, kx);
    SUM total = 0;
    for (int32_t oy = ys.first; oy < ys.last; oy++) {
        const int32_t y = oy * rows.stride - rows.pad + ky * rows.dilation;
        for (int32_t ox = xs.first; ox < xs.last; ox++) {
            const int32_t column = ox * columns.stride - columns.pad + kx * columns.dilation;
            const int32_t pixel = (y * columns.input + column) * layer->input_channels;
            const SUM value = x[pixel + i] - layer->input_zero_point;
            total =
                total + gradient[(oy * columns.output + ox) * layer->output_channels + o] * value;
        }
    }
    return total;
}

void NAME(tk_plain_weight_update)(const tk_plain_layer *layer, const GRADIENT *gradient,
                                  const int8_t *x, tk_trainer *trainer) {
    const int32_t kh = layer->window->kernel_height, kw = layer->window->kernel_width;
    const int32_t multiplier = layer->depth_multiplier, split = layer->split;
    const int32_t outputs = multiplier > 0 ? split : layer->output_channels;
    const int32_t inputs = multiplier > 0 ? 1 : split;
    tk_updating u = tk_updating_begin(layer->update, trainer);
    do {
        for (int32_t o = 0; o < outputs; o++) {
            const tk_rate rate = tk_update_rate(u.update, u.rate, o);
            for (int32_t tap = 0; tap < kh * kw; tap++) {
                for (int32_t k = 0; k < inputs; k++) {
                    const int32_t i = multiplier > 0 ? o / multiplier : k;
                    const SUM sum = weight_sum(layer, gradient, x, o, tap / kw, tap % kw, i);
                    const int32_t acc = collected(sum, layer->shift, &trainer->saturations);
                    const int32_t place = place_of(layer, o, kh * kw, tap, k, split);
                    const int32_t number = multiplier > 0 ? place : (o * kh * kw + tap) * split + k;
                    tk_updating_weight(&u, rate, place, (uint32_t)number, acc);
                }
            }
        }
    } while (tk_updating_again(&u));
}

void NAME(tk_plain_bias_update)(const tk_plain_layer *layer, const GRADIENT *gradient,
                                tk_trainer *trainer) {
    const int32_t pixels = layer->window->output_height * layer->window->output_width;
    tk_updating u = tk_updating_begin(layer->update, trainer);
    do {
        for (int32_t o = 0; o < layer->output_channels; o++) {
            SUM sum = 0;
            for (int32_t p = 0; p < pixels; p++) {
                sum = sum + gradient[p * layer->output_channels + o];
            }
            const tk_rate rate = tk_update_rate(u.update, u.rate, o);
            const int32_t acc = collected(sum, layer->shift, &trainer->saturations);
            tk_updating_bias(&u, rate, (uint32_t)o, acc);
        }
    } while (tk_updating_again(&u));
}

void NAME(tk_plain_activation_grad)(const tk_activation_limits *limits, const GRADIENT *gradient,
                                    const int8_t *y, GRADIENT *result) {
    for (uint32_t i = 0; i < limits->size; i++) {
        result[i] = y[i] > limits->low && y[i] < limits->high ? gradient[i] : 0;
    }
}

void NAME(tk_plain_activation_grad_bits)(const tk_activation_limits *limits,
                                         const GRADIENT *gradient, const uint8_t *bits,
                                         GRADIENT *result) {
    for (uint32_t i = 0; i < limits->size; i++) {
        result[i] = (bits[i / 8] >> (i % 8)) & 1 ? gradient[i] : 0;
    }
}

void NAME(tk_plain_average_grad)(const tk_pool_grad *pool, const GRADIENT *gradient,
                                 GRADIENT *result, tk_trainer *trainer) {
    const tk_axis rows = TK_ROWS(pool->window), columns = TK_COLUMNS(pool->window);
    for (int32_t at = 0; at < rows.input * columns.input * pool->channels; at++) {
        const int32_t c = at % pool->channels, pixel = at / pool->channels;
        SUM total = 0;
        for (int32_t ky = 0; ky < rows.kernel; ky++) {
            const int32_t oy = tk_output_of(&rows, pixel / columns.input, ky);
            for (int32_t kx = 0; oy >= 0 && kx < columns.kernel; kx++) {
                const int32_t ox = tk_output_of(&columns, pixel % columns.input, kx);
                if (ox >= 0) {
                    const tk_range ys = tk_taps_inside(&rows, oy),
                                   xs = tk_taps_inside(&columns, ox);
                    const int32_t count = (ys.last - ys.first) * (xs.last - xs.first);
                    const int32_t from = (oy * columns.output + ox) * pool->channels + c;
                    total = total + averaged(gradient[from], count);
                }
            }
        }
        result[at] = settled(total, pool->shift, &trainer->saturations);
    }
}
