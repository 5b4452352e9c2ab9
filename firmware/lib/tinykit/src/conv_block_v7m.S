/* Blocks of a convolution for ARMv7-M and ARMv8-M without the DSP instructions: as
 * conv_block_v6m.S.  Each sum of products starts at 2^15, so that its upper half is the upper
 * pixel's without regard to the lower one's sign.
 *
 * Four pixels x one channel: 1.5 instructions for a multiply-accumulate, or 2.1 where the products
 * of two positions do not fit in int16 together; one pixel x four channels: 2.4. */
#if defined(__thumb2__) && !(defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP)

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
#define TWOS 60  /* before that: where the positions in twos end */
#define NEXT 76  /* bytes from this channel's weights to the next one's: 1, or the rest of … */
#define BYTES 80 /* … a pair's */
#define NEXT_REST 84
#define BYTES_REST 88
#define LEFT 92  /* channels */
#define ENTRY 96 /* where the groups of eight positions begin */
#define ENTRY_REST 100
#define STARTS 104 /* the sum of the 2^15 */
#define STOP 108   /* END or REST_END */
#define FRAME 116

/* Takes the words r10 (pixels 0, 1) and r11 (pixels 2, 3) apart. */
    .macro take_apart
    add     r8, r8, r10
    add     r2, r2, r10, asr #16
    add     r9, r9, r11
    add     r3, r3, r11, asr #16
    .endm

/* Two positions whose products fit in int16 together. */
    .macro two_positions
    ldm     r0!, {r4-r7}
    ldrsb   r12, [r1], #2
    mla     r10, r4, r12, lr
    mla     r11, r5, r12, lr
    ldrsb   r12, [r1], #2
    mla     r10, r6, r12, r10
    mla     r11, r7, r12, r11
    take_apart
    .endm

    .macro one_position
    ldm     r0!, {r4, r5}
    ldrsb   r12, [r1], #2
    mla     r10, r4, r12, lr
    mla     r11, r5, r12, lr
    take_apart
    .endm

