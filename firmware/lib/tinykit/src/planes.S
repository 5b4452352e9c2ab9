/* Depthwise convolutions of stride 1 or 2 for ARMv7E-M and ARMv8-M with the DSP instructions: what
 * tk_planes_channel() in planes.h computes.  Two outputs of a channel take 5 to 8 instructions of
 * products for a row of their windows. */
#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP && defined(__thumb2__)

    .syntax unified
    .thumb

/* The stack frame: tk_tile, then what changes from channel to channel (C_…). */
#define PLANES 0
#define WORDS 4
#define BIAS 8
#define MULTIPLIER 12
#define SHIFT 16
#define OUTPUT 20
#define STEP 24
#define TWICE_ZERO 28
#define CHANNELS 32 /* behind TWICE_ZERO: loaded together */
#define PAIRS 36
#define SINGLES 40
#define WIDE 44
#define ROW 40 /* bytes of a plane's row */
#define PLANE_BYTES 48
#define WORDS_BYTES 52
#define WORDS_ROW 56 /* of an output pair's words in a kernel row: 2, 3 or 4 */
#define C_MULTIPLIER 60
#define C_SHIFT 64 /* behind C_MULTIPLIER: loaded together; right shift less one */
#define C_START 68 /* this channel's bias */
#define C_WORDS_END 72
#define C_X 76 /* columns of the outputs at hand */
#define C_Y 80
#define C_COUNT 84 /* outputs left of the channel */
#define C_LEFT 88  /* channels left */
#define C_FRAME 92

/* A kernel row for two outputs, r12 and lr, by \n words of columns. */
    .macro words_2 n
    ldrd    r10, r11, [r0]
    .if \n == 2
    ldm     r1!, {r2-r5}
    .elseif \n == 3
    ldm     r1!, {r2-r7}
    .else
    ldm     r1!, {r2-r9}
    .endif
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
    .endif
    .endm

