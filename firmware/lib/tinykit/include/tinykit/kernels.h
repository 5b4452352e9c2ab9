/* Kernels and their descriptors.  Generated code holds the descriptors in flash.
 *
 * Shapes: H, W = height, width; C = input channels; O = output channels; K = split.
 * Tensors are NHWC with batch 1.  Python reads the structs of this file to lay out descriptors:
 * keep to plain scalar members and pointers. */
#ifndef TINYKIT_KERNELS_H
#define TINYKIT_KERNELS_H

#include "tinykit/classical.h"
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

/* How large a layer's sums of products (bias included) can be, and where its multipliers shift. */
#define TK_SUMS_ANY 0    /* int32 that may wrap, as in TFLM; or a multiplier that shifts left */
#define TK_SUMS_WIDE 1   /* int32 that may wrap; all multipliers shift right */
#define TK_SUMS_NARROW 2 /* below 2^30; all multipliers shift right */

/* CONV_2D, and FULLY_CONNECTED as a 1x1 convolution.
 * The first K input channels have their weights in `weights`, the others in `weights_rest`: pairs
 * of output channels, position by position, w[o][p], w[o + 1][p], w[o][p + 1], w[o + 1][p + 1] …;
 * an odd number of positions (KH * KW * K) or channels is filled up with zeros. */
typedef struct {
    const tk_window *window;
    const int8_t *weights;      /* [up2(O) / 2][up2(KH * KW * K)][2] */
    const int8_t *weights_rest; /* [up2(O) / 2][up2(KH * KW * (C - K))][2]; NULL when K = C */
    const int32_t *bias;        /* [O]; of bias, multiplier and shift up4(O) are read */
    const int32_t *multiplier;  /* [O], or [1] unless per_channel */
    const int8_t *shift;        /* likewise */
    uint16_t input_channels, split, output_channels;
    int16_t input_zero_point; /* subtracted from inputs; 0 where the biases contain its part */
    int16_t output_zero_point;
    int8_t padding; /* the input that padding stands for: its zero point */
    int8_t activation_min, activation_max;
    uint8_t per_channel;
    uint8_t sums;       /* TK_SUMS_… */
    uint8_t neighbours; /* 1: with int8 inputs, the products of positions 2i and 2i + 1
                         * together fit in int16 */
} tk_conv2d;

/* DEPTHWISE_CONV_2D.  Output channel o sees input channel o / (O / C).
 * The first K output channels have their weights in `weights`, the others in `weights_rest`. */
typedef struct {
    const tk_window *window;
    const int8_t *weights;      /* [KH][KW][K] */
    const int8_t *weights_rest; /* [KH][KW][O - K]; NULL when K = O */
    const int32_t *bias;        /* [O] */
    const int32_t *multiplier;  /* [O], or [1] unless per_channel */
    const int8_t *shift;        /* likewise */
    uint16_t input_channels, split, output_channels;
    int16_t input_zero_point, output_zero_point;
    int8_t activation_min, activation_max;
    uint8_t per_channel;
    uint8_t sums; /* TK_SUMS_… */
} tk_depthwise_conv2d;

/* AVERAGE_POOL_2D and MAX_POOL_2D. */
typedef struct {
    const tk_window *window;
    uint16_t channels;
    int8_t activation_min, activation_max;
} tk_pool;

/* ADD: a has repeats * size elements, b has size. */
typedef struct {
    uint32_t repeats, size;
    int32_t multiplier_a, multiplier_b, output_multiplier;
    int16_t zero_point_a, zero_point_b, output_zero_point;
    int8_t shift_a, shift_b, output_shift;
    int8_t activation_min, activation_max;
} tk_add;

/* MUL, SUB …: axes of the output, outermost first, ones in front; for each the distance of
 * neighbours in a and b, 0 where one repeats. */
