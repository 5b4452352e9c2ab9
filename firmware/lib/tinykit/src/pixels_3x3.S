/* Depthwise 3x3 convolutions for ARMv7E-M and ARMv8-M with the DSP instructions: what pixel_plain()
 * in depthwise_3x3.c computes.  Four channels side by side: 10 instructions for a tap's four
 * products, 8 for an output's way to int8. */
#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP && defined(__thumb2__)

    .syntax unified
    .thumb

/* The stack frame: tk_pixels. */
#define X0 0
#define X1 4
#define X2 8
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
#define WIDE 56
#define PIXELS 60
#define ADVANCE 64
#define ROWS 68
#define TAPS 72
#define FRAME 76

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
    ldr     r6, [r0]
    ldr     r8, [r1]
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

/* One to three taps of a row. */
    .macro part_row x
    ldr     r0, [sp, #\x]
    add     r0, r0, lr
    tap_0
    ldr     r6, [sp, #TAPS]
    cmp     r6, #2
    blt     1f
    tap_1
    ldr     r6, [sp, #TAPS]
    cmp     r6, #2
    beq     1f
    tap_2
1:
    .endm

/* \acc to int8: multiplier \m, right shift less one in the low byte of r0, 2 * zero + 1 in r1. */
    .macro requantize acc, m
    lsl     \acc, \acc, #1
    smmulr  \acc, \acc, \m
    add     \acc, \acc, \acc, asr #31
    asr     \acc, \acc, r0
    add     \acc, \acc, r1
    ssat    \acc, #8, \acc, asr #1
    .endm

    .macro requantize_wide acc, m
    smull   r10, \acc, \acc, \m
    adds    r10, r10, #0x40000000
    adc     \acc, \acc, #0
    adds    r10, r10, r10
    adc     \acc, \acc, \acc
    add     \acc, \acc, \acc, asr #31
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
    ldr     r6, [sp, #ROWS]
    add     r0, r0, lr, lsl #2
    ldm     r0, {r2-r5}
    add     r1, r1, lr
    cmp     r6, #4
    bne     .Lpart
    full_row X0
    next_weights
    full_row X1
    next_weights
    full_row X2
.Lsums:
    ldr     r0, [sp, #MULTIPLIER]
    ldr     r1, [sp, #MASK]
    ldr     r6, [sp, #WIDE]
    and     r1, r1, lr
    add     r0, r0, r1, lsl #2
    cmp     r6, #0
    ldm     r0, {r6-r9}
    ldr     r0, [sp, #SHIFT]
    ldr     r0, [r0, r1]
    ldr     r1, [sp, #TWICE_ZERO]
    mvn     r0, r0
    bne     .Lwide
    requantize r2, r6
    lsr     r0, r0, #8
    requantize r3, r7
    lsr     r0, r0, #8
    requantize r4, r8
    lsr     r0, r0, #8
    requantize r5, r9
.Lstore:
    ldr     r0, [sp, #OUTPUT]
    add     r0, r0, lr
    strb    r2, [r0]
    strb    r3, [r0, #1]
    strb    r4, [r0, #2]
    strb    r5, [r0, #3]
    subs    lr, lr, #4
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
.Lpart: /* windows that reach over the edge */
    part_row X0
    ldr     r6, [sp, #ROWS]
    cmp     r6, #2
    blt     .Lsums
    next_weights
    part_row X1
    ldr     r6, [sp, #ROWS]
    cmp     r6, #2
    beq     .Lsums
    next_weights
    part_row X2
    b       .Lsums
.Lwide:
    requantize_wide r2, r6
    lsr     r0, r0, #8
    requantize_wide r3, r7
    lsr     r0, r0, #8
    requantize_wide r4, r8
    lsr     r0, r0, #8
    requantize_wide r5, r9
    ldr     r10, [sp, #CHANNELS]
    b       .Lstore
    .size   tk_pixels_3x3, . - tk_pixels_3x3
#endif
