/* CONV_2D and FULLY_CONNECTED, int8, of TK_SUMS_ANY: multipliers that shift left. */
#include "mve.h"
#include "simd.h"

#if TK_DSP && !TK_MVE
#define TK_BLOCK_PLAIN 1 /* conv_block.S leaves these out */
#include "conv2d_rows.h"

void tk_conv2d_any_row_s8(const tk_conv2d *conv, const int8_t *input, int32_t ring, int32_t oy,
                          int8_t *output, int16_t *scratch) {
    conv2d_row(conv, input, ring, oy, output, scratch);
}

#else
#include "tinykit/kernels.h"

void tk_conv2d_any_row_s8(const tk_conv2d *conv, const int8_t *input, int32_t ring, int32_t oy,
                          int8_t *output, int16_t *scratch) {
    tk_conv2d_row_s8(conv, input, ring, oy, output, scratch);
}

#endif

void tk_conv2d_any_s8(const tk_conv2d *conv, const int8_t *input, int8_t *output,
                      int16_t *scratch) {
    const tk_window *w = conv->window;
    for (int32_t oy = 0; oy < w->output_height; oy++) {
        tk_conv2d_any_row_s8(conv, input, w->input_height, oy, output, scratch);
        output += (int32_t)w->output_width * conv->output_channels;
    }
}