typedef struct {
    const uint32_t *size;     /* [5] */
    const uint32_t *stride_a; /* [5] */
    const uint32_t *stride_b; /* [5] */
    int32_t multiplier_a, multiplier_b, output_multiplier;
    int16_t zero_point_a, zero_point_b, output_zero_point;
    int8_t shift_a, shift_b, output_shift;
    int8_t activation_min, activation_max;
} tk_binary;

/* MEAN and SUM of [outer][reduced][inner] over the middle axis. */
typedef struct {
    uint32_t outer, reduced, inner;
    int32_t multiplier;
    int16_t input_zero_point, output_zero_point;
    int8_t shift;
} tk_mean;

/* REDUCE_MAX of [outer][reduced][inner] over the middle axis. */
typedef struct {
    uint32_t outer, reduced, inner;
} tk_reduce_max;

/* PAD of [height][width][channels]. */
typedef struct {
    uint16_t height, width, channels;
    uint16_t top, bottom, left, right, front, back;
    int8_t value;
} tk_pad;

/* QUANTIZE, RELU, RELU6: clamp(x * multiplier * 2^(shift - 31)). */
typedef struct {
    uint32_t size;
    int32_t multiplier;
    int16_t input_zero_point, output_zero_point;
    int16_t activation_min, activation_max;
    int8_t shift;
} tk_rescale;

/* Any function of one code: table[x + 128]. */
typedef struct {
    const int8_t *table; /* [256] */
    uint32_t size;
} tk_lookup;

/* A box of elements on its way: its axes, outermost first, five with ones in front; for each the
 * distance of neighbours in the input (read) and in the output (write), in elements, negative ones
 * too.  The walk begins at elements read_first and write_first, when the first `filled` elements
 * of the output have been set to a value. */
typedef struct {
    const uint32_t *size; /* [5] */
    const int32_t *read;  /* [5] */
    const int32_t *write; /* [5] */
    uint32_t read_first, write_first, filled;
    int16_t value;
} tk_copy;

/* GATHER: [outer, size, inner] to [outer, count, inner], slice index[i] at place i. */
typedef struct {
    const uint16_t *index; /* [count] */
    uint32_t outer, size, count, inner;
} tk_gather;

/* BATCH_MATMUL: y[batch][row][column] is a sum over two more axes (here only the last); for each
 * axis its size and the distance of neighbours in both factors, in elements. */
typedef struct {
    const uint32_t *size;     /* [5] */
    const uint32_t *stride_a; /* [5] */
    const uint32_t *stride_b; /* [5] */
    int32_t multiplier;
    int16_t zero_point_a, zero_point_b, output_zero_point;
    int8_t shift;
} tk_batch_matmul;

/* RESIZE_BILINEAR: for each output row the input rows top and bottom and the share of the second in
 * 1/1024; for each column left, right and across. */
typedef struct {
    const uint16_t *top, *bottom; /* [output_height] */
    const uint16_t *left, *right; /* [output_width] */
    const int16_t *down;          /* [output_height] */
    const int16_t *across;        /* [output_width] */
    uint32_t batches, height, width, channels, output_height, output_width;
} tk_resize_bilinear;

/* SOFTMAX: differences to the largest input below diff_min give probability 0. */
typedef struct {
    uint32_t rows;
    int32_t multiplier, diff_min;
    uint16_t depth;
    int8_t shift;
} tk_softmax;

/* LOG_SOFTMAX: the multiplier leads from scaled differences back to codes. */
typedef struct {
    const tk_softmax *scaling;
    int32_t reverse_multiplier;
    int8_t reverse_shift;
} tk_log_softmax;

/* L2_NORMALIZATION: every row divided by its length. */
typedef struct {
    uint32_t rows, depth;
    int32_t zero_point;
} tk_l2_normalization;

/* SVDF: F filters over C inputs, each with the last M features in the state and M time weights;
 * `rank` neighbours make one output.  Weights in pairs and in two blocks, as in tk_conv2d. */
typedef struct {
    const int8_t *weights;
    const int8_t *weights_rest; /* NULL when K = C */
    const int32_t *bias;        /* [F / rank]; NULL: none */
    const int16_t *time;        /* [F][M] */
    int32_t feature_multiplier, output_multiplier;
    uint16_t inputs, split, filters, memory, rank;
    int16_t input_zero_point, output_zero_point;
    int8_t feature_shift, output_shift;
} tk_svdf;