/* Weights at \weights, then points there to the next channel's. */
    .macro load_weights weights, next, bytes
    ldr     r1, [sp, #\weights]
    ldr     r7, [sp, #\next]
    add     r6, r1, r7
    str     r6, [sp, #\weights]
    ldr     r6, [sp, #\bytes]
    sub     r6, r6, r7
    str     r6, [sp, #\next]
    .endm

/* Any int32 \acc to an output: multiplier in r4, right shift less one in r5, 2 * zero point + 1 in
 * r6. */
    .macro requantize acc
    smull   r10, \acc, \acc, r4
    adds    r10, r10, #0x40000000
    adc     \acc, \acc, #0
    adds    r10, r10, r10
    adc     \acc, \acc, \acc
    add     \acc, \acc, \acc, asr #31
    asr     \acc, \acc, r5
    add     \acc, \acc, r6
    ssat    \acc, #8, \acc, asr #1
    .endm

/* ---- four pixels ---- */

    .section .text.tk_block_4, "ax", %progbits
    .balign 4
    .global tk_block_4
    .type   tk_block_4, %function
    .thumb_func
tk_block_4:
    push    {r4-r11, lr}
    sub     sp, sp, #FRAME
    ldm     r0!, {r2-r9}
    stm     sp, {r2-r9}
    ldm     r0, {r2-r8}
    add     r0, sp, #OUTPUT
    stm     r0, {r2-r8}
    ldm     sp, {r0-r2}
    sub     r3, r1, r0
    lsr     r4, r3, #2
    str     r4, [sp, #BYTES]
    and     r3, r3, #63
    add     r3, r3, r0
    str     r3, [sp, #ENTRY]
    sub     r3, r2, r1
    lsr     r4, r3, #2
    str     r4, [sp, #BYTES_REST]
    and     r3, r3, #63
    add     r3, r3, r1
    str     r3, [sp, #ENTRY_REST]
    sub     r2, r2, r0
    lsl     r2, r2, #11
    ldr     r3, [sp, #NEIGHBOURS]
    cmp     r3, #0
    bne     .Lstarts
    lsl     r2, r2, #1
.Lstarts:
    str     r2, [sp, #STARTS]
    mov     r0, #1
    str     r0, [sp, #NEXT]
    str     r0, [sp, #NEXT_REST]
    ldr     r0, [sp, #STEP]
    lsr     r0, r0, #1
    str     r0, [sp, #STEP]
    ldr     r0, [sp, #CHANNELS]
    str     r0, [sp, #LEFT]
.Lchannel:
    mov     lr, #0x8000
    ldr     r4, [sp, #BIAS]
    ldr     r2, [r4], #4
    str     r4, [sp, #BIAS]
    mov     r3, r2
    ldr     r5, [sp, #STARTS]
    add     r8, r2, r2, lsl #16
    sub     r8, r8, r5
    mov     r9, r8
    load_weights WEIGHTS, NEXT, BYTES
    ldr     r0, [sp, #PATCH]
    ldr     r10, [sp, #END]
    str     r10, [sp, #STOP]
    ldr     r11, [sp, #ENTRY]
.Lpositions: /* from r0 on, in twos up to r11, then in eights up to STOP */
    ldr     r12, [sp, #NEIGHBOURS]
    cmp     r12, #0
    beq     .Lapart
    ldr     r10, [sp, #STOP]
    cmp     r0, r11
    beq     .Lgroups
    str     r11, [sp, #TWOS]
.Ltwos:
    two_positions
    ldr     r10, [sp, #TWOS]
    cmp     r0, r10
    bne     .Ltwos
    ldr     r10, [sp, #STOP]
.Lgroups:
    cmp     r0, r10
    beq     .Ldone
.Leights:
    two_positions
    two_positions
    two_positions
    two_positions
    ldr     r10, [sp, #STOP]
    cmp     r0, r10
    bne     .Leights
.Ldone:
    ldr     r10, [sp, #REST_END]
    cmp     r0, r10
    beq     .Lsums
    str     r10, [sp, #STOP]
    load_weights WEIGHTS_REST, NEXT_REST, BYTES_REST
    ldr     r11, [sp, #ENTRY_REST]
    b       .Lpositions
.Lapart: /* products that do not fit together */
    ldr     r10, [sp, #STOP]
    cmp     r0, r10
    beq     .Ldone
.Lones:
    one_position
    one_position
    ldr     r10, [sp, #STOP]
    cmp     r0, r10
    bne     .Lones
    b       .Ldone
.Lsums: /* of the four pixels: r8, r2, r9, r3 */
    sub     r8, r8, r2, lsl #16
    sub     r9, r9, r3, lsl #16
    ldr     r0, [sp, #SHIFT]
    ldrsb   r5, [r0]
    cmp     r5, #0
    bge     .Lany
    ldr     r1, [sp, #STEP]
    mvn     r5, r5
    add     r0, r0, r1, lsr #2
    str     r0, [sp, #SHIFT]
    ldr     r0, [sp, #MULTIPLIER]
    ldr     r4, [r0]
    add     r0, r0, r1
    str     r0, [sp, #MULTIPLIER]
    ldr     r6, [sp, #TWICE_ZERO]
    ldr     r7, [sp, #OUTPUT]
    add     r0, r7, #1
    str     r0, [sp, #OUTPUT]
    ldr     r1, [sp, #CHANNELS]
    requantize r8
    requantize r2
    requantize r9
    requantize r3
    add     r10, r1, r1, lsl #1
    strb    r8, [r7]
    strb    r2, [r7, r1]
    strb    r9, [r7, r1, lsl #1]
    strb    r3, [r7, r10]
.Lnext:
    ldr     r0, [sp, #LEFT]
    subs    r0, r0, #1
    str     r0, [sp, #LEFT]
    bne     .Lchannel
    add     sp, sp, #FRAME
    pop     {r4-r11, pc}
.Lany: /* a shift to the left */
    str     r8, [sp, #SUMS]
    str     r2, [sp, #SUMS + 4]
    str     r9, [sp, #SUMS + 8]
    str     r3, [sp, #SUMS + 12]
    mov     r0, sp
    add     r1, sp, #SUMS
    bl      tk_block_channel
    b       .Lnext
    .size   tk_block_4, . - tk_block_4

/* ---- one pixel ---- */

/* A position of one pixel and four channels. */
    .macro position
    ldrsh   r3, [r0], #2
    ldrsb   r8, [r1], #1
    ldrsb   r9, [r1], #1
    ldrsb   r10, [r2], #1
    ldrsb   r11, [r2], #1
    mla     r4, r3, r8, r4
    mla     r5, r3, r9, r5
    mla     r6, r3, r10, r6
    mla     r7, r3, r11, r7
    .endm

/* r0: end of the inputs, r1, r2: ends of two pairs' weights, r3: bytes of the inputs, negative;
 * on the stack: the sums of four channels, to which it adds. */
    .section .text.tk_dot_4, "ax", %progbits
    .balign 4
    .global tk_dot_4
    .type   tk_dot_4, %function
    .thumb_func
tk_dot_4:
    push    {r4-r11, lr}
    ldr     r12, [sp, #36]
    ldm     r12, {r4-r7}
    mov     lr, r0
    add     r0, r0, r3
    add     r1, r1, r3
    add     r2, r2, r3
    tst     r3, #4
    beq     .Lfours
    position
    position
    cmp     r0, lr
    beq     .Lstore
.Lfours:
    position
    position
    position
    position
    cmp     r0, lr
    bne     .Lfours
.Lstore:
    stm     r12, {r4-r7}
    pop     {r4-r11, pc}
    .size   tk_dot_4, . - tk_dot_4
#endif
