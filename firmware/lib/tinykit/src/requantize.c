/* QUANTIZE between integers, RELU and RELU6, int8 and uint8. */
#include "requantize.h"
#include "tinykit/kernels.h"

typedef struct {
    int32_t multiplier, shift, zero_point;
    int one; /* the multiplier is exactly 1 */
    tk_output_range range;
} rescaling;

static rescaling rescaling_of(const tk_rescale *op) {
    return (rescaling){
        op->multiplier,
        op->shift,
        op->input_zero_point,
        op->multiplier == 1 << 30 && op->shift == 1,
        tk_range_of(op->activation_min, op->activation_max, op->output_zero_point),
    };
}

static inline int32_t rescale(const rescaling *r, int32_t x) {
    x -= r->zero_point;
    if (r->one) {
        return tk_clamp(x, r->range.low, r->range.high) + r->range.zero_point;
    }
    return tk_requantize(x, r->multiplier, r->shift, &r->range);
}

void tk_requantize_s8(const tk_rescale *op, const int8_t *input, int8_t *output) {
    const rescaling r = rescaling_of(op);
    for (uint32_t i = 0; i < op->size; i++) {
        output[i] = (int8_t)rescale(&r, input[i]);
    }
}

void tk_requantize_u8_s8(const tk_rescale *op, const uint8_t *input, int8_t *output) {
    const rescaling r = rescaling_of(op);
    for (uint32_t i = 0; i < op->size; i++) {
        output[i] = (int8_t)rescale(&r, input[i]);
    }
}

void tk_requantize_s8_u8(const tk_rescale *op, const int8_t *input, uint8_t *output) {
    const rescaling r = rescaling_of(op);
    for (uint32_t i = 0; i < op->size; i++) {
        output[i] = (uint8_t)rescale(&r, input[i]);
    }
}