/* The same for one output. */
    .macro words_1 n
    ldrd    r10, r11, [r0]
    .if \n == 2
    ldm     r1!, {r2-r3}
    .elseif \n == 3
    ldm     r1!, {r2-r4}
    .else
    ldm     r1!, {r2-r5}
    .endif
    smlad   r12, r10, r2, r12
    smlad   r12, r11, r3, r12
    .if \n == 3
    ldr     r10, [r0, #8]
    .endif
    .if \n == 4
    ldrd    r10, r11, [r0, #8]
    .endif
    .if \n >= 3
    smlad   r12, r10, r4, r12
    .endif
    .if \n == 4
    smlad   r12, r11, r5, r12
    .endif
    .endm

/* All kernel rows: the loop for \n words. */
    .macro rows words, n, done
.L\words\n:
    \words \n
    ldr     r10, [sp, #C_WORDS_END]
    add     r0, r0, #ROW
    cmp     r1, r10
    bne     .L\words\n
    .ifnc   \done, here
    b       \done
    .endif
    .endm

/* \acc to an output: multiplier r2, right shift less one r3, 2 * zero point + 1 r4. */
    .macro to_output acc
    lsl     \acc, \acc, #1
    smmulr  \acc, \acc, r2
    add     \acc, \acc, \acc, asr #31
    asr     \acc, \acc, r3
    add     \acc, \acc, r4
    ssat    \acc, #8, \acc, asr #1
    .endm

    .macro to_output_wide acc
    smull   r5, \acc, \acc, r2
    adds    r5, r5, #0x40000000
    adc     \acc, \acc, #0
    adds    r5, r5, r5
    adc     \acc, \acc, \acc
    add     \acc, \acc, \acc, asr #31
    asr     \acc, \acc, r3
    add     \acc, \acc, r4
    ssat    \acc, #8, \acc, asr #1
    .endm

    .section .text.tk_planes_any, "ax", %progbits
    .balign 4
    .global tk_planes_any
    .type   tk_planes_any, %function
    .thumb_func
tk_planes_any:
    push    {r4-r11, lr}
    sub     sp, sp, #C_FRAME
    ldm     r0!, {r1-r8}
    stm     sp, {r1-r8}
    ldm     r0, {r2-r8}
    add     r0, sp, #TWICE_ZERO + 4
    stm     r0, {r2-r8}
    mov     r0, #4
    str     r0, [sp, #C_LEFT]
.Lg_channel:
    ldr     r0, [sp, #BIAS]
    ldr     r2, [r0], #4
    str     r0, [sp, #BIAS]
    str     r2, [sp, #C_START]
    ldr     r4, [sp, #STEP]
    ldr     r0, [sp, #MULTIPLIER]
    ldr     r2, [r0]
    add     r0, r0, r4
    str     r0, [sp, #MULTIPLIER]
    ldr     r0, [sp, #SHIFT]
    ldrsb   r3, [r0]
    add     r0, r0, r4, lsr #2
    str     r0, [sp, #SHIFT]
    mvn     r3, r3
    strd    r2, r3, [sp, #C_MULTIPLIER]
    ldr     r0, [sp, #WORDS]
    ldr     r2, [sp, #WORDS_BYTES]
    add     r0, r0, r2
    str     r0, [sp, #C_WORDS_END]
    ldr     r0, [sp, #OUTPUT]
    str     r0, [sp, #C_Y]
    add     r0, r0, #1
    str     r0, [sp, #OUTPUT]
    ldrd    r2, r3, [sp, #PAIRS]
    add     r2, r3, r2, lsl #1
    str     r2, [sp, #C_COUNT]
    ldr     r0, [sp, #PLANES]
    ldr     r2, [sp, #PLANE_BYTES]
    add     r2, r0, r2
    str     r2, [sp, #PLANES]
.Lg_outputs:
    str     r0, [sp, #C_X]
    ldr     r12, [sp, #C_START]
    ldr     r1, [sp, #WORDS]
    ldr     r2, [sp, #PAIRS]
    ldr     r3, [sp, #WORDS_ROW]
    cmp     r2, #0
    beq     .Lg_one
    mov     lr, r12
    cmp     r3, #3
    beq     .Lwords_23
    bgt     .Lwords_24
    rows    words_2, 2, .Lg_two_done
    rows    words_2, 3, .Lg_two_done
    rows    words_2, 4, here
.Lg_two_done:
    ldrd    r2, r3, [sp, #C_MULTIPLIER]
    ldr     r0, [sp, #WIDE]
    ldr     r4, [sp, #TWICE_ZERO]
    cmp     r0, #0
    bne     .Lg_wide_2
    to_output r12
    to_output lr
.Lg_store_2:
    ldr     r5, [sp, #C_Y]
    ldr     r6, [sp, #CHANNELS]
    ldr     r7, [sp, #C_COUNT]
    strb    r12, [r5]
    subs    r7, r7, #2
    bmi     .Lg_next
    strb    lr, [r5, r6]
    beq     .Lg_next
    add     r5, r5, r6, lsl #1
    str     r5, [sp, #C_Y]
    str     r7, [sp, #C_COUNT]
    ldr     r0, [sp, #C_X]
    add     r0, r0, #4
    b       .Lg_outputs
.Lg_one:
    cmp     r3, #3
    beq     .Lwords_13
    bgt     .Lwords_14
    rows    words_1, 2, .Lg_one_done
    rows    words_1, 3, .Lg_one_done
    rows    words_1, 4, here
.Lg_one_done:
    ldrd    r2, r3, [sp, #C_MULTIPLIER]
    ldr     r0, [sp, #WIDE]
    ldr     r4, [sp, #TWICE_ZERO]
    cmp     r0, #0
    bne     .Lg_wide_1
    to_output r12
.Lg_store_1:
    ldr     r5, [sp, #C_Y]
    ldr     r6, [sp, #CHANNELS]
    ldr     r7, [sp, #C_COUNT]
    strb    r12, [r5]
    subs    r7, r7, #1
    beq     .Lg_next
    add     r5, r5, r6
    str     r5, [sp, #C_Y]
    str     r7, [sp, #C_COUNT]
    ldr     r0, [sp, #C_X]
    add     r0, r0, #4
    b       .Lg_outputs
.Lg_next:
    ldr     r0, [sp, #C_WORDS_END]
    str     r0, [sp, #WORDS]
    ldr     r0, [sp, #C_LEFT]
    subs    r0, r0, #1
    str     r0, [sp, #C_LEFT]
    bne     .Lg_channel
    add     sp, sp, #C_FRAME
    pop     {r4-r11, pc}
.Lg_wide_2:
    to_output_wide r12
    to_output_wide lr
    b       .Lg_store_2
.Lg_wide_1:
    to_output_wide r12
    b       .Lg_store_1
    .size   tk_planes_any, . - tk_planes_any
#endif
