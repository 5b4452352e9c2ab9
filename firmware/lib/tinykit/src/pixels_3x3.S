/* Depthwise 3x3 convolutions for ARMv7E-M and ARMv8-M with the DSP instructions: what
 * tk_pixels_3x3() in depthwise_3x3.c computes.  Four channels side by side: 10 instructions for a tap's four
 * products, 8 for an output's way to int8. */
#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP && defined(__thumb2__)

#include "requantize_dsp.h"

    .syntax unified
    .thumb

/* The stack frame: tk_pixels. */
#define X0 0
#define X1 4
#define X2 8
#define X_END 12
#define WEIGHTS 12
#define BIAS 16
#define MULTIPLIER 20
#define SHIFT 24
#define OUTPUT 28
#define MASK 32
#define TWICE_ZERO 36
#define CHANNELS 40 /* with the next two: loaded together */
#define COUNT 44
#define OFFSET 48
#define LAST 52
#define PIXELS 56
#define ADVANCE 60
#define LESS 64
#define ROWS 68
#define TAPS 72
#define NEXT_X 76 /* while a window's columns are not all inside: where the next row's x lies */
#define FRAME 80

/* One tap of four channels: x at [r0, \at], weights at [r1, \at of the weights]. */
    .macro products
    sxtab16 r7, r12, r6, ror #8
    sxtab16 r6, r12, r6
    sxtb16  r9, r8, ror #8
    sxtb16  r8, r8
    smlabb  r2, r6, r8, r2
    smlatt  r4, r6, r8, r4
    smlabb  r3, r7, r9, r3
    smlatt  r5, r7, r9, r5
    .endm

    .macro tap_0
    ldr     r8, [r1] /* first: r0 has just been computed */
    ldr     r6, [r0]
    products
    .endm

    .macro tap_1
    ldr     r6, [r0, r10]
    ldr     r8, [r1, r11]
    products
    .endm

    .macro tap_2
    ldr     r6, [r0, r10, lsl #1]
    ldr     r8, [r1, r11, lsl #1]
    products
    .endm

/* The weights of the next kernel row. */
    .macro next_weights
    add     r1, r1, r11, lsl #1
    add     r1, r1, r11
    .endm

    .macro full_row x
    ldr     r0, [sp, #\x]
    add     r0, r0, lr
    tap_0
    tap_1
    tap_2
    .endm

/* \acc, scaled, to int8: right shift less one in the low byte of r0, 2 * zero + 1 in r1. */
    .macro shift acc
    asr     \acc, \acc, r0
    add     \acc, \acc, r1
    ssat    \acc, #8, \acc, asr #1
    .endm

    .section .text.tk_pixels_3x3, "ax", %progbits
    .balign 4
    .global tk_pixels_3x3
    .type   tk_pixels_3x3, %function
    .thumb_func
tk_pixels_3x3:
    push    {r4-r11, lr}
    sub     sp, sp, #FRAME
    ldm     r0!, {r1-r10}
    stm     sp, {r1-r10}
    ldm     r0, {r1-r9}
    add     r0, sp, #CHANNELS
    stm     r0, {r1-r9}
.Lpixel:
    ldr     lr, [sp, #LAST]
    add     r0, sp, #CHANNELS
    ldm     r0, {r10-r12}
.Lfour:
    ldr     r0, [sp, #BIAS]
    ldr     r1, [sp, #WEIGHTS]
    ldr     r6, [sp, #LESS]
    add     r0, r0, lr, lsl #2
    add     r1, r1, lr
    ldm     r0, {r2-r5}
    cmp     r6, #0
    bne     .Lless
    full_row X0
    next_weights
.Ltwo_rows:
    full_row X1
    next_weights
.Lone_row:
    full_row X2
.Lsums:
    ldr     r0, [sp, #MULTIPLIER]
    ldr     r1, [sp, #MASK]
    and     r1, r1, lr
    add     r0, r0, r1, lsl #2
    ldm     r0, {r6-r9}
    ldr     r0, [sp, #SHIFT]
    ldr     r0, [r0, r1]
    ldr     r1, [sp, #TWICE_ZERO]
    .irp    m, r6, r7, r8, r9
    lsl     \m, \m, #1
    .endr
    scale   r2, r6
    scale   r3, r7
    scale   r4, r8
    scale   r5, r9
    mvn     r0, r0
    cmn     r1, #255 /* the zero point -128 */
    bne     .Lsigned
.Lshift:
    shift   r2
    lsr     r0, r0, #8
    shift   r3
    lsr     r0, r0, #8
    shift   r4
    lsr     r0, r0, #8
    shift   r5
    ldr     r0, [sp, #OUTPUT]
    add     r0, r0, lr
    subs    lr, lr, #4
    strb    r2, [r0]
    strb    r3, [r0, #1]
    strb    r4, [r0, #2]
    strb    r5, [r0, #3]
    bpl     .Lfour
    cmn     lr, #4
    itt     ne /* one to three channels are left: with some once more */
    movne   lr, #0
    bne     .Lfour
    ldr     r0, [sp, #PIXELS]
    subs    r0, r0, #1
    str     r0, [sp, #PIXELS]
    beq     .Lend
    ldm     sp, {r0-r2}
    ldr     r3, [sp, #ADVANCE]
    ldr     r4, [sp, #OUTPUT]
    add     r0, r0, r3
    add     r1, r1, r3
    add     r2, r2, r3
    stm     sp, {r0-r2}
    add     r4, r4, r10
    str     r4, [sp, #OUTPUT]
    b       .Lpixel
.Lend:
    add     sp, sp, #FRAME
    pop     {r4-r11, pc}
.Lless: /* windows that reach over the edge */
    cmp     r6, #2
    blt     .Ltwo_rows
    beq     .Lone_row
    ldr     r6, [sp, #ROWS]
    add     r7, sp, #X_END
    sub     r6, r7, r6, lsl #2
.Lpart_row: /* one tap or two */
    ldr     r0, [r6], #4
    str     r6, [sp, #NEXT_X]
    add     r0, r0, lr
    tap_0
    ldr     r6, [sp, #TAPS]
    cmp     r6, #2
    bne     1f
    tap_1
1:
    next_weights
    ldr     r6, [sp, #NEXT_X]
    add     r7, sp, #X_END
    cmp     r6, r7
    bne     .Lpart_row
    b       .Lsums
.Lsigned:
    .irp    acc, r2, r3, r4, r5
    downwards \acc
    .endr
    b       .Lshift
    .size   tk_pixels_3x3, . - tk_pixels_3x3
#endif