/* One gate of an LSTM of U units over C inputs; weights in pairs, as in tk_conv2d. */
typedef struct {
    const int8_t *weights;   /* of the input, [U, C] */
    const int8_t *recurrent; /* of the hidden state, [U, U] */
    const int32_t *bias;     /* [U] */
    int32_t multiplier, recurrent_multiplier;
    int8_t shift, recurrent_shift;
} tk_lstm_gate;

/* UNIDIRECTIONAL_SEQUENCE_LSTM: int8 inputs and hidden states, gates in Q0.15, an int16 cell state
 * of scale 2^(tanh_shift - 12). */
typedef struct {
    const tk_lstm_gate *input, *forget, *cell, *output;
    const uint16_t *sigmoid; /* [256]: sigmoid(i / 24) in Q0.16 */
    uint16_t steps, inputs, units;
    int16_t input_zero_point, hidden_zero_point;
    int16_t clip; /* of the cell state; 0: none */
    int32_t forget_multiplier, update_multiplier, hidden_multiplier;
    int8_t forget_shift, update_shift, hidden_shift;
    int8_t tanh_shift;
} tk_lstm;

/* Spatial kernels make row `oy` of their output from a ring buffer of input rows: input row y lies
 * at input + (y % ring) * W * C.  A whole tensor is a ring of H rows.  The second form of each
 * kernel makes all rows from a whole tensor, from top to bottom: row oy is written when all rows
 * above it are, and nothing that only rows above it see is read any more.  So the output may
 * follow behind the input in the same memory, as far as the memory plan allows. */

/* scratch: with Helium the patches of four pixels (of one, in maps less than 4 wide) as int8,
 * 4 (or 1) * (up16(KH * KW * K) + up16(KH * KW * (C - K))) bytes; else as int16, 8 (or 2) * P bytes
 * with P = up2(KH * KW * K) + up2(KH * KW * (C - K)).  `any`: for layers of TK_SUMS_ANY. */
void tk_conv2d_row_s8(const tk_conv2d *conv, const int8_t *input, int32_t ring, int32_t oy,
                      int8_t *output, int16_t *scratch);
void tk_conv2d_s8(const tk_conv2d *conv, const int8_t *input, int8_t *output, int16_t *scratch);
void tk_conv2d_any_row_s8(const tk_conv2d *conv, const int8_t *input, int32_t ring, int32_t oy,
                          int8_t *output, int16_t *scratch);
void tk_conv2d_any_s8(const tk_conv2d *conv, const int8_t *input, int8_t *output, int16_t *scratch);

/* scratch: the planes and weights of four channels (planes.h): KH * (160 + 32 * (KW / 2 + 1))
 * bytes. */
void tk_depthwise_conv2d_row_s8(const tk_depthwise_conv2d *conv, const int8_t *input, int32_t ring,
                                int32_t oy, int8_t *output, int16_t *scratch);
void tk_depthwise_conv2d_s8(const tk_depthwise_conv2d *conv, const int8_t *input, int8_t *output,
                            int16_t *scratch);

/* The same for windows of 3x3, undilated, where O = C, both blocks of weights are at least four
 * channels wide, every output sees some of the input, and all multipliers shift right. */
void tk_depthwise_conv2d_3x3_row_s8(const tk_depthwise_conv2d *conv, const int8_t *input,
                                    int32_t ring, int32_t oy, int8_t *output, int16_t *scratch);
void tk_depthwise_conv2d_3x3_s8(const tk_depthwise_conv2d *conv, const int8_t *input,
                                int8_t *output, int16_t *scratch);

void tk_average_pool2d_row_s8(const tk_pool *pool, const int8_t *input, int32_t ring, int32_t oy,
                              int8_t *output);
