/* Depthwise 3x3 convolutions for ARMv6-M: see depthwise_packed.h; the arithmetic is that of
 * conv_block_v6m.S, but each sum of products starts at 2^15 instead of looking at the carry.
 * Two outputs take 36 or 45 instructions for their 18 products. */
#if defined(__thumb__) && !defined(__thumb2__)
#include "requantize_v6m.S"

    .syntax unified
    .thumb

/* The stack frame: tk_packed_tile, then what is worked out once and what changes. */
#define PLANE 0
#define WEIGHTS 4
#define OUTPUT 8
#define APART 12
#define START 16
#define MULTIPLIER 20
#define SHIFT 24
#define TWICE_ZERO 28
#define CHANNELS 32
#define ROWS 36
#define COLUMNS 40
#define ROW 44
#define STEP 48 /* less the plane's rows that a window sees */
#define NEXT_ROW 52
#define NEXT 56
#define TOGETHER 60
#define WIDE 64
#define START_WORDS 68 /* of the words' sums */
#define HIGH 72        /* the multiplier's upper half */
#define LEFT 76        /* windows of a row */
#define FRAME 84

/* Takes the word \p apart: r10 is 2^15. */
    .macro take_apart p
    add     \p, \p, r10
    add     r8, r8, \p
    asrs    \p, \p, #16
    add     r9, r9, \p
    .endm

/* A row of the window; r11: bytes to the next one. */
    .macro products
    ldm     r0!, {r2-r4}
    ldm     r1!, {r5-r7}
    muls    r2, r5, r2
    muls    r3, r6, r3
    muls    r4, r7, r4
    adds    r2, r2, r3
    add     r0, r0, r11
    .endm

    .section .text.tk_packed_3x3, "ax", %progbits
    .balign 4
    .global tk_packed_3x3
    .type   tk_packed_3x3, %function
    .thumb_func
tk_packed_3x3:
    push    {r4-r7, lr}
    save_high
    sub     sp, sp, #FRAME
    mov     r1, sp
    ldm     r0!, {r2-r7}
    stm     r1!, {r2-r7}
    ldm     r0!, {r2-r7}
    stm     r1!, {r2-r7}
    ldm     r0!, {r2-r6}
    stm     r1!, {r2-r6}
    ldr     r0, [sp, #ROW]
    movs    r1, r0
    subs    r1, r1, #12
    mov     r11, r1
    ldr     r1, [sp, #STEP]
    subs    r1, r1, r0
    subs    r1, r1, r0
    subs    r1, r1, r0
    str     r1, [sp, #STEP]
    movs    r0, #1
    lsls    r1, r0, #14
    mov     lr, r1
    lsls    r1, r0, #15
    mov     r10, r1
    ldr     r2, [sp, #TOGETHER] /* 3 sums of products, or 6 */
    cmp     r2, #0
    bne     .Lstarts
    lsls    r1, r1, #1
.Lstarts:
    ldr     r0, [sp, #START]
    lsls    r2, r0, #16
    adds    r0, r0, r2
    subs    r0, r0, r1
    lsls    r1, r1, #1
    subs    r0, r0, r1
    str     r0, [sp, #START_WORDS]
    ldr     r0, [sp, #MULTIPLIER]
    lsrs    r1, r0, #16
    str     r1, [sp, #HIGH]
    ldr     r2, [sp, #WIDE]
    cmp     r2, #0
    bne     .Lwhole
    uxth    r0, r0
    str     r0, [sp, #MULTIPLIER]
.Lwhole:
    ldr     r0, [sp, #TWICE_ZERO]
    mov     r12, r0
    b       .Lrow
.Lapart: /* rows of weights whose products do not fit together: two and one */
    .rept   3
    products
    take_apart r2
    take_apart r4
    .endr
    b       .Lsums
.Lwide:
    ldr     r6, [sp, #OUTPUT]
    ldr     r7, [sp, #APART]
    movs    r1, r0
    mov     r0, sp
    bl      tk_packed_output
    strb    r0, [r6, r7]
    mov     r1, r8
    mov     r0, sp
    bl      tk_packed_output
    b       .Lstore
.Lrow:
    ldr     r0, [sp, #COLUMNS]
    str     r0, [sp, #LEFT]
    ldr     r0, [sp, #PLANE]
.Lwindow:
    ldr     r1, [sp, #WEIGHTS]
    ldr     r2, [sp, #START_WORDS]
    mov     r8, r2
    ldr     r2, [sp, #START]
    mov     r9, r2
    ldr     r2, [sp, #TOGETHER]
    cmp     r2, #0
    beq     .Lapart
    .rept   3
    products
    adds    r2, r2, r4
    take_apart r2
    .endr
.Lsums:
    ldr     r1, [sp, #STEP]
    adds    r0, r0, r1
    str     r0, [sp, #PLANE]
    mov     r0, r9
    lsls    r1, r0, #16
    mov     r2, r8
    subs    r2, r2, r1
    mov     r8, r2
    ldr     r1, [sp, #WIDE]
    cmp     r1, #0
    bne     .Lwide
    ldr     r3, [sp, #MULTIPLIER]
    ldr     r4, [sp, #HIGH]
    ldr     r5, [sp, #SHIFT]
    ldr     r6, [sp, #OUTPUT]
    ldr     r7, [sp, #APART]
    requantize
    strb    r0, [r6, r7]
    mov     r0, r8
    requantize
.Lstore:
    strb    r0, [r6]
    ldr     r7, [sp, #CHANNELS]
    adds    r6, r6, r7
    str     r6, [sp, #OUTPUT]
    ldr     r0, [sp, #PLANE]
    ldr     r1, [sp, #LEFT]
    subs    r1, r1, #1
    str     r1, [sp, #LEFT]
    beq     .Lrow_done
    b       .Lwindow
.Lrow_done:
    ldr     r1, [sp, #NEXT_ROW]
    adds    r0, r0, r1
    str     r0, [sp, #PLANE]
    ldr     r1, [sp, #NEXT]
    adds    r6, r6, r1
    str     r6, [sp, #OUTPUT]
    ldr     r1, [sp, #ROWS]
    subs    r1, r1, #1
    str     r1, [sp, #ROWS]
    beq     .Lleave
    b       .Lrow
.Lleave:
    add     sp, sp, #FRAME
    restore_high
    pop     {r4-r7, pc}
    .size   tk_packed_3x3, . - tk_packed_3x3
#endif
