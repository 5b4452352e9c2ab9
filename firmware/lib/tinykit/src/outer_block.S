/* Weight gradients of convolutions of one tap for ARMv7E-M and ARMv8-M with the DSP instructions:
 * sums over pixels of the gradients of two output channels times four inputs.  37 instructions for
 * 32 multiply-accumulates. */
#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP && defined(__thumb2__)

    .syntax unified
    .thumb

/* Two pixels: gradients at r0, r1 bytes apart; inputs at r2, a word of two for each channel. */
    .macro dot
    ldr     r12, [r0]
    ldr     lr, [r0, r1]
    add     r0, r0, r1, lsl #1
    pkhbt   r3, r12, lr, lsl #16
    pkhtb   lr, lr, r12, asr #16
    ldr     r12, [r2], #4
    smlad   r4, r3, r12, r4
    smlad   r8, lr, r12, r8
    ldr     r12, [r2], #4
    smlad   r5, r3, r12, r5
    smlad   r9, lr, r12, r9
    ldr     r12, [r2], #4
    smlad   r6, r3, r12, r6
    smlad   r10, lr, r12, r10
    ldr     r12, [r2], #4
    smlad   r7, r3, r12, r7
    smlad   r11, lr, r12, r11
    .endm

/* void tk_outer_2x4(const int16_t *g, int32_t step, const int16_t *x, const int16_t *end,
 *                   int32_t sums[2][4]): x and end a multiple of 16 bytes apart. */
    .section .text.tk_outer_2x4, "ax", %progbits
    .balign 4
    .global tk_outer_2x4
    .type   tk_outer_2x4, %function
    .thumb_func
tk_outer_2x4:
    push    {r3-r11, lr}
    ldr     lr, [sp, #40]
    sub     r3, r3, r2
    ldm     lr, {r4-r11}
    tst     r3, #16
    beq     .Lpairs
    dot     /* an odd number of pairs of pixels */
    b       .Lnext
.Lpairs:
    dot
    dot
.Lnext:
    ldr     r12, [sp]
    cmp     r2, r12
    bne     .Lpairs
    ldr     lr, [sp, #40]
    stm     lr, {r4-r11}
    pop     {r3-r11, pc}
    .size   tk_outer_2x4, . - tk_outer_2x4
#endif
