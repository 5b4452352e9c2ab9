/* BATCH_MATMUL, int8, and its gradient.
 *
 * Both are y[batch][row][column] = sum over two more axes of a * b, with strides in a and b for
 * each of the five axes. */
#include "fixed_point.h"
#include "gradient.h"
#include "requantize.h"
#include "tinykit/kernels.h"

enum { BATCH, ROW, COLUMN, OUTER, INNER };

void tk_batch_matmul_s8(const tk_batch_matmul *op, const int8_t *a, const int8_t *b,
                        int8_t *output) {
    const uint32_t *size = op->size, *step_a = op->stride_a, *step_b = op->stride_b;
    const tk_output_range range = tk_range_of(INT8_MIN, INT8_MAX, op->output_zero_point);
    for (uint32_t batch = 0; batch < size[BATCH]; batch++) {
        for (uint32_t row = 0; row < size[ROW]; row++) {
            const int8_t *first_a = a + batch * step_a[BATCH] + row * step_a[ROW];
            for (uint32_t column = 0; column < size[COLUMN]; column++) {
                const int8_t *x = first_a;
                const int8_t *w = b + batch * step_b[BATCH] + column * step_b[COLUMN];
                int32_t sum = 0;
                for (uint32_t i = 0; i < size[INNER]; i++) {
                    sum += (x[i * step_a[INNER]] - op->zero_point_a) *
                           (w[i * step_b[INNER]] - op->zero_point_b);
                }
                *output++ = (int8_t)tk_requantize(sum, op->multiplier, op->shift, &range);
            }
        }
    }
}

void tk_batch_matmul_grad_s16(const tk_batch_matmul_grad *op, const int16_t *gradient,
                              const int8_t *other, int16_t *result, tk_trainer *trainer) {
    const uint32_t *size = op->size, *step_a = op->stride_a, *step_b = op->stride_b;
    for (uint32_t batch = 0; batch < size[BATCH]; batch++) {
        for (uint32_t row = 0; row < size[ROW]; row++) {
            for (uint32_t column = 0; column < size[COLUMN]; column++) {
                const int16_t *a =
                    gradient + batch * step_a[BATCH] + row * step_a[ROW] + column * step_a[COLUMN];
                const int8_t *b =
                    other + batch * step_b[BATCH] + row * step_b[ROW] + column * step_b[COLUMN];
                int64_t sum = 0;
                for (uint32_t k = 0; k < size[OUTER]; k++) {
                    for (uint32_t i = 0; i < size[INNER]; i++) {
                        sum += a[i * step_a[INNER]] * (b[i * step_b[INNER]] - op->zero_point);
                    }
                    a += step_a[OUTER];
                    b += step_b[OUTER];
                }
                *result++ = tk_to_gradient(sum * op->multiplier, op->shift, &trainer->saturations);
            }
        }
    }
}
