/* A row of a depthwise convolution's input gradients for ARMv7E-M and ARMv8-M with the DSP
 * instructions: what row_plain() in gradient_planes.c computes, but for the count of saturations.
 * Two neighbours take 10 to 16 instructions of products for a row of their windows. */
#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP && defined(__thumb2__)

    .syntax unified
    .thumb

/* The stack frame: tk_gradient_row, then what changes from channel to channel. */
#define PLANES 0
#define WORDS 4 /* with the next two: loaded together */
#define MULTIPLIER 8
#define OUTPUT 12
#define STEP 16
#define WORDS_BYTES 20
#define PLANE_BYTES 24
#define CHANNEL_BYTES 28
#define WIDTH 32
#define LEFT 36
#define WORDS_ROW 40
#define M 44
#define WORDS_END 48
#define AT 52
#define Y 56
#define COUNT 60
#define CHANNELS_LEFT 64
#define FRAME 68

/* All rows of the windows of two neighbours: sums r12 and lr, columns r0, words r1. */
    .macro rows n, done
.Lrows\n:
    ldrd    r10, r11, [r0]
    .if \n == 2
    ldm     r1, {r2-r5}
    .elseif \n == 3
    ldm     r1, {r2-r7}
    .else
    ldm     r1, {r2-r9}
    .endif
    add     r1, r1, #32 * \n
    smlad   r12, r10, r2, r12
    smlad   lr, r10, r3, lr
    smlad   r12, r11, r4, r12
    smlad   lr, r11, r5, lr
    .if \n == 3
    ldr     r10, [r0, #8]
    .endif
    .if \n == 4
    ldrd    r10, r11, [r0, #8]
    .endif
    .if \n >= 3
    smlad   r12, r10, r6, r12
    smlad   lr, r10, r7, lr
    .endif
    .if \n == 4
    smlad   r12, r11, r8, r12
    smlad   lr, r11, r9, lr
    ldr     r8, [sp, #STEP]
    ldr     r9, [sp, #WORDS_END]
    .endif
    add     r0, r0, r8
    cmp     r1, r9
    bne     .Lrows\n
    .ifnc   \done, here
    b       \done
    .endif
    .endm

    .section .text.tk_gradient_row_4, "ax", %progbits
    .balign 4
    .global tk_gradient_row_4
    .type   tk_gradient_row_4, %function
    .thumb_func
tk_gradient_row_4:
    push    {r4-r11, lr}
    sub     sp, sp, #FRAME
    ldm     r0, {r1-r11}
    stm     sp, {r1-r11}
    mov     r0, #0
    msr     APSR_nzcvq, r0 /* SSAT will set Q where it saturates */
    mov     r0, #4
    str     r0, [sp, #CHANNELS_LEFT]
.Lchannel:
    ldr     r0, [sp, #PLANES]
    add     r1, sp, #WORDS
    ldm     r1, {r1-r3}
    ldr     r4, [sp, #WORDS_BYTES]
    ldr     r2, [r2]
    add     r4, r4, r1
    str     r4, [sp, #WORDS_END]
    str     r2, [sp, #M]
    str     r3, [sp, #Y]
    ldr     r2, [sp, #WIDTH]
    str     r2, [sp, #COUNT]
.Lpair:
    str     r0, [sp, #AT]
    ldr     r2, [sp, #WORDS_ROW]
    mov     r12, #0
    mov     lr, #0
    ldr     r8, [sp, #STEP]
    ldr     r9, [sp, #WORDS_END]
    cmp     r2, #3
    beq     .Lrows3
    bgt     .Lrows4
    rows    2, .Lsums
    rows    3, .Lsums
    rows    4, here
.Lsums:
    ldr     r2, [sp, #LEFT]
    ldr     r3, [sp, #M]
    ldr     r5, [sp, #Y]
    ldr     r6, [sp, #CHANNEL_BYTES]
    lsl     r12, r12, r2
    lsl     lr, lr, r2
    smmulr  r12, r12, r3
    smmulr  lr, lr, r3
    ldr     r7, [sp, #COUNT]
    ssat    r12, #16, r12
    ssat    lr, #16, lr
    strh    r12, [r5]
    subs    r7, r7, #2
    bmi     .Lnext
    strh    lr, [r5, r6]
    beq     .Lnext
    add     r5, r5, r6, lsl #1
    str     r5, [sp, #Y]
    str     r7, [sp, #COUNT]
    ldr     r0, [sp, #AT]
    ldr     r1, [sp, #WORDS]
    add     r0, r0, #4
    b       .Lpair
.Lnext:
    ldrd    r0, r1, [sp, #PLANES]
    ldrd    r2, r3, [sp, #MULTIPLIER]
    ldr     r4, [sp, #PLANE_BYTES]
    ldr     r5, [sp, #WORDS_ROW]
    add     r0, r0, r4
    add     r1, r1, r5, lsl #3
    add     r2, r2, #4
    add     r3, r3, #2
    stm     sp, {r0-r3}
    ldr     r4, [sp, #CHANNELS_LEFT]
    subs    r4, r4, #1
    str     r4, [sp, #CHANNELS_LEFT]
    bne     .Lchannel
    mrs     r0, APSR
    ubfx    r0, r0, #27, #1
    add     sp, sp, #FRAME
    pop     {r4-r11, pc}
    .size   tk_gradient_row_4, . - tk_gradient_row_4
#endif
