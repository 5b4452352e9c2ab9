/* ADD, SUB, MUL, SQUARED_DIFFERENCE, MINIMUM, MAXIMUM of int16x8, with broadcasting. */
#include "axes.h"
#include "tinykit/kernels.h"
#include "wide.h"

#define SUM_BITS 15 /* that ADD and SUB keep below the steps of the input of the larger scale */

/* One line of the output: n elements, from a and b with a step of 0, 1 or more. */
typedef struct {
    const int16_t *a, *b;
    int16_t *output;
    uint32_t n, step_a, step_b;
    tk_walk walk;
} lines;

static lines lines_of(const tk_binary16 *op, const int16_t *a, const int16_t *b, int16_t *output) {
    const int last = TK_AXES - 1;
    return (lines){a,         b, output, op->size[last], op->stride_a[last], op->stride_b[last],
                   {{0}, {0}}};
}

/* `a` and `b` are where the tensors begin. */
static int lines_next(lines *line, const tk_binary16 *op, const int16_t *a, const int16_t *b) {
    const uint32_t *const stride[2] = {op->stride_a, op->stride_b};
    if (!tk_walk_next(&line->walk, op->size, stride, 2)) {
        return 0;
    }
    line->a = a + line->walk.offset[0];
    line->b = b + line->walk.offset[1];
    line->output += line->n;
    return 1;
}

static int16_t rescaled(const tk_binary16 *op, int32_t x) {
    return tk_saturate16(tk_multiply(x, op->output_multiplier, op->output_shift),
                         op->activation_min, op->activation_max);
}

/* a + b for sign 1, a - b for sign -1. */
static void add_signed(const tk_binary16 *op, const int16_t *a, const int16_t *b, int16_t *output,
                       int32_t sign) {
    lines line = lines_of(op, a, b, output);
    do {
        for (uint32_t i = 0; i < line.n; i++) {
            const int32_t x = line.a[i * line.step_a] * (1 << SUM_BITS);
            const int32_t y = line.b[i * line.step_b] * (1 << SUM_BITS);
            line.output[i] = rescaled(op, tk_multiply(x, op->multiplier_a, op->shift_a) +
                                              sign * tk_multiply(y, op->multiplier_b, op->shift_b));
        }
    } while (lines_next(&line, op, a, b));
}

void tk_add_s16(const tk_binary16 *op, const int16_t *a, const int16_t *b, int16_t *output) {
    add_signed(op, a, b, output, 1);
}

void tk_sub_s16(const tk_binary16 *op, const int16_t *a, const int16_t *b, int16_t *output) {
    add_signed(op, a, b, output, -1);
}

void tk_mul_s16(const tk_binary16 *op, const int16_t *a, const int16_t *b, int16_t *output) {
    lines line = lines_of(op, a, b, output);
    do {
        for (uint32_t i = 0; i < line.n; i++) {
            line.output[i] = rescaled(op, line.a[i * line.step_a] * line.b[i * line.step_b]);
        }
    } while (lines_next(&line, op, a, b));
}

void tk_squared_difference_s16(const tk_binary16 *op, const int16_t *a, const int16_t *b,
                               int16_t *output) {
    lines line = lines_of(op, a, b, output);
    do {
        for (uint32_t i = 0; i < line.n; i++) {
            const int32_t x = tk_multiply(line.a[i * line.step_a], op->multiplier_a, op->shift_a) -
                              tk_multiply(line.b[i * line.step_b], op->multiplier_b, op->shift_b);
            line.output[i] = rescaled(op, x * x);
        }
    } while (lines_next(&line, op, a, b));
}

void tk_minimum_s16(const tk_binary16 *op, const int16_t *a, const int16_t *b, int16_t *output) {
    lines line = lines_of(op, a, b, output);
    do {
        for (uint32_t i = 0; i < line.n; i++) {
            line.output[i] = (int16_t)tk_min(line.a[i * line.step_a], line.b[i * line.step_b]);
        }
    } while (lines_next(&line, op, a, b));
}

void tk_maximum_s16(const tk_binary16 *op, const int16_t *a, const int16_t *b, int16_t *output) {
    lines line = lines_of(op, a, b, output);
    do {
        for (uint32_t i = 0; i < line.n; i++) {
            line.output[i] = (int16_t)tk_max(line.a[i * line.step_a], line.b[i * line.step_b]);
        }
    } while (lines_next(&line, op, a, b));
}
