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

/* How a layer's accumulators become its outputs. */
typedef struct {
    const int32_t *bias; /* NULL: none */
    const int32_t *multiplier;
    const int8_t *shift;
    int32_t per_channel; /* 0: one multiplier serves all channels */
    tk_output_range range;
} tk_output;

/* Channels o … o + n - 1 of one pixel: y[o + k] from acc[k]. */
void tk_finish(const tk_output *output, int32_t o, int32_t n, const int32_t *acc, int8_t *y);

/* Channels that are finished at once. */
#define TK_FINISH 16

#endif
