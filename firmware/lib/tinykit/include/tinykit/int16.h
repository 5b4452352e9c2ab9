/* Kernels of int16x8: activations are int16 with zero point 0, weights int8, sums 64 bits wide.
 *
 * Rows, rings and places in memory are as in kernels.h. */
#ifndef TINYKIT_INT16_H
#define TINYKIT_INT16_H

#include "tinykit/tinykit.h"

#ifdef __cplusplus
extern "C" {
#endif

/* CONV_2D, and FULLY_CONNECTED as a 1x1 convolution, with weights in pairs of output channels as in
 * tk_conv2d; DEPTHWISE_CONV_2D with weights [KH][KW][O]. */
typedef struct {
    const tk_window *window;
    const int8_t *weights;
    const int64_t *bias;       /* [O] */
    const int32_t *multiplier; /* [O], or [1] unless per_channel */
    const int8_t *shift;       /* likewise; at most 7 */
    uint16_t input_channels, output_channels;
    int16_t activation_min, activation_max;
    uint8_t per_channel;
    uint8_t narrow; /* 1: sums fit 32 bits and are rescaled as such */
    uint8_t direct; /* 1: a pixel, an even number of channels, is its own patch */
} tk_convolution16;

/* AVERAGE_POOL_2D and MAX_POOL_2D. */
typedef struct {
    const tk_window *window;
    uint16_t channels;
    int16_t activation_min, activation_max;
} tk_pool16;

/* ADD, MUL, SUB …: axes as in tk_binary. */
typedef struct {
    const uint32_t *size;     /* [5] */
    const uint32_t *stride_a; /* [5] */
    const uint32_t *stride_b; /* [5] */
    int32_t multiplier_a, multiplier_b, output_multiplier;
    int16_t activation_min, activation_max;
    int8_t shift_a, shift_b, output_shift;
} tk_binary16;

/* LEAKY_RELU: other multipliers below 0. */
typedef struct {
    uint32_t size;
    int32_t multiplier, alpha_multiplier;
    int8_t shift, alpha_shift;
} tk_leaky_relu16;

/* LOGISTIC and TANH: x * multiplier / 2^shift is the input in steps of 1 / 12288. */
typedef struct {
    const uint16_t *sigmoid; /* [256]: sigmoid(i / 24) in Q0.16 */
    uint32_t size;
    int32_t multiplier;
    int8_t shift;
} tk_sigmoid16;

/* SOFTMAX: x * multiplier * 2^(shift - 31) is a difference in steps of 10 / 65535. */
typedef struct {
    const int16_t *exponential; /* [513]: exp(10 * (i / 512 - 1)) in Q0.15 */
    const int16_t *reciprocal;  /* [513]: 1 / (1 + i / 512) in Q0.15 */
    uint32_t rows;
    int32_t multiplier;
    uint16_t depth;
    int8_t shift;
} tk_softmax16;

/* scratch: what two pixels (one, in maps of width 1) see, up2(KH * KW * C) int16 each; unless
 * direct. */
void tk_conv2d_row_s16(const tk_convolution16 *conv, const int16_t *input, int32_t ring, int32_t oy,
                       int16_t *output, int16_t *scratch);
void tk_conv2d_s16(const tk_convolution16 *conv, const int16_t *input, int16_t *output,
                   int16_t *scratch);
void tk_depthwise_conv2d_row_s16(const tk_convolution16 *conv, const int16_t *input, int32_t ring,
                                 int32_t oy, int16_t *output);
void tk_depthwise_conv2d_s16(const tk_convolution16 *conv, const int16_t *input, int16_t *output);

void tk_average_pool2d_row_s16(const tk_pool16 *pool, const int16_t *input, int32_t ring,
                               int32_t oy, int16_t *output);
void tk_average_pool2d_s16(const tk_pool16 *pool, const int16_t *input, int16_t *output);
void tk_max_pool2d_row_s16(const tk_pool16 *pool, const int16_t *input, int32_t ring, int32_t oy,
                           int16_t *output);
void tk_max_pool2d_s16(const tk_pool16 *pool, const int16_t *input, int16_t *output);
void tk_mean_s16(const tk_mean *mean, const int16_t *input, int16_t *output);
void tk_batch_matmul_s16(const tk_batch_matmul *op, const int16_t *a, const int16_t *b,
                         int16_t *output);

/* The output may be the first input, if they have one size. */
void tk_add_s16(const tk_binary16 *op, const int16_t *a, const int16_t *b, int16_t *output);
void tk_sub_s16(const tk_binary16 *op, const int16_t *a, const int16_t *b, int16_t *output);
void tk_mul_s16(const tk_binary16 *op, const int16_t *a, const int16_t *b, int16_t *output);
void tk_squared_difference_s16(const tk_binary16 *op, const int16_t *a, const int16_t *b,
                               int16_t *output);
void tk_minimum_s16(const tk_binary16 *op, const int16_t *a, const int16_t *b, int16_t *output);
void tk_maximum_s16(const tk_binary16 *op, const int16_t *a, const int16_t *b, int16_t *output);
void tk_requantize_s16(const tk_rescale *op, const int16_t *input, int16_t *output);
void tk_requantize_s16_s8(const tk_rescale *op, const int16_t *input, int8_t *output);
void tk_requantize_s8_s16(const tk_rescale *op, const int8_t *input, int16_t *output);
void tk_leaky_relu_s16(const tk_leaky_relu16 *op, const int16_t *input, int16_t *output);
void tk_logistic_s16(const tk_sigmoid16 *op, const int16_t *input, int16_t *output);
void tk_tanh_s16(const tk_sigmoid16 *op, const int16_t *input, int16_t *output);
void tk_softmax_s16(const tk_softmax16 *op, const int16_t *input, int16_t *output);

#ifdef __cplusplus
}
#endif

#endif
