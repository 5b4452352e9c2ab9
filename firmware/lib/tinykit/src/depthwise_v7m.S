/* Depthwise 3x3 convolutions for ARMv7-M and ARMv8-M without the DSP instructions: see
 * depthwise_packed.h and conv_block_v7m.S.  Two outputs take 24 or 30 instructions for their 18
 * products. */
#if defined(__thumb2__) && !(defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP)

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
#define LEFT 72        /* windows of a row */
#define FRAME 76

    .macro take_apart
    add     r8, r8, r10
    add     r9, r9, r10, asr #16
    .endm

/* A row of the window: its words to r2 - r4, its weights to r5 - r7. */
    .macro load_row
    ldm     r0, {r2-r4}
    ldm     r12!, {r5-r7}
    add     r0, r0, r11
    mla     r10, r2, r5, lr
    mla     r10, r3, r6, r10
    .endm

/* Any int32 \acc to an output: multiplier in r3, right shift less one in r4, 2 * zero point + 1 in
 * r5. */
    .macro requantize acc
    smull   r10, \acc, \acc, r3
    adds    r10, r10, #0x40000000
    adc     \acc, \acc, #0
    adds    r10, r10, r10
    adc     \acc, \acc, \acc
    add     \acc, \acc, \acc, asr #31
    asr     \acc, \acc, r4
    add     \acc, \acc, r5
    ssat    \acc, #8, \acc, asr #1
    .endm

    .section .text.tk_packed_3x3, "ax", %progbits
    .balign 4
    .global tk_packed_3x3
    .type   tk_packed_3x3, %function
    .thumb_func
tk_packed_3x3:
    push    {r4-r11, lr}
    sub     sp, sp, #FRAME
    ldm     r0!, {r2-r10}
    stm     sp, {r2-r10}
    ldm     r0, {r2-r9}
    add     r0, sp, #ROWS
    stm     r0, {r2-r9}
    ldr     r11, [sp, #ROW]
    ldr     r0, [sp, #STEP]
    add     r1, r11, r11, lsl #1
    sub     r0, r0, r1
    str     r0, [sp, #STEP]
    mov     lr, #0x8000
    mov     r0, #3 * 0x8000 /* sums of products, or twice as many */
    ldr     r1, [sp, #TOGETHER]
    cmp     r1, #0
    bne     .Lstarts
    lsl     r0, r0, #1
.Lstarts:
    ldr     r1, [sp, #START]
    add     r1, r1, r1, lsl #16
    sub     r1, r1, r0
    str     r1, [sp, #START_WORDS]
    ldr     r0, [sp, #PLANE]
    ldr     r1, [sp, #OUTPUT]
.Lrow:
    ldr     r2, [sp, #COLUMNS]
    str     r2, [sp, #LEFT]
.Lwindow:
    ldr     r12, [sp, #WEIGHTS]
    ldr     r8, [sp, #START_WORDS]
    ldr     r9, [sp, #START]
    ldr     r2, [sp, #TOGETHER]
    cmp     r2, #0
    beq     .Lapart
    .rept   3
    load_row
    mla     r10, r4, r7, r10
    take_apart
    .endr
.Lsums:
    ldr     r2, [sp, #APART]
    ldr     r3, [sp, #MULTIPLIER]
    ldrd    r4, r5, [sp, #SHIFT]
    ldr     r6, [sp, #STEP]
    add     r0, r0, r6
    sub     r8, r8, r9, lsl #16
    ldr     r6, [sp, #WIDE]
    cmp     r6, #0
    bne     .Lwide
    requantize r9
    requantize r8
.Lstore:
    strb    r9, [r1, r2]
    strb    r8, [r1]
    ldr     r2, [sp, #CHANNELS]
    add     r1, r1, r2
    ldr     r2, [sp, #LEFT]
    subs    r2, r2, #1
    str     r2, [sp, #LEFT]
    bne     .Lwindow
    ldrd    r2, r3, [sp, #NEXT_ROW]
    add     r0, r0, r2
    add     r1, r1, r3
    ldr     r2, [sp, #ROWS]
    subs    r2, r2, #1
    str     r2, [sp, #ROWS]
    bne     .Lrow
    add     sp, sp, #FRAME
    pop     {r4-r11, pc}
.Lapart: /* rows of weights whose products do not fit together: two and one */
    .rept   3
    load_row
    take_apart
    mla     r10, r4, r7, lr
    take_apart
    .endr
    b       .Lsums
.Lwide:
    mov     r4, r0
    mov     r5, r1
    mov     r6, r2
    mov     r0, sp
    mov     r1, r9
    bl      tk_packed_output
    mov     r9, r0
    mov     r0, sp
    mov     r1, r8
    bl      tk_packed_output
    mov     r8, r0
    mov     r0, r4
    mov     r1, r5
    mov     r2, r6
    mov     lr, #0x8000
    b       .Lstore
    .size   tk_packed_3x3, . - tk_packed_3x3
#endif
