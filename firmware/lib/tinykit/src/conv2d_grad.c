/* Gradients of CONV_2D and FULLY_CONNECTED. */
#include "gradient.h"
#include "master.h"
#include "taps.h"

/* Products of int16 and int8 that an int32 surely holds: 511 * 2^15 * 2^7 < 2^31. */
#define CHUNK 511

/* sum over o of g[o] * w[o * stride] */
static int64_t dot_strided(const int16_t *g, const int8_t *w, int32_t stride, int32_t count)
{
    int64_t total = 0;
    while (count > 0) {
        const int32_t n = count < CHUNK ? count : CHUNK;
        int32_t sum = 0;
        for (int32_t o = 0; o < n; o++, w += stride) {
            sum += g[o] * w[0];
        }
        total += sum;
        g += n;
        count -= n;
    }
    return total;
}

/* The same for four neighbouring weights; adds to total[4]. */
static void dot_strided_4(const int16_t *g, const int8_t *w, int32_t stride, int32_t count,
                          int64_t *total)
{
    while (count > 0) {
        const int32_t n = count < CHUNK ? count : CHUNK;
        int32_t a = 0, b = 0, c = 0, d = 0;
        for (int32_t o = 0; o < n; o++, w += stride) {
            a += g[o] * w[0];
            b += g[o] * w[1];
            c += g[o] * w[2];
            d += g[o] * w[3];
        }
        total[0] += a;
        total[1] += b;
        total[2] += c;
        total[3] += d;
        g += n;
        count -= n;
    }
}

/* The gradients of input pixel (y, x) for the `width` input channels of one weight block.
 * scaled: ring of rows of scaled output gradients. */
static void pixel_gradients(const tk_conv2d_input_grad *conv, const int16_t *scaled,
                            const int8_t *weights, int32_t width, int32_t y, int32_t x,
                            int16_t *result, uint32_t *saturations)
{
    const tk_axis rows = TK_ROWS(conv->window), columns = TK_COLUMNS(conv->window);
    const int32_t outputs = conv->output_channels;
    const int32_t stride = rows.kernel * columns.kernel * width;
    for (int32_t i = 0; i < width;) {
        const int32_t n = width - i >= 4 ? 4 : 1;
        int64_t total[4] = {0, 0, 0, 0};
        for (int32_t ky = 0; ky < rows.kernel; ky++) {
            const int32_t oy = tk_output_of(&rows, y, ky);
            for (int32_t kx = 0; oy >= 0 && kx < columns.kernel; kx++) {
                const int32_t ox = tk_output_of(&columns, x, kx);
                if (ox < 0) {
                    continue;
                }
                const int16_t *g = scaled + ((oy % conv->ring) * columns.output + ox) * outputs;
                const int8_t *tap = weights + (ky * columns.kernel + kx) * width + i;
                if (n == 4) {
                    dot_strided_4(g, tap, stride, outputs, total);
                } else {
                    total[0] += dot_strided(g, tap, stride, outputs);
                }
            }
        }
        for (int32_t k = 0; k < n; k++) {
            result[i++] = tk_to_gradient(total[k], conv->shift, saturations);
        }
    }
}

/* Scales row `oy` of the output's gradient into its place in the ring. */
static void scale_row(const tk_conv2d_input_grad *conv, const int16_t *gradient, int32_t oy,
                      const int16_t *multipliers, int16_t *scaled, uint32_t *saturations)
{
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
                              int16_t *result, int16_t *scratch, tk_trainer *trainer)
{
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

/* sum over pixels of g * (x - zero_point), for output channel `g`, tap (ky, kx) and n <= 4 input
 * channels from `x` on. */
static void weight_gradients(const tk_conv2d_update *conv, const int16_t *g, const int8_t *x,
                             int32_t ky, int32_t kx, int32_t n, int64_t *total)
{
    const tk_axis rows = TK_ROWS(conv->window), columns = TK_COLUMNS(conv->window);
    const tk_range ys = tk_outputs_inside(&rows, ky), xs = tk_outputs_inside(&columns, kx);
    const int32_t g_step = conv->output_channels;
    const int32_t x_step = columns.stride * conv->input_channels;
    for (int32_t oy = ys.first; oy < ys.last; oy++) {
        const int32_t y = oy * rows.stride - rows.pad + ky * rows.dilation;
        const int32_t left = xs.first * columns.stride - columns.pad + kx * columns.dilation;
        const int8_t *px = x + (y * columns.input + left) * conv->input_channels;
        const int16_t *pg = g + (oy * columns.output + xs.first) * g_step;
        int32_t a = 0, b = 0, c = 0, d = 0, all = 0;
        if (n == 4) {
            for (int32_t ox = xs.first; ox < xs.last; ox++, px += x_step, pg += g_step) {
                all += *pg;
                a += *pg * px[0];
                b += *pg * px[1];
                c += *pg * px[2];
                d += *pg * px[3];
            }
        } else {
            for (int32_t ox = xs.first; ox < xs.last; ox++, px += x_step, pg += g_step) {
                all += *pg;
                a += *pg * px[0];
            }
        }
        const int64_t offset = (int64_t)all * conv->input_zero_point;
        total[0] += a - offset;
        total[1] += b - offset;
        total[2] += c - offset;
        total[3] += d - offset;
    }
}

void tk_conv2d_update_s16(const tk_conv2d_update *conv, const int16_t *gradient, const int8_t *x,
                          const tk_trainer *trainer)
{
    const tk_window *w = conv->window;
    const tk_update *update = conv->update;
    const uint32_t base = tk_noise_base(update->seed, trainer->step, update->tensor);
    const int32_t split = conv->split;
    int32_t index = 0;
    for (int32_t o = 0; o < conv->output_channels; o++) {
        const tk_rate rate = tk_update_rate(update, trainer, o);
        for (int32_t ky = 0; ky < w->kernel_height; ky++) {
            for (int32_t kx = 0; kx < w->kernel_width; kx++) {
                for (int32_t i = 0; i < split;) {
                    const int32_t n = split - i >= 4 ? 4 : 1;
                    int64_t total[4] = {0, 0, 0, 0};
                    weight_gradients(conv, gradient + o, x + i, ky, kx, n, total);
                    for (int32_t k = 0; k < n; k++, i++, index++) {
                        const int32_t acc = (int32_t)tk_shift_round(total[k], conv->fold_shift);
                        tk_weight_update(update, index,
                                         tk_delta(acc, rate, update->stochastic,
                                                  tk_noise(base, (uint32_t)index)));
                    }
                }
            }
        }
    }
}
