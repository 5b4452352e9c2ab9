/* Blocks of a convolution for ARMv6-M (Thumb-1): what block_pairs() in conv2d.c computes.
 *
 * A packed patch holds two pixels in a word, x0 + 65536 * x1, so that one MULS makes two products.
 * The sum of as many products as fit in int16 is taken apart at once: ASRS by 16 leaves the upper
 * one, short by 1 if the lower one is negative, and the carry, which ADCS adds, says just that.
 * The whole words are summed, too: the lower pixel's sum is what remains of theirs after
 * 65536 times the upper pixel's, modulo 2^32 as int32 sums wrap anyway.
 *
 * Four pixels x one channel: 2.3 instructions for a multiply-accumulate, or 3.1 where the products
 * of two positions do not fit in int16 together; one pixel x four channels: 3.6. */
#if defined(__thumb__) && !defined(__thumb2__)
#include "requantize_v6m.S"

    .syntax unified
    .thumb

/* The stack frame: tk_block, then what is worked out once and what changes. */
#define PATCH 0
#define END 4
#define REST_END 8
#define WEIGHTS 12
#define WEIGHTS_REST 16
#define BIAS 20
#define MULTIPLIER 24
#define SHIFT 28
#define OUTPUT 32
#define STEP 36 /* halved: from channel to channel */
#define TWICE_ZERO 40
#define CHANNELS 44
#define WIDE 52
#define NEIGHBOURS 56
#define SUMS 60  /* of four pixels */
#define NEXT 76  /* bytes from this channel's weights to the next one's: 1, or the rest of … */
#define BYTES 80 /* … a pair's */
#define NEXT_REST 84
#define BYTES_REST 88
#define LEFT 92  /* channels */
#define ENTRY 96 /* where the groups of eight positions begin */
#define ENTRY_REST 100
#define FRAME 108

