/* Blocks of a convolution for ARMv7E-M and ARMv8-M with the DSP instructions: what block_pairs()
 * in conv2d.c computes, for layers whose multipliers all shift right.
 *
 * Four pixels x two channels: 13 instructions for 16 multiply-accumulates; one pixel: 1.2 each.
 * A sum below 2^30 becomes an output in six: SMMULR of twice the sum is TFLite's doubling high
 * multiply, and the second rounding, the zero point and the clamp share an ADD and an SSAT. */
#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP && defined(__thumb2__)

    .syntax unified
    .thumb

/* The stack frame: tk_block, then what is worked out once. */
#define PATCH 0
#define END 4
#define REST_END 8
#define WEIGHTS 12
#define WEIGHTS_REST 16
#define BIAS 20
#define MULTIPLIER 24
#define SHIFT 28
#define OUTPUT 32
#define STEP 36
#define TWICE_ZERO 40
#define CHANNELS 44
#define PAIRS 48
#define WIDE 52
#define ENTRY 56 /* where the whole groups of positions begin that the loop takes at once */
#define ENTRY_FIRST 60
#define ENTRY_REST 68
#define STOP 64 /* END or REST_END: the end of the positions at hand */
#define FRAME 72

    .macro enter
    push    {r4-r11, lr}
    sub     sp, sp, #FRAME
    ldm     r0!, {r1-r7}
    stm     sp, {r1-r7}
    ldm     r0, {r2-r8}
    add     r0, sp, #BIAS + 8
    stm     r0, {r2-r8}
    .endm

    .macro leave
    add     sp, sp, #FRAME
    pop     {r4-r11, pc}
    .endm

/* The sum in \acc to an output: multiplier \m, right shift less one in \s, 2 * zero point + 1 in
 * \zero. */
    .macro requantize acc, m, s, zero
    lsl     \acc, \acc, #1
    smmulr  \acc, \acc, \m
    add     \acc, \acc, \acc, asr #31
    asr     \acc, \acc, \s
    add     \acc, \acc, \zero
    ssat    \acc, #8, \acc, asr #1
    .endm

/* The same for any int32. */
    .macro requantize_wide acc, m, s, zero, low
    smull   \low, \acc, \acc, \m
    adds    \low, \low, #0x40000000
    adc     \acc, \acc, #0
    adds    \low, \low, \low
    adc     \acc, \acc, \acc
    add     \acc, \acc, \acc, asr #31
    asr     \acc, \acc, \s
    add     \acc, \acc, \zero
    ssat    \acc, #8, \acc, asr #1
    .endm

