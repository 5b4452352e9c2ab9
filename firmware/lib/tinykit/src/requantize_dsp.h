/* From a sum to an output in three instructions, for assembly with the DSP instructions.
 *
 * TFLite doubles the product of sum and multiplier, takes its high half, rounded, and rounds that
 * again as it shifts right by s.  With m = 2 * multiplier - 2^32 (the doubled multiplier, read as
 * an int32), SMMLAR gives (sum * 2^32 + sum * m + 2^31) >> 32: the first of these, for any sum.
 * With p = -2^(32 - s), SMMLSR gives zero point + ((x * 2^(32 - s) + 2^31) >> 32): the second,
 * where x is not negative.  A negative x rounds its halves downwards: one less.  With the zero
 * point -128 it becomes -128 in any case. */
/* clang-format off */
#ifndef TINYKIT_REQUANTIZE_DSP_H
#define TINYKIT_REQUANTIZE_DSP_H

    .macro scale acc, m
    smmlar  \acc, \acc, \m, \acc
    .endm

    .macro downwards acc
    add     \acc, \acc, \acc, asr #31
    .endm

    .macro round acc, p, zero
    smmlsr  \acc, \acc, \p, \zero
    ssat    \acc, #8, \acc
    .endm

#endif
