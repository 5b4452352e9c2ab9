/* The gradients of four pixels' inputs for ARMv7E-M and ARMv8-M with the DSP instructions: what
 * block_plain() in pointwise_grad.c computes.  17 instructions for 16 multiply-accumulates. */
#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP && defined(__thumb2__)

    .syntax unified
    .thumb

/* The stack frame: tk_grad_block. */
#define PATCH 0
#define END 4
#define WEIGHTS 8
#define STEP 12
#define OUTPUT 16
#define CHANNEL_BYTES 20 /* behind OUTPUT: loaded together */
#define PAIRS 24
#define ROUND 28
#define SHIFT 32
#define FRAME 36

/* Two output channels: their gradients of four pixels times their weights at two positions. */
    .macro dot
    ldr     r12, [r1]
    ldr     r10, [sp, #STEP]
    add     r1, r1, r10
    sxtb16  lr, r12
    sxtb16  r12, r12, ror #8
    pkhbt   r10, lr, r12, lsl #16
    pkhtb   r12, r12, lr, asr #16
    ldrd    r11, lr, [r0], #16
    smlad   r2, r11, r10, r2
    smlad   r6, r11, r12, r6
    smlad   r3, lr, r10, r3
    smlad   r7, lr, r12, r7
    ldrd    r11, lr, [r0, #-8]
    smlad   r4, r11, r10, r4
    smlad   r8, r11, r12, r8
    smlad   r5, lr, r10, r5
    smlad   r9, lr, r12, r9
    .endm

/* Two sums to a word of two int16. */
    .macro round_pair low, high
    asr     \low, \low, r10
    asr     \high, \high, r10
    ssat    \low, #16, \low
    ssat    \high, #16, \high
    pkhbt   \low, \low, \high, lsl #16
    .endm

    .section .text.tk_grad_block_4, "ax", %progbits
    .balign 4
    .global tk_grad_block_4
    .type   tk_grad_block_4, %function
    .thumb_func
tk_grad_block_4:
    push    {r4-r11, lr}
    sub     sp, sp, #FRAME
    ldm     r0, {r1-r9}
    stm     sp, {r1-r9}
    mov     r0, #0
    msr     APSR_nzcvq, r0 /* SSAT will set Q where it saturates */
.Lpair:
    ldr     r2, [sp, #ROUND]
    ldr     r1, [sp, #WEIGHTS]
    mov     r3, r2
    mov     r4, r2
    mov     r5, r2
    mov     r6, r2
    mov     r7, r2
    mov     r8, r2
    mov     r9, r2
    ldrd    r0, r10, [sp, #PATCH]
    sub     r10, r10, r0
    tst     r10, #16
    beq     .Lloop
    dot     /* an odd number of pairs of output channels */
    ldr     r10, [sp, #END]
    cmp     r0, r10
    beq     .Ldone
.Lloop:
    dot
    dot
    ldr     r10, [sp, #END]
    cmp     r0, r10
    bne     .Lloop
.Ldone:
    ldr     r10, [sp, #SHIFT]
    round_pair r2, r6
    round_pair r3, r7
    round_pair r4, r8
    round_pair r5, r9
    ldrd    r11, lr, [sp, #OUTPUT]
    str     r2, [r11]
    str     r3, [r11, lr]
    str     r4, [r11, lr, lsl #1]
    add     r12, lr, lr, lsl #1
    str     r5, [r11, r12]
    add     r11, r11, #4
    str     r11, [sp, #OUTPUT]
    ldr     r10, [sp, #WEIGHTS]
    add     r10, r10, #4
    str     r10, [sp, #WEIGHTS]
    ldr     r10, [sp, #PAIRS]
    subs    r10, r10, #1
    str     r10, [sp, #PAIRS]
    bne     .Lpair
    mrs     r0, APSR
    ubfx    r0, r0, #27, #1
    add     sp, sp, #FRAME
    pop     {r4-r11, pc}
    .size   tk_grad_block_4, . - tk_grad_block_4
#endif
