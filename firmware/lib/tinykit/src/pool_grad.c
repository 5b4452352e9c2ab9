/* Gradients of pools. */
#include "gradient.h"
#include "taps.h"

#define RECIPROCAL_BITS 24

/* round(2^24 / number of real pixels) of the window at (oy, ox). */
static int32_t reciprocal(const tk_axis *rows, const tk_axis *columns, int32_t oy, int32_t ox) {
    const tk_range ys = tk_taps_inside(rows, oy), xs = tk_taps_inside(columns, ox);
    const int32_t count = (ys.last - ys.first) * (xs.last - xs.first);
    return ((1 << (RECIPROCAL_BITS + 1)) / count + 1) / 2;
}

/* The outputs that may see input `position`, through any tap. */
static tk_range outputs_above(const tk_axis *axis, int32_t position) {
    const int32_t reach = (axis->kernel - 1) * axis->dilation;
    const int32_t low = position + axis->pad - reach;
    tk_range range = {low > 0 ? (low + axis->stride - 1) / axis->stride : 0,
                      (position + axis->pad) / axis->stride + 1};
    range.last = range.last < axis->output ? range.last : axis->output;
    return range;
}

/* Whether output `output` sees input `position`: with dilation some between do not. */
static int sees(const tk_axis *axis, int32_t output, int32_t position) {
    return (position + axis->pad - output * axis->stride) % axis->dilation == 0;
}

/* One input pixel: gradient[c] / count summed over the windows that see it. */
static void average_pixel(const tk_pool_grad *pool, const int16_t *gradient, int32_t y, int32_t x,
                          int16_t *result, uint32_t *saturations) {
    const tk_axis rows = TK_ROWS(pool->window), columns = TK_COLUMNS(pool->window);
    const tk_range ys = outputs_above(&rows, y), xs = outputs_above(&columns, x);
    const int32_t channels = pool->channels;
    if (ys.last - ys.first == 1 && xs.last - xs.first == 1 && sees(&rows, ys.first, y) &&
        sees(&columns, xs.first, x)) {
        const int32_t scale = reciprocal(&rows, &columns, ys.first, xs.first);
        const int16_t *g = gradient + (ys.first * columns.output + xs.first) * channels;
        for (int32_t c = 0; c < channels; c++) {
            result[c] = tk_to_gradient((int64_t)g[c] * scale, pool->shift, saturations);
        }
        return;
    }
    for (int32_t c = 0; c < channels; c++) {
        int64_t acc = 0;
        for (int32_t oy = ys.first; oy < ys.last; oy++) {
            for (int32_t ox = xs.first; sees(&rows, oy, y) && ox < xs.last; ox++) {
                if (sees(&columns, ox, x)) {
                    acc += (int64_t)gradient[(oy * columns.output + ox) * channels + c] *
                           reciprocal(&rows, &columns, oy, ox);
                }
            }
        }
        result[c] = tk_to_gradient(acc, pool->shift, saturations);
    }
}

void tk_average_pool_grad_s16(const tk_pool_grad *pool, const int16_t *gradient, int16_t *result,
                              tk_trainer *trainer) {
    const tk_window *w = pool->window;
    for (int32_t y = 0; y < w->input_height; y++) {
        for (int32_t x = 0; x < w->input_width; x++) {
            average_pixel(pool, gradient, y, x, result, &trainer->saturations);
            result += pool->channels;
        }
    }
}

/* Adds channel c's gradients into sums [H][W]: each to the first largest pixel of its window. */
static void scatter_channel(const tk_pool_grad *pool, const int16_t *gradient, const int8_t *x,
                            int32_t c, int32_t *sums) {
    const tk_axis rows = TK_ROWS(pool->window), columns = TK_COLUMNS(pool->window);
    for (int32_t oy = 0; oy < rows.output; oy++) {
        const tk_range ys = tk_taps_inside(&rows, oy);
        for (int32_t ox = 0; ox < columns.output; ox++) {
            const tk_range xs = tk_taps_inside(&columns, ox);
            int32_t winner = -1;
            int32_t largest = INT32_MIN;
            for (int32_t ky = ys.first; ky < ys.last; ky++) {
                const int32_t y = oy * rows.stride - rows.pad + ky * rows.dilation;
                for (int32_t kx = xs.first; kx < xs.last; kx++) {
                    const int32_t at = y * columns.input + ox * columns.stride - columns.pad +
                                       kx * columns.dilation;
                    if (x[at * pool->channels + c] > largest) {
                        largest = x[at * pool->channels + c];
                        winner = at;
                    }
                }
            }
            if (winner >= 0) {
                sums[winner] += gradient[(oy * columns.output + ox) * pool->channels + c];
            }
        }
    }
}

void tk_max_pool_grad_s16(const tk_pool_grad *pool, const int16_t *gradient, const int8_t *x,
                          int16_t *result, int32_t *scratch, tk_trainer *trainer) {
    const int32_t size = (int32_t)pool->window->input_height * pool->window->input_width;
    for (int32_t c = 0; c < pool->channels; c++) {
        for (int32_t i = 0; i < size; i++) {
            scratch[i] = 0;
        }
        scatter_channel(pool, gradient, x, c, scratch);
        for (int32_t i = 0; i < size; i++) {
            result[i * pool->channels + c] =
                tk_to_gradient(scratch[i], pool->shift, &trainer->saturations);
        }
    }
}
