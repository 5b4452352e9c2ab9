/* Input rows in ring buffers. */
#ifndef TINYKIT_ROWS_H
#define TINYKIT_ROWS_H

#include "tinykit/kernels.h"

/* Input row y, or NULL where it is padding. */
static inline const int8_t *tk_input_row(const tk_window *w, const int8_t *input, int32_t ring,
                                         int32_t channels, int32_t y)
{
    if (y < 0 || y >= w->input_height) {
        return NULL;
    }
    return input + (y % ring) * w->input_width * channels;
}

#endif
