/* MEAN, int8. */
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
