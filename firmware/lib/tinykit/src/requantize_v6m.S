/* Macros for the assembly of ARMv6-M, which includes this file: from a sum to an output, without a
 * long multiplication; registers that PUSH and POP cannot reach. */
#ifndef TINYKIT_REQUANTIZE_V6M_H
#define TINYKIT_REQUANTIZE_V6M_H

/* The sum in r0, below 2^30, to an int8: multiplier in r3 (lower half) and r4, right shift less one
 * in r5, 2 * zero point + 1 in r12, 2^14 in lr.  Spoils r1 and r2. */
    .macro requantize
    sxth    r1, r0
    subs    r0, r0, r1
    asrs    r0, r0, #16
    movs    r2, r1
    muls    r2, r3, r2
    asrs    r2, r2, #16
    muls    r1, r4, r1
    adds    r2, r2, r1
    movs    r1, r0
    muls    r1, r3, r1
    adds    r2, r2, r1
    muls    r0, r4, r0
    add     r2, r2, lr
    asrs    r2, r2, #15
    lsls    r0, r0, #1
    adds    r0, r0, r2 /* round(sum * multiplier / 2^31) */
    asrs    r1, r0, #31
    adds    r0, r0, r1
    asrs    r0, r0, r5
    add     r0, r0, r12
    asrs    r0, r0, #1
    sxtb    r1, r0
    cmp     r1, r0
    beq     .Lfits\@
    asrs    r0, r0, #31
    movs    r1, #127
    eors    r0, r0, r1
.Lfits\@:
    .endm

/* r8 … r11 to the stack, by way of r4 … r7, which are there already; and back. */
    .macro save_high
    mov     r4, r8
    mov     r5, r9
    mov     r6, r10
    mov     r7, r11
    push    {r4-r7}
    .endm

    .macro restore_high
    pop     {r4-r7}
    mov     r8, r4
    mov     r9, r5
    mov     r10, r6
    mov     r11, r7
    .endm

#endif
