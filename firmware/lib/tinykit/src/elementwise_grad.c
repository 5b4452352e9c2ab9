/* Gradients that go element by element. */
#include "gradient.h"

static int passes(const tk_activation_limits *limits, int8_t y) {
    return y > limits->low && y < limits->high;
}

void tk_activation_mask(const tk_activation_limits *limits, const int8_t *y, uint8_t *bits) {
    uint32_t i = 0;
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
    for (uint32_t i = 0; i < limits->size; i++) {
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
