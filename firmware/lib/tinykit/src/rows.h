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

static inline void tk_view_row(tk_view *view, const tk_window *w, int32_t ring, int32_t channels,
                               int32_t oy) {
    const tk_axis axis = TK_ROWS(w);
    const int32_t y = oy * w->stride_height - w->pad_top;
    view->ky = tk_taps_inside(&axis, oy);
    view->rows =
        tk_walk_rows(view->ky.first < view->ky.last ? y + view->ky.first * w->dilation_height : 0,
                     ring, w->dilation_height, w->input_width * channels);
}

static inline void tk_view_column(tk_view *view, const tk_window *w, int32_t channels, int32_t ox) {
    const tk_axis axis = TK_COLUMNS(w);
    const int32_t x = ox * w->stride_width - w->pad_left;
    view->kx = tk_taps_inside(&axis, ox);
    view->column =
        view->kx.first < view->kx.last ? (x + view->kx.first * w->dilation_width) * channels : 0;
}

#endif
