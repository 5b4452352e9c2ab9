/* Which outputs and inputs of a sliding window see each other, along one axis. */
#ifndef TINYKIT_TAPS_H
#define TINYKIT_TAPS_H

#include <stdint.h>

/* A half-open range [first, last). */
typedef struct {
    int32_t first, last;
} tk_range;

/* One axis of a tk_window. */
typedef struct {
    int32_t input, output, kernel, stride, dilation, pad;
} tk_axis;

#define TK_ROWS(w)                                                                            \
    ((tk_axis){(w)->input_height, (w)->output_height, (w)->kernel_height, (w)->stride_height, \
               (w)->dilation_height, (w)->pad_top})
#define TK_COLUMNS(w)                                                                     \
    ((tk_axis){(w)->input_width, (w)->output_width, (w)->kernel_width, (w)->stride_width, \
               (w)->dilation_width, (w)->pad_left})

/* The output that sees input `position` through kernel tap `tap`, or -1. */
static inline int32_t tk_output_of(const tk_axis *axis, int32_t position, int32_t tap) {
    const int32_t shifted = position + axis->pad - tap * axis->dilation;
    if (shifted < 0) {
        return -1;
    }
    if (axis->stride == 1) {
        return shifted < axis->output ? shifted : -1;
    }
    const int32_t output = shifted / axis->stride;
    return output * axis->stride == shifted && output < axis->output ? output : -1;
}

/* The taps of output `output` that lie inside the input. */
static inline tk_range tk_taps_inside(const tk_axis *axis, int32_t output) {
    const int32_t start = output * axis->stride - axis->pad;
    tk_range range = {0, axis->kernel};
    while (range.first < range.last && start + range.first * axis->dilation < 0) {
        range.first++;
    }
    while (range.last > range.first && start + (range.last - 1) * axis->dilation >= axis->input) {
        range.last--;
    }
    return range;
}

/* The outputs whose tap `tap` lies inside the input. */
static inline tk_range tk_outputs_inside(const tk_axis *axis, int32_t tap) {
    tk_range range = {0, axis->output};
    const int32_t start = tap * axis->dilation - axis->pad;
    while (range.first < range.last && start + range.first * axis->stride < 0) {
        range.first++;
    }
    while (range.last > range.first && start + (range.last - 1) * axis->stride >= axis->input) {
        range.last--;
    }
    return range;
}

#endif
