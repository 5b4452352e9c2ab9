/* Depthwise 3x3 convolutions for cores without the DSP instructions.
 *
 * Tile by tile and channel by channel, the inputs of a tile's outputs are gathered in a plane of
 * words x0 + 65536 * x1 (conv_packed.h): x0 for the outputs of the tile's first half, x1 for those
 * of its second half, below or beside the first. */
#ifndef TINYKIT_DEPTHWISE_PACKED_H
#define TINYKIT_DEPTHWISE_PACKED_H

#include "conv_packed.h"

#define TK_PLANE_AREA 120 /* words of a plane */
#define TK_PLANE_WIDTH 40 /* of a tile in one row of outputs */

/* A channel of a tile.  The assembly knows the order of the members. */
typedef struct {
    const int32_t *plane, *weights; /* weights: 9 words */
    int8_t *output;                 /* of the first half */
    int32_t apart;                  /* bytes from an output of the first half to the second's */
    int32_t start;                  /* of the sums */
    int32_t multiplier;
    int32_t shift;      /* to the right, less one */
    int32_t twice_zero; /* 2 * output zero point + 1 */
    int32_t channels;   /* bytes from output to output */
    int32_t rows, columns;
    int32_t row;      /* bytes of a row of the plane */
    int32_t step;     /* bytes in the plane from a window to the next */
    int32_t next_row; /* bytes from behind a row's last window to the next row's first */
    int32_t next;     /* bytes from behind a row's last output to the next row's first */
    int32_t together; /* the products of each row of weights fit in int16 together */
    int32_t wide;     /* sums may reach 2^30, or the shift is to the left */
} tk_packed_tile;

/* In assembly; the products of the first two weights of a row must fit in int16 together. */
void tk_packed_3x3(const tk_packed_tile *tile);

/* A sum of a `wide` tile. */
int32_t tk_packed_output(const tk_packed_tile *tile, int32_t acc);

/* `rows` output rows from oy on; plane: TK_PLANE_AREA words. */
void tk_packed_depthwise(const tk_depthwise_conv2d *conv, const int8_t *input, int32_t ring,
                         int32_t oy, int32_t rows, int8_t *output, int32_t *plane);

#endif
