/* AVERAGE_POOL_2D and MAX_POOL_2D, int8. */
#include "fixed_point.h"
#include "fold.h"
#include "rows.h"
#include "tinykit/kernels.h"

/* |x| / count, rounded to nearest, halves away from zero; of a sum of `count` int8 values. */
#if defined(__thumb__) && !defined(__thumb2__)
/* Without an instruction for it: multiplication by floor(2^32 / count) + 1 is exact for every such
 * sum (129 * count^2 < 2^32). */
typedef struct {
    int32_t count;
    uint32_t reciprocal; /* 0: divide */
} divisor;

static divisor divisor_of(int32_t count) {
    const int exact = count >= 2 && count <= 5768;
    return (divisor){count, exact ? UINT32_MAX / (uint32_t)count + 1 : 0};
}

/* n / count, below 256: not by the library's division, which takes as many steps as n has bits; the
 * time of an inference shall not depend on its input. */
static uint32_t divide_by_bits(uint32_t n, uint32_t count) {
    uint32_t q = 0;
    for (int bit = 7; bit >= 0; bit--) {
        const uint32_t fits = (n >> bit) >= count;
        n -= (count << bit) & (0u - fits);
        q |= fits << bit;
    }
    return q;
}

static uint32_t quotient(const divisor *d, uint32_t n) {
    return d->reciprocal != 0 ? (uint32_t)(((uint64_t)n * d->reciprocal) >> 32)
                              : divide_by_bits(n, (uint32_t)d->count);
}
#else
typedef struct {
    int32_t count;
} divisor;

static divisor divisor_of(int32_t count) {
    return (divisor){count};
}

static uint32_t quotient(const divisor *d, uint32_t n) {
    return n / (uint32_t)d->count;
}
#endif

static int32_t divide(const divisor *d, int32_t x) {
    const uint32_t q = quotient(d, (uint32_t)(x < 0 ? -x : x) + (uint32_t)d->count / 2);
    return x < 0 ? -(int32_t)q : (int32_t)q;
}

static int32_t sum_window(const tk_pool *pool, const int8_t *input, const tk_view *view,
                          int32_t c) {
    tk_row_walk rows = view->rows;
    int32_t sum = 0;
    for (int32_t ky = view->ky.first; ky < view->ky.last; ky++) {
        const int8_t *x = input + rows.offset + view->column + c;
        for (int32_t kx = view->kx.first; kx < view->kx.last; kx++) {
            sum += *x;
            x += pool->channels;
        }
        tk_next_row(&rows);
    }
    return sum;
}

void tk_average_pool2d_row_s8(const tk_pool *pool, const int8_t *input, int32_t ring, int32_t oy,
                              int8_t *output) {
    const tk_window *w = pool->window;
    divisor by = divisor_of(0);
    tk_view view;
    tk_view_row(&view, w, ring, pool->channels, oy);
    for (int32_t ox = 0; ox < w->output_width; ox++) {
        tk_view_column(&view, w, pool->channels, ox);
        const int32_t count = (view.ky.last - view.ky.first) * (view.kx.last - view.kx.first);
        if (count != by.count) {
            by = divisor_of(count);
        }
        for (int32_t c = 0; c < pool->channels; c++) {
            const int32_t mean = divide(&by, sum_window(pool, input, &view, c));
            *output++ = (int8_t)tk_clamp(mean, pool->activation_min, pool->activation_max);
        }
    }
}

void tk_average_pool2d_s8(const tk_pool *pool, const int8_t *input, int8_t *output) {
    const tk_window *w = pool->window;
    for (int32_t oy = 0; oy < w->output_height; oy++) {
        tk_average_pool2d_row_s8(pool, input, w->input_height, oy, output);
        output += (int32_t)w->output_width * pool->channels;
    }
}

void tk_average_pool2d_fold_s8(const tk_pool *pool, const int8_t *row, int32_t y, int32_t *sums,
                               int8_t *output) {
    const tk_window *w = pool->window;
    tk_fold_row(sums, row, w->input_width, pool->channels, y == 0, 0);
    if (y + 1 == w->input_height) {
        const divisor by = divisor_of((int32_t)w->input_height * w->input_width);
        for (int32_t c = 0; c < pool->channels; c++) {
            const int32_t mean = divide(&by, sums[c]);
            output[c] = (int8_t)tk_clamp(mean, pool->activation_min, pool->activation_max);
        }
    }
}

void tk_max_pool2d_row_s8(const tk_pool *pool, const int8_t *input, int32_t ring, int32_t oy,
                          int8_t *output) {
    const tk_window *w = pool->window;
    const int32_t channels = pool->channels;
    tk_view view;
    tk_view_row(&view, w, ring, channels, oy);
    for (int32_t ox = 0; ox < w->output_width; ox++) {
        tk_view_column(&view, w, channels, ox);
        for (int32_t c = 0; c < channels; c++) {
            output[c] = pool->activation_min;
        }
        tk_row_walk rows = view.rows;
        for (int32_t ky = view.ky.first; ky < view.ky.last; ky++) {
            const int8_t *x = input + rows.offset + view.column;
            for (int32_t kx = view.kx.first; kx < view.kx.last; kx++) {
                for (int32_t c = 0; c < channels; c++) {
                    output[c] = x[c] > output[c] ? x[c] : output[c];
                }
                x += channels;
            }
            tk_next_row(&rows);
        }
        if (pool->activation_max < INT8_MAX) {
            for (int32_t c = 0; c < channels; c++) {
                output[c] = (int8_t)tk_min(output[c], pool->activation_max);
            }
        }
        output += channels;
    }
}

void tk_max_pool2d_s8(const tk_pool *pool, const int8_t *input, int8_t *output) {
    const tk_window *w = pool->window;
    for (int32_t oy = 0; oy < w->output_height; oy++) {
        tk_max_pool2d_row_s8(pool, input, w->input_height, oy, output);
        output += (int32_t)w->output_width * pool->channels;
    }
}
