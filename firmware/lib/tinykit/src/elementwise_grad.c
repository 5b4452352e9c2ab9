/* Gradients that go element by element. */
#include "axes.h"
#include "fixed_point.h"
#include "gradient.h"
#include "simd.h"

static int passes(const tk_activation_limits *limits, int8_t y) {
    return y > limits->low && y < limits->high;
}

void tk_activation_mask(const tk_activation_limits *limits, const int8_t *y, uint8_t *bits) {
    uint32_t i = 0;
#if TK_DSP
    const int32_t least = tk_max(limits->low + 1, INT8_MIN);
    const int32_t most = tk_min(limits->high - 1, INT8_MAX);
    if (least <= most) {
        const uint32_t low = (uint32_t)(least & 0xFF) * 0x01010101u;
        const uint32_t range = (uint32_t)(most - least) * 0x01010101u;
        for (; i + 8 <= limits->size; i += 8) {
            const uint32_t first = tk_bytes_within(tk_load(y + i), low, range);
            const uint32_t second = tk_bytes_within(tk_load(y + i + 4), low, range);
            *bits++ = (uint8_t)(first | second << 4);
        }
    }
#endif
    while (i < limits->size) {
        uint32_t byte = 0;
        for (uint32_t bit = 0; bit < 8 && i < limits->size; bit++, i++) {
            byte |= (passes(limits, y[i]) ? 1u : 0u) << bit;
        }
        *bits++ = (uint8_t)byte;
    }
}

void tk_activation_grad(const tk_activation_limits *limits, const int16_t *gradient,
                        const int8_t *y, int16_t *result) {
    for (uint32_t i = 0; i < limits->size; i++) {
        result[i] = passes(limits, y[i]) ? gradient[i] : 0;
    }
}

void tk_activation_grad_bits(const tk_activation_limits *limits, const int16_t *gradient,
                             const uint8_t *bits, int16_t *result) {
    uint32_t i = 0;
#if TK_DSP
    for (; i + 8 <= limits->size; i += 8) {
        const uint32_t eight = bits[i / 8];
        for (uint32_t k = 0; k < 8; k += 2) {
            const uint32_t mask = tk_pack_low(0u - (eight >> k & 1u), 0u - (eight >> (k + 1) & 1u));
            tk_store(result + i + k, tk_load(gradient + i + k) & mask);
        }
    }
#endif
    for (; i < limits->size; i++) {
        result[i] = (bits[i / 8] >> (i % 8)) & 1 ? gradient[i] : 0;
    }
}

void tk_gradient_add_s16(const tk_gradient_add *add, const int16_t *a, const int16_t *b,
                         int16_t *result, tk_trainer *trainer) {
    const int64_t scale_a = (int64_t)1 << add->shift_a;
    const int64_t scale_b = (int64_t)1 << add->shift_b;
    for (uint32_t i = 0; i < add->size; i++) {
        const int64_t sum = a[i] * scale_a + b[i] * scale_b;
        result[i] = tk_to_gradient(sum, add->shift, &trainer->saturations);
    }
}

void tk_lookup_grad_s16(const tk_lookup_grad *lookup, const int16_t *gradient, const int8_t *x,
                        int16_t *result, tk_trainer *trainer) {
    const int16_t *middle = lookup->table + 128; /* the derivative at code 0 */
    for (uint32_t i = 0; i < lookup->size; i++) {
        const int32_t product = gradient[i] * middle[x[i]];
        result[i] = tk_to_gradient(product, lookup->shift, &trainer->saturations);
    }
}

static inline int32_t linear_factor(const tk_linear_grad *op, int32_t a, int32_t b) {
    const int chosen[5] = {1, a<b, a <= b, a> b, a >= b};
    if (!chosen[op->condition]) {
        return 0;
    }
    return op->constant + op->scale_a * (a - op->zero_point_a) +
           op->scale_b * (b - op->zero_point_b);
}

/* The sum over the last five axes of `size` and `strides`. */
static int64_t linear_sum(const tk_linear_grad *op, const int16_t *gradient, const int8_t *a,
                          const int8_t *b) {
    const uint32_t *const stride[3] = {op->stride + TK_AXES, op->stride_a + TK_AXES,
                                       op->stride_b + TK_AXES};
    const int last = TK_AXES - 1;
    tk_walk walk = {{0}, {0}};
    int64_t sum = 0;
    do {
        uint32_t g = walk.offset[0], i = walk.offset[1], j = walk.offset[2];
        for (uint32_t n = op->size[TK_AXES + last]; n > 0; n--) {
            const int32_t x = op->factors > 0 ? a[i] : op->zero_point_a;
            const int32_t y = op->factors > 1 ? b[j] : op->zero_point_b;
            sum += (int64_t)gradient[g] * linear_factor(op, x, y);
            g += stride[0][last];
            i += stride[1][last];
            j += stride[2][last];
        }
    } while (tk_walk_next(&walk, op->size + TK_AXES, stride, 3));
    return sum;
}

void tk_linear_grad_s16(const tk_linear_grad *op, const int16_t *gradient, const int8_t *a,
                        const int8_t *b, int16_t *result, tk_trainer *trainer) {
    const uint32_t *const stride[3] = {op->stride, op->stride_a, op->stride_b};
    const int last = TK_AXES - 1;
    tk_walk walk = {{0}, {0}};
    do {
        uint32_t g = walk.offset[0], i = walk.offset[1], j = walk.offset[2];
        for (uint32_t n = op->size[last]; n > 0; n--) {
            const int64_t sum = linear_sum(op, gradient + g, a + i, b + j);
            *result++ = tk_to_gradient(sum, op->shift, &trainer->saturations);
            g += stride[0][last];
            i += stride[1][last];
            j += stride[2][last];
        }
    } while (tk_walk_next(&walk, op->size, stride, 3));
}

void tk_pad_grad_s16(const tk_pad_grad *pad, const int16_t *gradient, int16_t *result) {
    const uint32_t row = (uint32_t)pad->width * pad->channels;
    for (uint32_t y = pad->top; y + pad->bottom < pad->height; y++) {
        for (uint32_t x = pad->left; x + pad->right < pad->width; x++) {
            const int16_t *pixel = gradient + y * row + x * pad->channels;
            for (uint32_t c = pad->front; c + pad->back < pad->channels; c++) {
                *result++ = pixel[c];
            }
        }
    }
}
