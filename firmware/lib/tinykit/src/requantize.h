/* From an int32 accumulator to an int8 output. */
#ifndef TINYKIT_REQUANTIZE_H
#define TINYKIT_REQUANTIZE_H

#include <stddef.h>

#include "fixed_point.h"

/* The clamp is moved in front of the zero point, so that nothing can overflow. */
typedef struct {
    int32_t low, high, zero_point;
} tk_output_range;

static inline tk_output_range tk_range_of(int32_t min, int32_t max, int32_t zero_point) {
    return (tk_output_range){min - zero_point, max - zero_point, zero_point};
}

static inline int32_t tk_requantize(int32_t acc, int32_t multiplier, int shift,
                                    const tk_output_range *range) {
    return tk_clamp(tk_multiply(acc, multiplier, shift), range->low, range->high) +
           range->zero_point;
}

/* acc + bias, wrapping as TFLM does: converters saturate the biases of dead channels. */
static inline int32_t tk_add_bias(int32_t acc, const int32_t *bias, int32_t channel) {
    return bias != NULL ? (int32_t)((uint32_t)acc + (uint32_t)bias[channel]) : acc;
}

#endif
