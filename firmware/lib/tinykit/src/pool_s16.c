/* AVERAGE_POOL_2D, MAX_POOL_2D and MEAN of int16x8. */
#include "rows.h"
#include "wide.h"

/* sum / count, rounded to nearest, halves away from zero. */
static int32_t mean_of(int32_t sum, int32_t count) {
    return (sum + (sum > 0 ? count / 2 : -(count / 2))) / count;
}

static int32_t sum_window(const tk_pool16 *pool, const int16_t *input, const tk_view *view,
                          int32_t c) {
    tk_row_walk rows = view->rows;
    int32_t sum = 0;
    for (int32_t ky = view->ky.first; ky < view->ky.last; ky++) {
        const int16_t *x = input + rows.offset + view->column + c;
        for (int32_t kx = view->kx.first; kx < view->kx.last; kx++) {
            sum += *x;
            x += pool->channels;
        }
        tk_next_row(&rows);
    }
    return sum;
}

void tk_average_pool2d_row_s16(const tk_pool16 *pool, const int16_t *input, int32_t ring,
                               int32_t oy, int16_t *output) {
    tk_view view;
    tk_view_row(&view, pool->window, ring, pool->channels, oy);
    for (int32_t ox = 0; ox < pool->window->output_width; ox++) {
        tk_view_column(&view, pool->window, pool->channels, ox);
        const int32_t count = (view.ky.last - view.ky.first) * (view.kx.last - view.kx.first);
        for (int32_t c = 0; c < pool->channels; c++) {
            const int32_t mean = mean_of(sum_window(pool, input, &view, c), count);
            *output++ = tk_saturate16(mean, pool->activation_min, pool->activation_max);
        }
    }
}

void tk_average_pool2d_s16(const tk_pool16 *pool, const int16_t *input, int16_t *output) {
    const tk_window *w = pool->window;
    for (int32_t oy = 0; oy < w->output_height; oy++) {
        tk_average_pool2d_row_s16(pool, input, w->input_height, oy, output);
        output += (int32_t)w->output_width * pool->channels;
    }
}

static int32_t largest(const tk_pool16 *pool, const int16_t *input, const tk_view *view,
                       int32_t c) {
    tk_row_walk rows = view->rows;
    int32_t result = INT16_MIN;
    for (int32_t ky = view->ky.first; ky < view->ky.last; ky++) {
        const int16_t *x = input + rows.offset + view->column + c;
        for (int32_t kx = view->kx.first; kx < view->kx.last; kx++) {
            result = tk_max(result, *x);
            x += pool->channels;
        }
        tk_next_row(&rows);
    }
    return result;
}

void tk_max_pool2d_row_s16(const tk_pool16 *pool, const int16_t *input, int32_t ring, int32_t oy,
                           int16_t *output) {
    tk_view view;
    tk_view_row(&view, pool->window, ring, pool->channels, oy);
    for (int32_t ox = 0; ox < pool->window->output_width; ox++) {
        tk_view_column(&view, pool->window, pool->channels, ox);
        for (int32_t c = 0; c < pool->channels; c++) {
            *output++ = tk_saturate16(largest(pool, input, &view, c), pool->activation_min,
                                      pool->activation_max);
        }
    }
}

void tk_max_pool2d_s16(const tk_pool16 *pool, const int16_t *input, int16_t *output) {
    const tk_window *w = pool->window;
    for (int32_t oy = 0; oy < w->output_height; oy++) {
        tk_max_pool2d_row_s16(pool, input, w->input_height, oy, output);
        output += (int32_t)w->output_width * pool->channels;
    }
}

void tk_mean_s16(const tk_mean *mean, const int16_t *input, int16_t *output) {
    for (uint32_t outer = 0; outer < mean->outer; outer++) {
        for (uint32_t inner = 0; inner < mean->inner; inner++) {
            const int16_t *x = input + inner;
            int32_t sum = 0;
            for (uint32_t i = 0; i < mean->reduced; i++) {
                sum += *x;
                x += mean->inner;
            }
            *output++ = tk_saturate16(tk_multiply(sum, mean->multiplier, mean->shift), INT16_MIN,
                                      INT16_MAX);
        }
        input += mean->reduced * mean->inner;
    }
}
