/* ADD for ARMv6-M: what tk_add_loop() in add.c does, in 50 instructions an element. */
#if defined(__thumb__) && !defined(__thumb2__)
#include "requantize_v6m.S"

    .syntax unified
    .thumb

/* The stack frame: the part of sum_loop from `half_start` on. */
#define UPPER 4
#define LOWER 8
#define UPPER_START 12
#define LOWER_START 16
#define FRAME 20

    .section .text.tk_add_loop, "ax", %progbits
    .balign 4
    .global tk_add_loop
    .type   tk_add_loop, %function
    .thumb_func
tk_add_loop:
    push    {r4-r7, lr}
    save_high
    sub     sp, sp, #FRAME
    ldm     r0!, {r4-r7}
    mov     r8, r4
    mov     r9, r5
    mov     r10, r6
    rsbs    r7, r7, #0
    mov     r1, sp
    ldm     r0!, {r2-r6}
    stm     r1!, {r2-r6}
    mov     r11, r2
    ldm     r0!, {r3-r6}
    mov     r12, r6
    mov     r6, r3  /* the shift of `other` */
    movs    r3, #1
    lsls    r3, r3, #14
    mov     lr, r3
    uxth    r3, r4
    lsrs    r4, r4, #16
.Lelement:
    mov     r1, r9
    ldrsb   r0, [r1, r7]
    ldr     r1, [sp, #LOWER]
    muls    r1, r0, r1
    ldr     r2, [sp, #LOWER_START]
    adds    r1, r1, r2
    asrs    r1, r1, #11
    ldr     r2, [sp, #UPPER]
    muls    r0, r2, r0
    adds    r0, r0, r1
    ldr     r1, [sp, #UPPER_START]
    adds    r0, r0, r1
    asrs    r1, r0, #31
    adds    r0, r0, r1
    asrs    r0, r0, r6
    adds    r0, r0, #1
    asrs    r0, r0, #1
    mov     r1, r8
    ldrsb   r1, [r1, r7]
    lsls    r1, r1, #19
    adds    r0, r0, r1
    add     r0, r0, r11
    requantize
    mov     r1, r10
    strb    r0, [r1, r7]
    adds    r7, r7, #1
    bne     .Lelement
    add     sp, sp, #FRAME
    restore_high
    pop     {r4-r7, pc}
    .size   tk_add_loop, . - tk_add_loop
#endif