void tk_average_pool2d_s8(const tk_pool *pool, const int8_t *input, int8_t *output);
void tk_max_pool2d_row_s8(const tk_pool *pool, const int8_t *input, int32_t ring, int32_t oy,
                          int8_t *output);
void tk_max_pool2d_s8(const tk_pool *pool, const int8_t *input, int8_t *output);

void tk_pad_row_s8(const tk_pad *pad, const int8_t *input, int32_t ring, int32_t oy,
                   int8_t *output);
void tk_pad_s8(const tk_pad *pad, const int8_t *input, int8_t *output);

/* The output of the following may be the (first) input, if they have one size; or begin before it
 * in the same memory: it is written element by element, behind what is read (not so softmax). */
void tk_add_s8(const tk_add *add, const int8_t *a, const int8_t *b, int8_t *output);
void tk_mul_s8(const tk_binary *op, const int8_t *a, const int8_t *b, int8_t *output);
void tk_sub_s8(const tk_binary *op, const int8_t *a, const int8_t *b, int8_t *output);
void tk_div_s8(const tk_binary *op, const int8_t *a, const int8_t *b, int8_t *output);
void tk_minimum_s8(const tk_binary *op, const int8_t *a, const int8_t *b, int8_t *output);
void tk_maximum_s8(const tk_binary *op, const int8_t *a, const int8_t *b, int8_t *output);
void tk_squared_difference_s8(const tk_binary *op, const int8_t *a, const int8_t *b,
                              int8_t *output);
void tk_prelu_s8(const tk_binary *op, const int8_t *a, const int8_t *b, int8_t *output);
void tk_requantize_s8(const tk_rescale *op, const int8_t *input, int8_t *output);
void tk_requantize_u8_s8(const tk_rescale *op, const uint8_t *input, int8_t *output);
void tk_requantize_s8_u8(const tk_rescale *op, const int8_t *input, uint8_t *output);
void tk_lookup_s8(const tk_lookup *lookup, const int8_t *input, int8_t *output);
void tk_softmax_s8(const tk_softmax *softmax, const int8_t *input, int8_t *output);

void tk_log_softmax_s8(const tk_log_softmax *op, const int8_t *input, int8_t *output);
void tk_l2_normalization_s8(const tk_l2_normalization *op, const int8_t *input, int8_t *output);

void tk_mean_s8(const tk_mean *mean, const int8_t *input, int8_t *output);
void tk_reduce_max_s8(const tk_reduce_max *op, const int8_t *input, int8_t *output);

void tk_copy_s8(const tk_copy *copy, const int8_t *input, int8_t *output);
void tk_copy_s16(const tk_copy *copy, const int16_t *input, int16_t *output);
void tk_batch_matmul_s8(const tk_batch_matmul *op, const int8_t *a, const int8_t *b,
                        int8_t *output);
void tk_resize_bilinear_s8(const tk_resize_bilinear *op, const int8_t *input, int8_t *output);
void tk_gather_s8(const tk_gather *gather, const int8_t *input, int8_t *output);

/* state: [F][M], updated. */
void tk_svdf_s8(const tk_svdf *op, const int8_t *input, int16_t *state, int8_t *output);
/* hidden, cell: the states before; the last output is the hidden state after.  scratch: 8 * U
 * bytes.
 */
void tk_lstm_s8(const tk_lstm *op, const int8_t *input, const int8_t *hidden, const int16_t *cell,
                int8_t *output, int16_t *cell_after, int16_t *scratch);

/* Means over all rows, fed row by row: call once for each input row y = 0, 1, …; the last one gives
 * the output.  sums: [C], kept between the calls; the output may lie at its start. */
void tk_mean_fold_s8(const tk_mean *mean, const int8_t *row, int32_t y, int32_t width,
                     int32_t *sums, int8_t *output);
/* For one window that the whole input lies in. */
void tk_average_pool2d_fold_s8(const tk_pool *pool, const int8_t *row, int32_t y, int32_t *sums,
                               int8_t *output);

#ifdef __cplusplus
}
#endif

#include "tinykit/int16.h"

#endif
