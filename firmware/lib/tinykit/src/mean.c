/* MEAN, SUM, REDUCE_MAX, int8. */
#include "fold.h"
#include "requantize.h"
#include "tinykit/kernels.h"

void tk_mean_s8(const tk_mean *mean, const int8_t *input, int8_t *output) {
    const tk_output_range range = tk_range_of(INT8_MIN, INT8_MAX, mean->output_zero_point);
    const int32_t zero = (int32_t)mean->reduced * mean->input_zero_point;
    for (uint32_t outer = 0; outer < mean->outer; outer++) {
        for (uint32_t inner = 0; inner < mean->inner; inner++) {
            const int8_t *x = input + inner;
            int32_t sum = -zero;
            for (uint32_t i = 0; i < mean->reduced; i++) {
                sum += *x;
                x += mean->inner;
            }
            *output++ = (int8_t)tk_requantize(sum, mean->multiplier, mean->shift, &range);
        }
        input += mean->reduced * mean->inner;
    }
}

void tk_mean_fold_s8(const tk_mean *mean, const int8_t *row, int32_t y, int32_t width,
                     int32_t *sums, int8_t *output) {
    const int32_t channels = (int32_t)mean->inner;
    const int32_t pixels = (int32_t)mean->reduced;
    tk_fold_row(sums, row, width, channels, y == 0, -pixels * mean->input_zero_point);
    if ((y + 1) * width == pixels) {
        const tk_output_range range = tk_range_of(INT8_MIN, INT8_MAX, mean->output_zero_point);
        for (int32_t c = 0; c < channels; c++) {
            output[c] = (int8_t)tk_requantize(sums[c], mean->multiplier, mean->shift, &range);
        }
    }
}

void tk_reduce_max_s8(const tk_reduce_max *op, const int8_t *input, int8_t *output) {
    for (uint32_t outer = 0; outer < op->outer; outer++) {
        for (uint32_t inner = 0; inner < op->inner; inner++) {
            const int8_t *x = input + inner;
            int32_t largest = INT8_MIN;
            for (uint32_t i = 0; i < op->reduced; i++) {
                largest = tk_max(largest, *x);
                x += op->inner;
            }
            *output++ = (int8_t)largest;
        }
        input += op->reduced * op->inner;
    }
}