/* The next position's weight, \at bytes behind r1. */
    .macro weight at
    ldrb    r7, [r1, #\at]
    sxtb    r7, r7
    .endm

/* Takes the words r4 (pixels 0, 1) and r5 (pixels 2, 3) apart. */
    .macro take_apart
    add     r8, r8, r4
    asrs    r4, r4, #16
    adcs    r2, r2, r4
    add     r9, r9, r5
    asrs    r5, r5, #16
    adcs    r3, r3, r5
    .endm

/* Two positions whose products fit in int16 together. */
    .macro two_positions at
    weight  \at
    ldm     r0!, {r4-r6}
    muls    r4, r7, r4
    muls    r5, r7, r5
    weight  \at + 2
    muls    r6, r7, r6
    adds    r4, r4, r6
    ldm     r0!, {r6}
    muls    r6, r7, r6
    adds    r5, r5, r6
    take_apart
    .endm

    .macro one_position at
    weight  \at
    ldm     r0!, {r4, r5}
    muls    r4, r7, r4
    muls    r5, r7, r5
    take_apart
    .endm

/* Weights at \weights, then points there to the next channel's. */
    .macro load_weights weights, next, bytes
    ldr     r1, [sp, #\weights]
    ldr     r7, [sp, #\next]
    adds    r6, r1, r7
    str     r6, [sp, #\weights]
    ldr     r6, [sp, #\bytes]
    subs    r6, r6, r7
    str     r6, [sp, #\next]
    .endm

/* ---- four pixels ---- */

    .section .text.tk_block_4, "ax", %progbits
    .balign 4
    .global tk_block_4
    .type   tk_block_4, %function
    .thumb_func
tk_block_4:
    push    {r4-r7, lr}
    save_high
    sub     sp, sp, #FRAME
    mov     r1, sp
    ldm     r0!, {r2-r6}
    stm     r1!, {r2-r6}
    ldm     r0!, {r2-r6}
    stm     r1!, {r2-r6}
    ldm     r0!, {r2-r6}
    stm     r1!, {r2-r6}
    ldr     r0, [sp, #PATCH]
    ldr     r1, [sp, #END]
    ldr     r2, [sp, #REST_END]
    movs    r6, #63
    subs    r3, r1, r0
    lsrs    r4, r3, #2
    str     r4, [sp, #BYTES]
    ands    r3, r3, r6
    adds    r3, r3, r0
    str     r3, [sp, #ENTRY]
    subs    r3, r2, r1
    lsrs    r4, r3, #2
    str     r4, [sp, #BYTES_REST]
    ands    r3, r3, r6
    adds    r3, r3, r1
    str     r3, [sp, #ENTRY_REST]
    movs    r0, #1
    str     r0, [sp, #NEXT]
    str     r0, [sp, #NEXT_REST]
    lsls    r0, r0, #14
    mov     lr, r0
    ldr     r0, [sp, #TWICE_ZERO]
    mov     r12, r0
    ldr     r0, [sp, #STEP]
    lsrs    r0, r0, #1
    str     r0, [sp, #STEP]
    ldr     r0, [sp, #CHANNELS]
    str     r0, [sp, #LEFT]
.Lchannel:
    ldr     r4, [sp, #BIAS]
    ldm     r4!, {r2}
    str     r4, [sp, #BIAS]
    movs    r3, r2
    lsls    r4, r2, #16
    adds    r4, r4, r2
    mov     r8, r4
    mov     r9, r4
    load_weights WEIGHTS, NEXT, BYTES
    ldr     r0, [sp, #PATCH]
    ldr     r7, [sp, #END]
    mov     r10, r7
    ldr     r7, [sp, #ENTRY]
.Lpositions: /* from r0 on, in twos up to r7, then in eights up to r10 */
    ldr     r6, [sp, #NEIGHBOURS]
    cmp     r6, #0
    bne     .Ltogether
    b       .Lapart
.Ltogether:
    cmp     r0, r7
    beq     .Lgroups
    mov     r11, r7
.Ltwos:
    two_positions 0
    adds    r1, r1, #4
    cmp     r0, r11
    bne     .Ltwos
.Lgroups:
    cmp     r0, r10
    beq     .Ldone
.Leights:
    two_positions 0
    two_positions 4
    two_positions 8
    two_positions 12
    adds    r1, r1, #16
    cmp     r0, r10
    bne     .Leights
.Ldone:
    ldr     r7, [sp, #REST_END]
    cmp     r0, r7
    beq     .Lsums
    mov     r10, r7
    load_weights WEIGHTS_REST, NEXT_REST, BYTES_REST
    ldr     r7, [sp, #ENTRY_REST]
    b       .Lpositions
.Lapart: /* products that do not fit together */
    cmp     r0, r10
    beq     .Ldone
.Lones:
    one_position 0
    one_position 2
    adds    r1, r1, #4
    cmp     r0, r10
    bne     .Lones
    b       .Ldone
.Lwide: /* any sums, any shifts */
    str     r0, [sp, #SUMS]
    str     r2, [sp, #SUMS + 4]
    str     r6, [sp, #SUMS + 8]
    str     r3, [sp, #SUMS + 12]
    mov     r0, sp
    add     r1, sp, #SUMS
    bl      tk_block_channel
    b       .Lnext
.Lsums: /* of the four pixels: r0, r2, r6, r3 */
    lsls    r4, r2, #16
    mov     r0, r8
    subs    r0, r0, r4
    lsls    r4, r3, #16
    mov     r6, r9
    subs    r6, r6, r4
    ldr     r4, [sp, #WIDE]
    cmp     r4, #0
    bne     .Lwide
    mov     r8, r2
    mov     r9, r6
    mov     r10, r3
    ldr     r1, [sp, #MULTIPLIER]
    ldr     r3, [r1]
    ldr     r2, [sp, #STEP]
    adds    r1, r1, r2
    str     r1, [sp, #MULTIPLIER]
    ldr     r1, [sp, #SHIFT]
    movs    r5, #0
    ldrsb   r5, [r1, r5]
    mvns    r5, r5
    lsrs    r2, r2, #2
    adds    r1, r1, r2
    str     r1, [sp, #SHIFT]
    lsrs    r4, r3, #16
    uxth    r3, r3
    ldr     r6, [sp, #OUTPUT]
    adds    r7, r6, #1
    str     r7, [sp, #OUTPUT]
    ldr     r7, [sp, #CHANNELS]
    requantize
    strb    r0, [r6]
    .irp    sum, r8, r9, r10
    mov     r0, \sum
    adds    r6, r6, r7
    requantize
    strb    r0, [r6]
    .endr
.Lnext:
    ldr     r0, [sp, #LEFT]
    subs    r0, r0, #1
    str     r0, [sp, #LEFT]
    beq     .Lleave
    b       .Lchannel
.Lleave:
    add     sp, sp, #FRAME
    restore_high
    pop     {r4-r7, pc}
    .size   tk_block_4, . - tk_block_4

/* ---- one pixel ---- */

/* A position of one pixel and four channels, at index r5 of the inputs and the weights. */
    .macro position
    ldrsh   r6, [r0, r5]
    ldrsb   r7, [r1, r5]
    muls    r7, r6, r7
    add     r8, r8, r7
    ldrsb   r7, [r2, r5]
    muls    r7, r6, r7
    add     r9, r9, r7
    ldrsb   r7, [r3, r5]
    muls    r7, r6, r7
    add     r10, r10, r7
    ldrsb   r7, [r4, r5]
    muls    r7, r6, r7
    add     r11, r11, r7
    adds    r5, r5, #2
    .endm

/* r0: end of the inputs, r1, r2: ends of two pairs' weights, r3: bytes of the inputs, negative;
 * on the stack: the sums of four channels, to which it adds. */
    .section .text.tk_dot_4, "ax", %progbits
    .balign 4
    .global tk_dot_4
    .type   tk_dot_4, %function
    .thumb_func
tk_dot_4:
    push    {r4-r7, lr}
    save_high
    ldr     r4, [sp, #36]
    ldm     r4!, {r5-r7}
    mov     r8, r5
    mov     r9, r6
    mov     r10, r7
    ldr     r5, [r4]
    mov     r11, r5
    movs    r5, r3
    movs    r3, r2
    adds    r2, r1, #1
    adds    r4, r3, #1
.Ltwo: /* until a multiple of 16 positions is left */
    lsls    r7, r5, #27
    beq     .Lsixteen
    position
    position
    bne     .Ltwo
    b       .Lstore
.Lsixteen:
    .rept   16
    position
    .endr
    beq     .Lstore
    b       .Lsixteen
.Lstore:
    ldr     r0, [sp, #36]
    mov     r4, r8
    mov     r5, r9
    mov     r6, r10
    mov     r7, r11
    stm     r0!, {r4-r7}
    restore_high
    pop     {r4-r7, pc}
    .size   tk_dot_4, . - tk_dot_4

/* r0: tk_block, whose multiplier, shift and output move on, with a halved step; r1: sums, r2: how
 * many, all of channels of one pixel. */
    .section .text.tk_block_outputs, "ax", %progbits
    .balign 4
    .global tk_block_outputs
    .type   tk_block_outputs, %function
    .thumb_func
tk_block_outputs:
    push    {r0, r4-r7, lr}
    save_high
    movs    r7, r1
    ldr     r6, [r0, #OUTPUT]
    adds    r2, r2, r6
    mov     r11, r2
    ldr     r1, [r0, #MULTIPLIER]
    mov     r8, r1
    ldr     r1, [r0, #SHIFT]
    mov     r9, r1
    ldr     r1, [r0, #STEP]
    mov     r10, r1
    ldr     r1, [r0, #TWICE_ZERO]
    mov     r12, r1
    movs    r0, #1
    lsls    r0, r0, #14
    mov     lr, r0
.Loutput:
    mov     r1, r8
    ldr     r3, [r1]
    add     r8, r8, r10
    mov     r1, r9
    movs    r5, #0
    ldrsb   r5, [r1, r5]
    mvns    r5, r5
    mov     r2, r10
    lsrs    r2, r2, #2
    add     r9, r9, r2
    lsrs    r4, r3, #16
    uxth    r3, r3
    ldm     r7!, {r0}
    requantize
    strb    r0, [r6]
    adds    r6, r6, #1
    cmp     r6, r11
    bne     .Loutput
    ldr     r0, [sp, #16]
    str     r6, [r0, #OUTPUT]
    mov     r1, r8
    str     r1, [r0, #MULTIPLIER]
    mov     r1, r9
    str     r1, [r0, #SHIFT]
    restore_high
    pop     {r0, r4-r7, pc}
    .size   tk_block_outputs, . - tk_block_outputs

/* ---- filling patches ---- */

/* r0: to, r1, r2: ends of two pixels' inputs, r3: how many, negative; on the stack: what is added
 * to each word. */
    .section .text.tk_packed_fours, "ax", %progbits
    .balign 4
    .global tk_packed_fours
    .type   tk_packed_fours, %function
    .thumb_func
tk_packed_fours:
    push    {r4-r6, lr}
    ldr     r6, [sp, #16]
.Lfour:
    .irp    at, 0, 8, 16, 24
    ldrsb   r4, [r1, r3]
    ldrsb   r5, [r2, r3]
    lsls    r5, r5, #16
    adds    r4, r4, r5
    adds    r4, r4, r6
    str     r4, [r0, #\at]
    .if     \at == 24
    adds    r0, r0, #32
    .endif
    adds    r3, r3, #1
    .endr
    bne     .Lfour
    pop     {r4-r6, pc}
    .size   tk_packed_fours, . - tk_packed_fours
#endif