/* Multipliers of a channel pair to r10, r11, right shifts less one to r12, lr. */
    .macro load_multipliers
    ldr     r0, [sp, #MULTIPLIER]
    ldr     r12, [sp, #STEP]
    ldrd    r10, r11, [r0]
    add     r0, r0, r12
    str     r0, [sp, #MULTIPLIER]
    ldr     r0, [sp, #SHIFT]
    ldrsb   lr, [r0, #1]
    add     r12, r0, r12, lsr #2
    str     r12, [sp, #SHIFT]
    ldrsb   r12, [r0]
    mvn     lr, lr
    mvn     r12, r12
    ldr     r0, [sp, #TWICE_ZERO]
    .endm

/* ---- four pixels ---- */

/* Two positions of four pixels and two channels.  52 bytes: entries are computed. */
    .macro dot_4
    ldr.w   r12, [r1], #4
    ldrd    r10, r11, [r0], #16
    sxtb16  lr, r12, ror #8
    sxtb16  r12, r12
    smlad   r2, r10, r12, r2
    smlad   r6, r10, lr, r6
    smlad   r3, r11, r12, r3
    smlad   r7, r11, lr, r7
    ldrd    r10, r11, [r0, #-8]
    smlad   r4, r10, r12, r4
    smlad   r8, r10, lr, r8
    smlad   r5, r11, r12, r5
    smlad   r9, r11, lr, r9
    .endm

/* \to = where whole groups of 2^\bits bytes begin between \first and \last. */
    .macro entry to, first, last, bits
    sub     \to, \last, \first
    and     \to, \to, #(1 << \bits) - 1
    add     \to, \to, \first
    .endm

    .section .text.tk_block_4, "ax", %progbits
    .balign 4
    .global tk_block_4
    .type   tk_block_4, %function
    .thumb_func
tk_block_4:
    enter
    ldm     sp, {r0, r1, r2}
    str     r1, [sp, #STOP]
    entry   r3, r0, r1, 6
    str     r3, [sp, #ENTRY]
    str     r3, [sp, #ENTRY_FIRST]
    entry   r3, r1, r2, 6
    str     r3, [sp, #ENTRY_REST]
    ldr     r1, [sp, #WEIGHTS]
.Lpair_4:
    ldr     r10, [sp, #BIAS]
    ldrd    r2, r6, [r10], #8
    str     r10, [sp, #BIAS]
    mov     r3, r2
    mov     r4, r2
    mov     r5, r2
    mov     r7, r6
    mov     r8, r6
    mov     r9, r6
    ldr     r0, [sp, #PATCH]
    ldr     r12, [sp, #ENTRY]
    cmp     r0, r12
    beq     .Lgroups_4
.Lsingles_4:
    dot_4
    ldr     r12, [sp, #ENTRY]
    cmp     r0, r12
    bne     .Lsingles_4
.Lgroups_4:
    ldr     r12, [sp, #STOP]
    cmp     r0, r12
    beq     .Ldone_4
.Lloop_4:
    dot_4
    dot_4
    dot_4
    dot_4
    ldr     r12, [sp, #STOP]
    cmp     r0, r12
    bne     .Lloop_4
.Ldone_4:
    ldr     r12, [sp, #REST_END]
    cmp     r0, r12
    bne     .Lrest_4
    ldr     r12, [sp, #END]
    cmp     r0, r12
    bne     .Lback_4
.Lsums_4:
    ldr     r0, [sp, #WIDE]
    cmp     r0, #0
    bne     .Lwide_4
    load_multipliers
    .irp    acc, r2, r3, r4, r5
    requantize \acc, r10, r12, r0
    .endr
    .irp    acc, r6, r7, r8, r9
    requantize \acc, r11, lr, r0
    .endr
.Lstore_4:
    ldr     r0, [sp, #OUTPUT]
    ldr     r10, [sp, #CHANNELS]
    add     r11, r0, #2
    str     r11, [sp, #OUTPUT]
    add     r11, r10, r10, lsl #1
    strb    r2, [r0]
    strb    r3, [r0, r10]
    strb    r4, [r0, r10, lsl #1]
    strb    r5, [r0, r11]
    strb    r6, [r0, #1]!
    strb    r7, [r0, r10]
    strb    r8, [r0, r10, lsl #1]
    strb    r9, [r0, r11]
    ldr     r0, [sp, #PAIRS]
    subs    r0, r0, #1
    str     r0, [sp, #PAIRS]
    bne     .Lpair_4
    leave
.Lrest_4: /* the second block of weights */
    str     r12, [sp, #STOP]
    str     r1, [sp, #WEIGHTS]
    ldr     r1, [sp, #WEIGHTS_REST]
    ldr     r12, [sp, #ENTRY_REST]
    str     r12, [sp, #ENTRY]
    cmp     r0, r12
    beq     .Lgroups_4
    b       .Lsingles_4
.Lback_4:
    str     r12, [sp, #STOP]
    ldr     r12, [sp, #ENTRY_FIRST]
    str     r12, [sp, #ENTRY]
    str     r1, [sp, #WEIGHTS_REST]
    ldr     r1, [sp, #WEIGHTS]
    b       .Lsums_4
.Lwide_4:
    load_multipliers
    str     r1, [sp, #WEIGHTS]
    .irp    acc, r2, r3, r4, r5
    requantize_wide \acc, r10, r12, r0, r1
    .endr
    .irp    acc, r6, r7, r8, r9
    requantize_wide \acc, r11, lr, r0, r1
    .endr
    ldr     r1, [sp, #WEIGHTS]
    b       .Lstore_4
    .size   tk_block_4, . - tk_block_4

/* ---- one pixel ---- */

/* Two positions of one pixel and two channels. */
    .macro dot_1 x, w, a, b
    sxtb16  lr, \w
    smlad   \a, \x, lr, \a
    sxtb16  \w, \w, ror #8
    smlad   \b, \x, \w, \b
    .endm

/* Eight positions of one pixel and four channels: weights of a pair at r1, of the next at r2. */
    .macro dot_1x4
    ldm     r0!, {r7-r10}
    ldrd    r11, r12, [r1], #8
    dot_1   r7, r11, r3, r4
    dot_1   r8, r12, r3, r4
    ldrd    r11, r12, [r1], #8
    dot_1   r9, r11, r3, r4
    dot_1   r10, r12, r3, r4
    ldrd    r11, r12, [r2], #8
    dot_1   r7, r11, r5, r6
    dot_1   r8, r12, r5, r6
    ldrd    r11, r12, [r2], #8
    dot_1   r9, r11, r5, r6
    dot_1   r10, r12, r5, r6
    .endm

    .section .text.tk_block_1, "ax", %progbits
    .balign 4
    .global tk_block_1
    .type   tk_block_1, %function
    .thumb_func
tk_block_1:
    enter
    ldm     sp, {r0, r1, r2}
    str     r1, [sp, #STOP]
    entry   r3, r0, r1, 4
    str     r3, [sp, #ENTRY]
    str     r3, [sp, #ENTRY_FIRST]
    entry   r3, r1, r2, 4
    str     r3, [sp, #ENTRY_REST]
    ldr     r1, [sp, #WEIGHTS]
.Lfour_1: /* channels at a time; of a last pair the second two are computed for nothing */
    ldr     r7, [sp, #BIAS]
    ldr     r0, [sp, #PAIRS]
    ldrd    r3, r4, [r7]
    cmp     r0, #1
    beq     .Lstart_1
    ldrd    r5, r6, [r7, #8]
    add     r7, r7, #16
    str     r7, [sp, #BIAS]
.Lstart_1:
    ldrd    r0, r2, [sp, #PATCH] /* and END: as many bytes of weights are one pair's */
    sub     r2, r2, r0
    add     r2, r2, r1
.Lblock_1:
    ldr     r12, [sp, #PAIRS]
    cmp     r12, #1
    it      eq
    moveq   r2, r1
    ldr     r12, [sp, #ENTRY]
.Lsingles_1:
    cmp     r0, r12
    beq     .Lgroups_1
    ldr     r7, [r0], #4
    ldr     r8, [r1], #4
    ldr     r9, [r2], #4
    dot_1   r7, r8, r3, r4
    dot_1   r7, r9, r5, r6
    b       .Lsingles_1
.Lgroups_1:
    ldr     r12, [sp, #STOP]
    sub     r11, r12, r0
    tst     r11, #16
    beq     .Leven_1
    dot_1x4
.Leven_1:
    ldr     r12, [sp, #STOP]
    cmp     r0, r12
    beq     .Ldone_1
.Lloop_1:
    dot_1x4
    dot_1x4
    ldr     r12, [sp, #STOP]
    cmp     r0, r12
    bne     .Lloop_1
.Ldone_1:
    ldr     r12, [sp, #REST_END]
    cmp     r0, r12
    bne     .Lrest_1
    ldr     r12, [sp, #END]
    cmp     r0, r12
    bne     .Lback_1
    mov     r1, r2 /* where the next channels' weights begin */
.Lsums_1:
    str     r1, [sp, #WEIGHTS]
    load_multipliers
    ldr     r7, [sp, #WIDE]
    cmp     r7, #0
    bne     .Lwide_1
    requantize r3, r10, r12, r0
    requantize r4, r11, lr, r0
    ldr     r1, [sp, #OUTPUT]
    ldr     r2, [sp, #PAIRS]
    strb    r3, [r1]
    strb    r4, [r1, #1]
    subs    r2, r2, #1
    beq     .Lend_1
    load_multipliers
    requantize r5, r10, r12, r0
    requantize r6, r11, lr, r0
.Lsecond_1:
    strb    r5, [r1, #2]
    strb    r6, [r1, #3]
    add     r1, r1, #4
    subs    r2, r2, #1
    str     r1, [sp, #OUTPUT]
    str     r2, [sp, #PAIRS]
    ldr     r1, [sp, #WEIGHTS]
    bne     .Lfour_1
.Lend_1:
    leave
.Lrest_1: /* the second block of weights */
    str     r12, [sp, #STOP]
    ldr     r7, [sp, #ENTRY_REST]
    str     r7, [sp, #ENTRY]
    str     r2, [sp, #WEIGHTS]
    ldr     r1, [sp, #WEIGHTS_REST]
    sub     r2, r12, r0
    add     r2, r2, r1
    b       .Lblock_1
.Lback_1:
    str     r12, [sp, #STOP]
    ldr     r7, [sp, #ENTRY_FIRST]
    str     r7, [sp, #ENTRY]
    str     r2, [sp, #WEIGHTS_REST]
    ldr     r1, [sp, #WEIGHTS]
    b       .Lsums_1
.Lwide_1:
    requantize_wide r3, r10, r12, r0, r7
    requantize_wide r4, r11, lr, r0, r7
    ldr     r1, [sp, #OUTPUT]
    ldr     r2, [sp, #PAIRS]
    strb    r3, [r1]
    strb    r4, [r1, #1]
    subs    r2, r2, #1
    beq     .Lend_1
    load_multipliers
    requantize_wide r5, r10, r12, r0, r7
    requantize_wide r6, r11, lr, r0, r7
    b       .Lsecond_1
    .size   tk_block_1, . - tk_block_1
#endif
