/* Input rows in ring buffers. */
#ifndef TINYKIT_ROWS_H
#define TINYKIT_ROWS_H

#include "taps.h"
#include "tinykit/kernels.h"

/* Walks down the rows that a window sees: `offset` is where the current one starts. */
typedef struct {
    int32_t offset, step, bytes;
} tk_row_walk;

/* Starts at input row y, which must exist; each step goes down by `dilation` rows. */
static inline tk_row_walk tk_walk_rows(int32_t y, int32_t ring, int32_t dilation,
                                       int32_t row_bytes) {
    const int32_t slot = y < ring ? y : y % ring;
    return (tk_row_walk){slot * row_bytes, dilation * row_bytes, ring * row_bytes};
}

static inline void tk_next_row(tk_row_walk *walk) {
    walk->offset += walk->step;
    if (walk->offset >= walk->bytes) {
        walk->offset -= walk->bytes;
    }
}

/* The part of a window that lies inside the input: [ky.first, ky.last) x [kx.first, kx.last). */
typedef struct {
    tk_range ky, kx;
    tk_row_walk rows; /* from row ky.first */
    int32_t column;   /* offset of the first pixel in a row */
} tk_view;

/* The rows that outputs of row oy see. */
void tk_view_row(tk_view *view, const tk_window *w, int32_t ring, int32_t channels, int32_t oy);

/* The columns that output ox of a row sees. */
void tk_view_column(tk_view *view, const tk_window *w, int32_t channels, int32_t ox);

/* Clamps n outputs to a layer's activation range, where that is not all of int8. */
void tk_clamp_outputs(int8_t *output, int32_t n, int32_t low, int32_t high);

#endif
