/* Blocks of a convolution with Helium (conv2d_mve.c). */
#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)
    .syntax unified
    .thumb

/* tk_mve_block, and where it lies on the stack. */
    .equ    X, 0
    .equ    CHUNKS, 4
    .equ    OUTPUT, 8
    .equ    END, 12
    .equ    SKIP, 16
    .equ    STEP, 20
    .equ    FRAME, 24

/* Sums: r0, r2, r4, r6 the pixels with the first channel of a pair, r8, r10, r12, r14 with the
 * second one.  r1: patch, r3: weights, r5: chunks left, r7: biases, r9: multipliers, r11: shifts.
 * q4: lowest output, q5: highest, q6: where the outputs lie, q7: zero point. */
    .section .text.tk_mve_block_4, "ax", %progbits
    .balign 4
    .global tk_mve_block_4
    .type   tk_mve_block_4, %function
    .thumb_func
tk_mve_block_4:
    push    {r4-r11, lr}
    vpush   {d8-d15}
    sub     sp, sp, #FRAME
    ldm     r0!, {r1-r6}
    stm     sp, {r1-r6}
    ldm     r0!, {r3, r7, r9, r11}
    ldm     r0, {r2, r4, r6, r8}
    vdup.16 q4, r2
    vdup.16 q5, r4
    vdup.16 q7, r6
    movs    r0, #0
    vidup.u16 q6, r0, #1
    vshr.u16 q0, q6, #1
    movs    r0, #1
    vdup.16 q1, r0
    vand    q6, q6, q1
    vmla.u16 q6, q0, r8
.Lpair:
    ldrd    r0, r8, [r7], #8
    ldrd    r1, r5, [sp, #X]
    mov     r2, r0
    mov     r4, r0
    mov     r6, r0
    mov     r10, r8
    mov     r12, r8
    mov     r14, r8
.Lchunk:
    vld20.8 {q0, q1}, [r3]
    vld21.8 {q0, q1}, [r3]!
    vldrb.8 q2, [r1, #16]
    vmladava.s8 r2, q2, q0
    vmladava.s8 r10, q2, q1
    vldrb.8 q3, [r1, #32]
    vmladava.s8 r4, q3, q0
    vmladava.s8 r12, q3, q1
    vldrb.8 q2, [r1, #48]
    vmladava.s8 r6, q2, q0
    vmladava.s8 r14, q2, q1
    vldrb.8 q3, [r1], #64
    vmladava.s8 r0, q3, q0
    vmladava.s8 r8, q3, q1
    subs    r5, r5, #1
    bne     .Lchunk
    vmov    q0[2], q0[0], r0, r4
    vmov    q0[3], q0[1], r2, r6
    vmov    q1[2], q1[0], r8, r12
    vmov    q1[3], q1[1], r10, r14
    ldrd    r0, r2, [r9]
    vqrdmulh.s32 q0, q0, r0
    vqrdmulh.s32 q1, q1, r2
    movs    r0, #1
    vqdmlah.s32 q0, q0, r0 /* x + (x >> 31) */
    vqdmlah.s32 q1, q1, r0
    ldrsb   r0, [r11]
    ldrsb   r2, [r11, #1]
    vrshl.s32 q0, r0
    vrshl.s32 q1, r2
    ldrd    r4, r5, [sp, #SKIP]
    vqmovnb.s32 q0, q0
    vqmovnt.s32 q0, q1
    add     r3, r3, r4
    add     r9, r9, r5
    vqadd.s16 q0, q0, q7
    add     r11, r11, r5, lsr #2
    ldrd    r1, r2, [sp, #OUTPUT]
    vmax.s16 q0, q0, q4
    vmin.s16 q0, q0, q5
    vstrb.16 q0, [r1, q6]
    adds    r1, r1, #2
    str     r1, [sp, #OUTPUT]
    cmp     r1, r2
    bne     .Lpair
    add     sp, sp, #FRAME
    vpop    {d8-d15}
    pop     {r4-r11, pc}
    .size   tk_mve_block_4, . - tk_mve_block_4
#endif
