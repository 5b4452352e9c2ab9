/* MUL, SUB, DIV, MINIMUM, MAXIMUM, SQUARED_DIFFERENCE, PRELU, int8, with broadcasting. */
#include "axes.h"
#include "gemmlowp.h"
#include "requantize.h"
#include "tinykit/kernels.h"

/* One line of the output: n elements, from a and b with a step of 0, 1 or more. */
typedef struct {
    const int8_t *a, *b;
    int8_t *output;
    uint32_t n, step_a, step_b;
    tk_walk walk;
} lines;

static lines lines_of(const tk_binary *op, const int8_t *a, const int8_t *b, int8_t *output) {
    const int last = TK_AXES - 1;
    return (lines){a,         b, output, op->size[last], op->stride_a[last], op->stride_b[last],
                   {{0}, {0}}};
}

/* `a` and `b` are where the tensors begin. */
static int lines_next(lines *line, const tk_binary *op, const int8_t *a, const int8_t *b) {
    const uint32_t *const stride[2] = {op->stride_a, op->stride_b};
    if (!tk_walk_next(&line->walk, op->size, stride, 2)) {
        return 0;
    }
    line->a = a + line->walk.offset[0];
    line->b = b + line->walk.offset[1];
    line->output += line->n;
    return 1;
}

static tk_output_range range_of(const tk_binary *op) {
    return tk_range_of(op->activation_min, op->activation_max, op->output_zero_point);
}

void tk_mul_s8(const tk_binary *op, const int8_t *a, const int8_t *b, int8_t *output) {
    const tk_output_range range = range_of(op);
    lines line = lines_of(op, a, b, output);
    do {
        for (uint32_t i = 0; i < line.n; i++) {
            const int32_t x = line.a[i * line.step_a] - op->zero_point_a;
            const int32_t y = line.b[i * line.step_b] - op->zero_point_b;
            line.output[i] =
                (int8_t)tk_requantize(x * y, op->output_multiplier, op->output_shift, &range);
        }
    } while (lines_next(&line, op, a, b));
}

/* The difference with `bits` more bits than the input of the larger scale, halved. */
static inline int32_t difference(const tk_binary *op, int32_t a, int32_t b, int bits) {
    a = (a - op->zero_point_a) * (1 << bits);
    b = (b - op->zero_point_b) * (1 << bits);
    return tk_multiply(a, op->multiplier_a, op->shift_a) -
           tk_multiply(b, op->multiplier_b, op->shift_b);
}

void tk_sub_s8(const tk_binary *op, const int8_t *a, const int8_t *b, int8_t *output) {
    const tk_output_range range = range_of(op);
    lines line = lines_of(op, a, b, output);
    do {
        for (uint32_t i = 0; i < line.n; i++) {
            const int32_t x = difference(op, line.a[i * line.step_a], line.b[i * line.step_b], 20);
            line.output[i] =
                (int8_t)tk_requantize(x, op->output_multiplier, op->output_shift, &range);
        }
    } while (lines_next(&line, op, a, b));
}

void tk_squared_difference_s8(const tk_binary *op, const int8_t *a, const int8_t *b,
                              int8_t *output) {
    const tk_output_range range = range_of(op);
    lines line = lines_of(op, a, b, output);
    do {
        for (uint32_t i = 0; i < line.n; i++) {
            const int32_t x = difference(op, line.a[i * line.step_a], line.b[i * line.step_b], 7);
            line.output[i] =
                (int8_t)tk_requantize(x * x, op->output_multiplier, op->output_shift, &range);
        }
    } while (lines_next(&line, op, a, b));
}

void tk_minimum_s8(const tk_binary *op, const int8_t *a, const int8_t *b, int8_t *output) {
    lines line = lines_of(op, a, b, output);
    do {
        for (uint32_t i = 0; i < line.n; i++) {
            line.output[i] = (int8_t)tk_min(line.a[i * line.step_a], line.b[i * line.step_b]);
        }
    } while (lines_next(&line, op, a, b));
}

void tk_maximum_s8(const tk_binary *op, const int8_t *a, const int8_t *b, int8_t *output) {
    lines line = lines_of(op, a, b, output);
    do {
        for (uint32_t i = 0; i < line.n; i++) {
            line.output[i] = (int8_t)tk_max(line.a[i * line.step_a], line.b[i * line.step_b]);
        }
    } while (lines_next(&line, op, a, b));
}

void tk_prelu_s8(const tk_binary *op, const int8_t *a, const int8_t *b, int8_t *output) {
    const tk_output_range range = range_of(op);
    lines line = lines_of(op, a, b, output);
    do {
        for (uint32_t i = 0; i < line.n; i++) {
            const int32_t x = line.a[i * line.step_a] - op->zero_point_a;
            const int32_t alpha = line.b[i * line.step_b] - op->zero_point_b;
            line.output[i] =
                (int8_t)(x >= 0 ? tk_requantize(x, op->multiplier_a, op->shift_a, &range)
                                : tk_requantize(x * alpha, op->output_multiplier, op->output_shift,
                                                &range));
        }
    } while (lines_next(&line, op, a, b));
}

/* a / b without scales and zero points, times the multiplier; 0 divides as 1. */
static int32_t quotient(const tk_binary *op, int32_t a, int32_t b) {
    if (b < 0) {
        a = -a;
        b = -b;
    }
    if (a == 0) {
        return 0;
    }
    b = tk_max(b, 1);
    const int zeros = tk_leading_zeros((uint32_t)b);
    const int headroom = tk_leading_zeros((uint32_t)(a < 0 ? -2 * a - 1 : 2 * a));
    const int32_t inverse =
        tk_one_over_one_plus((int32_t)(((uint32_t)b << zeros) - 0x80000000u)); /* of b * 2^zeros */
    const int32_t product = tk_high_multiply((int32_t)((uint32_t)a << headroom), inverse);
    const int right = headroom + (31 - zeros) - op->output_shift;
    if (right > 31) {
        return 0;
    }
    return tk_rounding_shift_right(tk_high_multiply(product, op->output_multiplier), right);
}

void tk_div_s8(const tk_binary *op, const int8_t *a, const int8_t *b, int8_t *output) {
    const tk_output_range range = range_of(op);
    lines line = lines_of(op, a, b, output);
    do {
        for (uint32_t i = 0; i < line.n; i++) {
            const int32_t x = line.a[i * line.step_a] - op->zero_point_a;
            const int32_t y = line.b[i * line.step_b] - op->zero_point_b;
            line.output[i] =
                (int8_t)(tk_clamp(quotient(op, x, y), range.low, range.high) + range.zero_point);
        }
    } while (lines_next(&line, op, a, b));
}
