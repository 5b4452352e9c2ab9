/* Blocks of a convolution: all output channels of four pixels, or of one.
 *
 * A patch holds what the pixels of a block see, as int16.  Positions come in pairs: for each pair
 * one word (two int16) per pixel.  Weights come in pairs of output channels, four bytes for two
 * positions: w[o][p], w[o + 1][p], w[o][p + 1], w[o + 1][p + 1].  An odd number of positions or of
 * channels is filled up with zero weights. */
#ifndef TINYKIT_CONV_BLOCK_H
#define TINYKIT_CONV_BLOCK_H

#include "requantize.h"
#include "simd.h"

/* Bytes of a channel pair's weights over n positions. */
static inline int32_t tk_pair_bytes(int32_t n) {
    return 2 * ((n + 1) & ~1);
}

/* Where position `at` of pixel `pixel` lies in a patch of `count` pixels, in int16. */
static inline int32_t tk_patch_index(int32_t at, int32_t pixel, int32_t count) {
    return ((at >> 1) * count + pixel) * 2 + (at & 1);
}

/* conv_block.S knows the order of these members.  Positions [patch, end) go with `weights`,
 * [end, rest_end) with `weights_rest`. */
typedef struct {
    const int16_t *patch, *end, *rest_end;
    const int8_t *weights, *weights_rest;
    const int32_t *bias, *multiplier;
    const int8_t *shift;
    int8_t *output;     /* pixel after pixel, `channels` apart */
    int32_t step;       /* bytes from a pair's multipliers to the next pair's: 8, or 0 */
    int32_t twice_zero; /* 2 * output zero point + 1 */
    int32_t channels;
    int32_t pairs;      /* of output channels, whole ones */
    int32_t wide;       /* sums may reach 2^30 */
    int32_t neighbours; /* packed patches: products of two positions fit in int16 together */
} tk_block;

/* Cores without the DSP instructions take four pixels from packed patches (conv_packed.h).  A host
 * build with TK_PACKED_EMULATED=1 takes the same way through plain C. */
#if (defined(__thumb__) && !TK_DSP) || (defined(TK_PACKED_EMULATED) && TK_PACKED_EMULATED)
#define TK_PACKED 1
#else
#define TK_PACKED 0
#endif

/* Blocks of 4 pixels or 1 in assembly.  With the DSP instructions: the pairs of channels of a
 * layer whose shifts are all in -31 … -1; packed: all channels of any layer, `wide` if it has other
 * shifts. */
#if TK_PACKED || (TK_DSP && defined(__thumb2__))
void tk_block_4(const tk_block *block);
void tk_block_1(const tk_block *block);
#define TK_BLOCK_ASSEMBLY 1
#else
#define TK_BLOCK_ASSEMBLY 0
#endif

#endif
