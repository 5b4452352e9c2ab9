/* CONV_2D and FULLY_CONNECTED, int8. */
#include "mve.h"

#if !TK_MVE /* conv2d_mve.c */
#include "conv2d_rows.h"

void tk_conv2d_row_s8(const tk_conv2d *conv, const int8_t *input, int32_t ring, int32_t oy,
                      int8_t *output, int16_t *scratch) {
    conv2d_row(conv, input, ring, oy, output, scratch);
}

void tk_conv2d_s8(const tk_conv2d *conv, const int8_t *input, int8_t *output, int16_t *scratch) {
    const tk_window *w = conv->window;
    for (int32_t oy = 0; oy < w->output_height; oy++) {
        tk_conv2d_row_s8(conv, input, w->input_height, oy, output, scratch);
        output += (int32_t)w->output_width * conv->output_channels;
    }
}

#endif
