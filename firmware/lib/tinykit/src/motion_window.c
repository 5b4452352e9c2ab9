/* Rows of sensor samples, normalised as they come, in windows that overlap. */
#include "tinykit/motion.h"

#include <string.h>

void tk_motion_normalize(const tk_motion_window *w, const int16_t *x, int8_t *y) {
    for (uint32_t a = 0; a < w->axes; a++) {
        const int64_t scaled = (int64_t)(x[a] - w->mean[a]) * w->multiplier[a];
        const int64_t rounded = (scaled + (INT64_C(1) << (w->shift[a] - 1))) >> w->shift[a];
        const int64_t value = rounded + w->zero_point;
        y[a] = (int8_t)(value > 127 ? 127 : value < -128 ? -128 : value);
    }
}

void tk_motion_reset(const tk_motion_window *w) {
    *w->filled = 0;
}

uint32_t tk_motion_push(const tk_motion_window *w, const int16_t *x, int8_t *y) {
    tk_motion_normalize(w, x, w->rows + *w->filled * w->axes);
    *w->filled += 1;
    if (*w->filled < w->length) {
        return 0;
    }
    memcpy(y, w->rows, w->length * w->axes);
    *w->filled = w->length - w->hop;
    memmove(w->rows, w->rows + w->hop * w->axes, *w->filled * w->axes);
    return 1;
}
