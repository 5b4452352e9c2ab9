/* Kernels and their descriptors.  Generated code holds the descriptors in flash.
 *
 * Shapes: H, W = height, width; C = input channels; O = output channels; K = split.
 * Tensors are NHWC with batch 1.  Python reads the structs of this file to lay out descriptors:
 * keep to plain scalar members and pointers. */
#ifndef TINYKIT_KERNELS_H
#define TINYKIT_KERNELS_H

#include "tinykit/tinykit.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The geometry of a convolution or a pool. */
typedef struct {
    uint16_t input_height, input_width;
    uint16_t output_height, output_width;
    uint16_t kernel_height, kernel_width;
    uint16_t stride_height, stride_width;
    uint16_t dilation_height, dilation_width;
    uint16_t pad_top, pad_left;
} tk_window;

/* CONV_2D, and FULLY_CONNECTED as a 1x1 convolution.
 * The first K input channels have their weights in `weights`, the others in `weights_rest`. */
typedef struct {
    const tk_window *window;
    const int8_t *weights;      /* [O][KH][KW][K] */
    const int8_t *weights_rest; /* [O][KH][KW][C - K]; NULL when K = C */
    const int32_t *bias;        /* [O] or NULL */
    const int32_t *multiplier;  /* [O], or [1] unless per_channel */
    const int8_t *shift;        /* likewise */
    uint16_t input_channels, split, output_channels;
    int16_t input_zero_point, output_zero_point;
    int8_t activation_min, activation_max;
    uint8_t per_channel;
} tk_conv2d;

/* Spatial kernels make row `oy` of their output from a ring buffer of input rows: input row y lies
 * at input + (y % ring) * W * C.  A whole tensor is a ring of H rows.  The second form of each
 * kernel makes all rows from a whole tensor.  scratch: 2 * KH * KW * C bytes. */
void tk_conv2d_row_s8(const tk_conv2d *conv, const int8_t *input, int32_t ring, int32_t oy,
                      int8_t *output, int16_t *scratch);
void tk_conv2d_s8(const tk_conv2d *conv, const int8_t *input, int8_t *output, int16_t *scratch);

#ifdef __cplusplus
}
#endif

#endif
