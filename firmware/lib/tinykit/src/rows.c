/* What kernels that go by rows have in common. */
#include "rows.h"

#include "fixed_point.h"

void tk_view_row(tk_view *view, const tk_window *w, int32_t ring, int32_t channels, int32_t oy) {
    const tk_axis axis = TK_ROWS(w);
    const int32_t y = oy * w->stride_height - w->pad_top;
    view->ky = tk_taps_inside(&axis, oy);
    view->rows =
        tk_walk_rows(view->ky.first < view->ky.last ? y + view->ky.first * w->dilation_height : 0,
                     ring, w->dilation_height, w->input_width * channels);
}

void tk_view_column(tk_view *view, const tk_window *w, int32_t channels, int32_t ox) {
    const tk_axis axis = TK_COLUMNS(w);
    const int32_t x = ox * w->stride_width - w->pad_left;
    view->kx = tk_taps_inside(&axis, ox);
    view->column =
        view->kx.first < view->kx.last ? (x + view->kx.first * w->dilation_width) * channels : 0;
}

void tk_clamp_outputs(int8_t *output, int32_t n, int32_t low, int32_t high) {
    if (low > INT8_MIN || high < INT8_MAX) {
        for (int32_t i = 0; i < n; i++) {
            output[i] = (int8_t)tk_clamp(output[i], low, high);
        }
    }
}
