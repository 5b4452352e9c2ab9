/* Packed patches, for cores without the DSP instructions: of four pixels two words a position,
 * pixels 0 and 1, 2 and 3, each x[0] + 65536 * x[1]: one multiplication makes two products.  The
 * patch of one pixel holds its positions as int16, one after the other. */
#ifndef TINYKIT_CONV_PACKED_H
#define TINYKIT_CONV_PACKED_H

#include "conv_block.h"
#include "rows.h"

/* Adds the products of one pixel to the sums of two pairs of channels.  The pointers are to the
 * ends of the inputs and weights; bytes: of the inputs, negative; a multiple of 4. */
void tk_dot_4(const int16_t *x, const int8_t *weights, const int8_t *weights_after, int32_t bytes,
              int32_t *sums);

/* The outputs of channel 0 of a block's four pixels; moves the block to the next channel. */
void tk_block_channel(tk_block *block, const int32_t *sums);

/* ARMv6-M: the outputs of n channels of one pixel, whose sums are below 2^30; moves the block on.
 */
void tk_block_outputs(tk_block *block, const int32_t *sums, int32_t n);

/* ARMv6-M: copies n positions, a multiple of 4, of two pixels that end at a and b; n: negative. */
int32_t *tk_packed_fours(int32_t *to, const int8_t *a, const int8_t *b, int32_t n, int32_t offset);

static inline int32_t tk_two_pixels(int32_t a, int32_t b) {
    return a + b * 65536;
}

/* n positions of two pixels; NULL: the pixel lies in the padding.  offset: added to each word, for
 * each pixel in the padding that holds the padding's value, for others the negative zero point. */
static inline int32_t *tk_packed_copy(int32_t *to, const int8_t *a, const int8_t *b, int32_t n,
                                      int32_t offset) {
    if (a != NULL && b != NULL) {
#if defined(__thumb__) && !defined(__thumb2__)
        if (n >= 8) {
            const int32_t fours = n & ~3;
            to = tk_packed_fours(to, a + fours, b + fours, -fours, offset);
            a += fours;
            b += fours;
            n -= fours;
        }
#endif
        for (; n >= 2; n -= 2, a += 2, b += 2, to += 4) {
            to[0] = tk_two_pixels(a[0], b[0]) + offset;
            to[2] = tk_two_pixels(a[1], b[1]) + offset;
        }
        if (n > 0) {
            to[0] = tk_two_pixels(a[0], b[0]) + offset;
            to += 2;
        }
        return to;
    }
    for (int32_t i = 0; i < n; i++, to += 2) {
        *to = a != NULL ? a[i] + offset : b != NULL ? b[i] * 65536 + offset : offset;
    }
    return to;
}

#endif
