/* Depthwise 3x3 convolutions of stride 1 or 2 for ARMv7E-M and ARMv8-M with the DSP instructions: what
 * tk_planes_channel() in planes.h computes.  Two outputs of a channel take 15 instructions for
 * their 18 products, and 7 each to become int8. */
#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP && defined(__thumb2__)

    .syntax unified
    .thumb

/* The stack frame: tk_tile, then what changes from channel to channel. */
#define PLANES 0
#define WORDS 4
#define BIAS 8
#define MULTIPLIER 12
#define SHIFT 16
#define OUTPUT 20
#define STEP 24
#define TWICE_ZERO 28
#define CHANNELS 32 /* behind TWICE_ZERO: loaded together */
#define PAIRS 36
#define SINGLES 40
#define WIDE 44
#define START 48 /* this channel's bias */
#define STOP 52  /* where in this channel's plane the outputs at hand end */
#define LEFT 56  /* channels */
#define FRAME 60
#define ROW 40 /* bytes of a plane's row */

/* One kernel row for two outputs r8, r9: columns in r10, r11, weights (w0, w1), (w1, w2). */
    .macro row_2 offset, w01, w12
    ldrd    r10, r11, [r0, #\offset]
    smlad   r8, r10, \w01, r8
    smlatb  r9, r10, \w01, r9
    smlabt  r8, r11, \w12, r8
    smlad   r9, r11, \w12, r9
    .endm

    .macro row_1 offset, w01, w12
    ldrd    r10, r11, [r0, #\offset]
    smlad   r8, r10, \w01, r8
    smlabt  r8, r11, \w12, r8
    .endm

/* r12: multiplier, lr: right shift less one, r10: 2 * zero point + 1. */
    .macro requantize acc
    lsl     \acc, \acc, #1
    smmulr  \acc, \acc, r12
    add     \acc, \acc, \acc, asr #31
    asr     \acc, \acc, lr
    add     \acc, \acc, r10
    ssat    \acc, #8, \acc, asr #1
    .endm

    .macro requantize_wide acc
    smull   r11, \acc, \acc, r12
    adds    r11, r11, #0x40000000
    adc     \acc, \acc, #0
    adds    r11, r11, r11
    adc     \acc, \acc, \acc
    add     \acc, \acc, \acc, asr #31
    asr     \acc, \acc, lr
    add     \acc, \acc, r10
    ssat    \acc, #8, \acc, asr #1
    .endm

    .section .text.tk_planes_3x3, "ax", %progbits
    .balign 4
    .global tk_planes_3x3
    .type   tk_planes_3x3, %function
    .thumb_func
tk_planes_3x3:
    push    {r4-r11, lr}
    sub     sp, sp, #FRAME
    ldm     r0, {r1-r12}
    stm     sp, {r1-r12}
    mov     r0, #4
    str     r0, [sp, #LEFT]
.Lchannel:
    ldr     r0, [sp, #WORDS]
    ldm     r0!, {r2-r7}
    str     r0, [sp, #WORDS]
    ldr     r0, [sp, #BIAS]
    ldr     r1, [r0], #4
    str     r0, [sp, #BIAS]
    str     r1, [sp, #START]
    ldr     r8, [sp, #STEP]
    ldr     r0, [sp, #MULTIPLIER]
    ldr     r12, [r0]
    add     r0, r0, r8
    str     r0, [sp, #MULTIPLIER]
    ldr     r0, [sp, #SHIFT]
    ldrsb   lr, [r0]
    add     r0, r0, r8, lsr #2
    str     r0, [sp, #SHIFT]
    mvn     lr, lr
    ldr     r1, [sp, #OUTPUT]
    add     r0, r1, #1
    str     r0, [sp, #OUTPUT]
    ldr     r0, [sp, #PLANES]
    add     r8, r0, #3 * ROW
    str     r8, [sp, #PLANES]
    ldr     r8, [sp, #PAIRS]
    add     r8, r0, r8, lsl #2
    str     r8, [sp, #STOP]
    cmp     r0, r8
    beq     .Lsingles
.Lpairs:
    ldr     r8, [sp, #START]
    mov     r9, r8
    row_2   0, r2, r3
    row_2   ROW, r4, r5
    row_2   2 * ROW, r6, r7
    ldr     r10, [sp, #WIDE]
    cmp     r10, #0
    ldr     r10, [sp, #TWICE_ZERO]
    bne     .Lwide_2
    requantize r8
    requantize r9
.Lstore_2:
    ldr     r11, [sp, #CHANNELS]
    strb    r8, [r1]
    strb    r9, [r1, r11]
    add     r1, r1, r11, lsl #1
    adds    r0, r0, #4
    ldr     r10, [sp, #STOP]
    cmp     r0, r10
    bne     .Lpairs
.Lsingles: /* a last output, or all with stride 2 */
    ldr     r8, [sp, #SINGLES]
    add     r9, r0, r8, lsl #2
    cmp     r0, r9
    beq     .Lnext
.Lsingle:
    ldr     r8, [sp, #START]
    row_1   0, r2, r3
    row_1   ROW, r4, r5
    row_1   2 * ROW, r6, r7
    ldr     r10, [sp, #WIDE]
    cmp     r10, #0
    ldr     r10, [sp, #TWICE_ZERO]
    bne     .Lwide_1
    requantize r8
.Lstore_1:
    ldr     r11, [sp, #CHANNELS]
    strb    r8, [r1]
    add     r1, r1, r11
    adds    r0, r0, #4
    cmp     r0, r9
    bne     .Lsingle
.Lnext:
    ldr     r0, [sp, #LEFT]
    subs    r0, r0, #1
    str     r0, [sp, #LEFT]
    bne     .Lchannel
    add     sp, sp, #FRAME
    pop     {r4-r11, pc}
.Lwide_2:
    requantize_wide r8
    requantize_wide r9
    b       .Lstore_2
.Lwide_1:
    requantize_wide r8
    b       .Lstore_1
    .size   tk_planes_3x3, . - tk_planes_3x3
#endif
