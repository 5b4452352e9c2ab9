/* RESIZE_BILINEAR, int8: four neighbours by shares of 1/1024 a side, rounded half away from zero;
 * and its gradient. */
#include "gradient.h"
#include "tinykit/kernels.h"

#define ONE 1024

void tk_resize_bilinear_s8(const tk_resize_bilinear *op, const int8_t *input, int8_t *output) {
    const uint32_t channels = op->channels, row = op->width * channels;
    for (uint32_t batch = 0; batch < op->batches; batch++) {
        for (uint32_t y = 0; y < op->output_height; y++) {
            const int8_t *top = input + op->top[y] * row, *bottom = input + op->bottom[y] * row;
            const int32_t down = op->down[y];
            for (uint32_t x = 0; x < op->output_width; x++) {
                const uint32_t left = op->left[x] * channels, right = op->right[x] * channels;
                const int32_t across = op->across[x];
                for (uint32_t c = 0; c < channels; c++) {
                    const int32_t above = top[left + c] * (ONE - across) + top[right + c] * across;
                    const int32_t below =
                        bottom[left + c] * (ONE - across) + bottom[right + c] * across;
                    const int32_t sum = above * (ONE - down) + below * down;
                    *output++ =
                        (int8_t)((sum + (sum > 0 ? ONE * ONE / 2 : -ONE * ONE / 2)) / (ONE * ONE));
                }
            }
        }
        input += op->height * row;
    }
}

/* The share of place `old` in one that was made of `first` and `second`. */
static int32_t share_of(uint32_t old, uint32_t first, uint32_t second, int32_t share) {
    return (old == first ? ONE - share : 0) + (old == second ? share : 0);
}

void tk_resize_bilinear_grad_s16(const tk_resize_bilinear_grad *grad, const int16_t *gradient,
                                 int16_t *result, tk_trainer *trainer) {
    const tk_resize_bilinear *op = grad->forward;
    const uint32_t channels = op->channels, row = op->output_width * channels;
    for (uint32_t batch = 0; batch < op->batches; batch++) {
        for (uint32_t i = 0; i < op->height * op->width * channels; i++) {
            const uint32_t h = i / (op->width * channels), w = i / channels % op->width;
            int64_t sum = 0;
            for (uint32_t y = 0; y < op->output_height; y++) {
                const int32_t down = share_of(h, op->top[y], op->bottom[y], op->down[y]);
                for (uint32_t x = 0; down && x < op->output_width; x++) {
                    const int32_t across = share_of(w, op->left[x], op->right[x], op->across[x]);
                    sum +=
                        (int64_t)(down * across) * gradient[y * row + x * channels + i % channels];
                }
            }
            *result++ = tk_to_gradient(sum, grad->shift, &trainer->saturations);
        }
        gradient += op->output_height * row;
    }
}
