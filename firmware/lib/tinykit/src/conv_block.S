/* Blocks of a convolution for ARMv7E-M and ARMv8-M with the DSP instructions: what block_pairs()
 * in conv2d_rows.h computes, for layers whose multipliers all shift right.
 *
 * Four pixels x two channels: 14 instructions for 16 multiply-accumulates; one pixel: 1.2 each. */
#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP && defined(__thumb2__)

#include "requantize_dsp.h"

    .syntax unified
    .thumb

/* The stack frame: what is taken from tk_block and what is worked out once. */
#define PATCH 0
#define ENTRY 4 /* where the whole groups of positions begin that the loop takes at once */
#define STOP 8  /* the end of the positions at hand: of one block of weights */
#define SPLIT 12 /* 0: there is no second block */
#define WEIGHTS 16
#define WEIGHTS_REST 20 /* with the next ones: stored together */
#define BIAS 24
#define MULTIPLIER 28
#define SHIFT 32 /* less a quarter of the address of the multipliers */
#define OUTPUT 36
#define STEP 40 /* bytes from multipliers to the next ones: 8, or 0 */
#define ZERO 44
#define CHANNELS 48
#define OUTPUT_END 52
#define REST_END 56
#define ENTRY_REST 60
#define END 64 /* with the next one: kept while the second block is at hand */
#define ENTRY_FIRST 68
#define NEXT 72 /* bytes of a pair's weights, of tk_block_1 */
#define NEXT_REST 76
#define FRAME 80

/* tk_block to the frame; \bits: of the bytes that the loop takes at once.  Leaves the patch, END
 * and REST_END in r1 … r3, the weights in r4, and OUTPUT and OUTPUT_END in r9 and lr. */
    .macro enter bits
    push    {r4-r11, lr}
    sub     sp, sp, #FRAME
    ldm     r0!, {r1-r9}
    ldm     r0, {r10-r12}
    sub     r8, r8, r7, lsr #2
    asr     r11, r11, #1
    add     lr, r9, r12
    add     r0, sp, #WEIGHTS
    stm     r0, {r4-r12, lr}
    sub     r7, r2, r1
    sub     r8, r3, r2
    and     r5, r7, #(1 << \bits) - 1
    and     r6, r8, #(1 << \bits) - 1
    add     r5, r5, r1
    add     r6, r6, r2
    strd    r1, r5, [sp, #PATCH]
    strd    r2, r8, [sp, #STOP]
    strd    r3, r6, [sp, #REST_END]
    .endm

    .macro leave
    add     sp, sp, #FRAME
    pop     {r4-r11, pc}
    .endm

/* At the end of a block of weights, r1 behind them: on to \rest, the patch in r0 and ENTRY in r12,
 * or back to the first block and to \done. */
    .macro other_block rest, done
    ldr     r12, [sp, #STOP]
    ldr     r10, [sp, #REST_END]
    cmp     r12, r10
    beq     1f
    ldr     r11, [sp, #ENTRY]
    strd    r12, r11, [sp, #END]
    str     r10, [sp, #STOP]
    mov     r0, r12
    ldr     r12, [sp, #ENTRY_REST]
    str     r12, [sp, #ENTRY]
    str     r1, [sp, #WEIGHTS]
    ldr     r1, [sp, #WEIGHTS_REST]
    b       \rest
1:
    ldrd    r10, r11, [sp, #END]
    str     r10, [sp, #STOP]
    str     r11, [sp, #ENTRY]
    str     r1, [sp, #WEIGHTS_REST]
    ldr     r1, [sp, #WEIGHTS]
    b       \done
    .endm

/* ---- four pixels ---- */

/* Two positions of four pixels and two channels. */
    .macro dot_4
    ldr.w   r12, [r1], #4
    ldr.w   r10, [r0], #16 /* not LDRD: right behind another load, single ones take one cycle */
    ldr     r11, [r0, #-12]
    sxtb16  lr, r12, ror #8
    sxtb16  r12, r12
    smlad   r2, r10, r12, r2
    smlad   r6, r10, lr, r6
    smlad   r3, r11, r12, r3
    smlad   r7, r11, lr, r7
    ldrd    r10, r11, [r0, #-8]
    smlad   r4, r10, r12, r4
    smlad   r8, r10, lr, r8
    smlad   r5, r11, r12, r5
    smlad   r9, r11, lr, r9
    .endm

    .section .text.tk_block_4, "ax", %progbits
    .balign 4
    .global tk_block_4
    .type   tk_block_4, %function
    .thumb_func
tk_block_4:
    enter   6
    mov     r1, r4
.Lpair_4:
    ldr     r10, [sp, #BIAS]
    ldrd    r2, r6, [r10], #8
    str     r10, [sp, #BIAS]
    mov     r3, r2
    mov     r4, r2
    mov     r5, r2
    mov     r7, r6
    mov     r8, r6
    mov     r9, r6
    ldrd    r0, r12, [sp, #PATCH]
.Lpart_4:
    cmp     r0, r12
    beq     .Lloop_4
.Lsingles_4:
    dot_4
    ldr     r12, [sp, #ENTRY]
    cmp     r0, r12
    bne     .Lsingles_4
    ldr     r12, [sp, #STOP]
    cmp     r0, r12
    beq     .Ldone_4
    .balign 4
.Lloop_4:
    dot_4
    dot_4
    dot_4
    dot_4
    ldr     r12, [sp, #STOP]
    cmp     r0, r12
    bne     .Lloop_4
.Ldone_4:
    ldr     r0, [sp, #SPLIT]
    cmp     r0, #0
    bne     .Lother_4
.Lsums_4:
    ldr     r0, [sp, #MULTIPLIER]
    ldr     r12, [sp, #SHIFT]
    ldr     lr, [sp, #STEP]
    add     r12, r12, r0, lsr #2
    ldrd    r10, r11, [r0]
    ldrh    r12, [r12]
    add     r0, r0, lr
    str     r0, [sp, #MULTIPLIER]
    mov     r0, #0x80000000
    mvn     r12, r12
    lsl     r10, r10, #1
    lsl     r11, r11, #1
    lsr     lr, r12, #8
    asr     r12, r0, r12
    asr     lr, r0, lr
    ldr     r0, [sp, #ZERO]
    .irp    acc, r2, r3, r4, r5
    scale   \acc, r10
    .endr
    .irp    acc, r6, r7, r8, r9
    scale   \acc, r11
    .endr
    cmn     r0, #128
    bne     .Lsigned_4
.Lround_4:
    .irp    acc, r2, r3, r4, r5
    round   \acc, r12, r0
    .endr
    .irp    acc, r6, r7, r8, r9
    round   \acc, lr, r0
    .endr
    ldr     r0, [sp, #OUTPUT]
    ldr     r10, [sp, #CHANNELS]
    ldr     r12, [sp, #OUTPUT_END]
    add     r11, r0, #2
    str     r11, [sp, #OUTPUT]
    strb    r2, [r0]
    add     r2, r0, r10
    add     lr, r0, r10, lsl #1
    strb    r3, [r2]
    add     r10, r2, r10, lsl #1
    strb    r4, [lr]
    strb    r5, [r10]
    cmp     r11, r12
    bhi     .Lend_4 /* the last channel has no neighbour */
    strb    r6, [r0, #1]
    strb    r7, [r2, #1]
    strb    r8, [lr, #1]
    strb    r9, [r10, #1]
    bne     .Lpair_4
.Lend_4:
    leave
.Lsigned_4:
    .irp    acc, r2, r3, r4, r5, r6, r7, r8, r9
    downwards \acc
    .endr
    b       .Lround_4
.Lother_4:
    other_block .Lpart_4, .Lsums_4
    .size   tk_block_4, . - tk_block_4

/* ---- one pixel ---- */

/* Two positions of one pixel and two channels. */
    .macro dot_1 x, w, a, b
    sxtb16  lr, \w
    smlad   \a, \x, lr, \a
    sxtb16  \w, \w, ror #8
    smlad   \b, \x, \w, \b
    .endm

/* Eight positions of one pixel and four channels: weights of a pair at r1, of the next at r2. */
    .macro dot_1x4
    ldm     r0!, {r7-r10}
    ldrd    r11, r12, [r1], #8
    dot_1   r7, r11, r3, r4
    dot_1   r8, r12, r3, r4
    ldrd    r11, r12, [r1], #8
    dot_1   r9, r11, r3, r4
    dot_1   r10, r12, r3, r4
    ldrd    r11, r12, [r2], #8
    dot_1   r7, r11, r5, r6
    dot_1   r8, r12, r5, r6
    ldrd    r11, r12, [r2], #8
    dot_1   r9, r11, r5, r6
    dot_1   r10, r12, r5, r6
    .endm

    .section .text.tk_block_1, "ax", %progbits
    .balign 4
    .global tk_block_1
    .type   tk_block_1, %function
    .thumb_func
tk_block_1:
    enter   4
    mov     r1, r4
    sub     r0, lr, r9
.Lpairs_1:
    cmp     r0, #2
    itt     ls /* a last pair: the other two channels are computed for nothing */
    movls   r7, #0
    movls   r8, #0
    strd    r7, r8, [sp, #NEXT]
.Lfour_1:
    ldr     r7, [sp, #BIAS]
    ldm     r7!, {r3-r6}
    str     r7, [sp, #BIAS]
    ldrd    r0, r12, [sp, #PATCH]
    ldr     r2, [sp, #NEXT]
.Lpart_1:
    add     r2, r2, r1
.Lsingles_1:
    cmp     r0, r12
    beq     .Lgroups_1
    ldr     r7, [r0], #4
    ldr     r8, [r1], #4
    ldr     r9, [r2], #4
    dot_1   r7, r8, r3, r4
    dot_1   r7, r9, r5, r6
    b       .Lsingles_1
.Lgroups_1:
    ldr     r12, [sp, #STOP]
    sub     r11, r12, r0
    tst     r11, #16
    bne     .Lsecond_1 /* an odd number of groups */
    cmp     r0, r12
    beq     .Ldone_1
    .balign 4
.Lloop_1:
    dot_1x4
.Lsecond_1:
    dot_1x4
    ldr     r12, [sp, #STOP]
    cmp     r0, r12
    bne     .Lloop_1
.Ldone_1:
    mov     r1, r2 /* where the next channels' weights begin */
    ldr     r0, [sp, #SPLIT]
    cmp     r0, #0
    bne     .Lother_1
.Lsums_1:
    ldr     r0, [sp, #MULTIPLIER]
    ldr     r12, [sp, #SHIFT]
    ldr     lr, [sp, #STEP]
    add     r12, r12, r0, lsr #2
    ldm     r0, {r7-r10}
    ldr     r12, [r12]
    add     r0, r0, lr, lsl #1
    str     r0, [sp, #MULTIPLIER]
    mov     r0, #0x80000000
    mvn     r12, r12
    asr     r11, r0, r12
    lsr     r12, r12, #8
    asr     lr, r0, r12
    lsr     r12, r12, #8
    asr     r2, r0, r12
    lsr     r12, r12, #8
    asr     r12, r0, r12
    ldr     r0, [sp, #ZERO]
    .irp    m, r7, r8, r9, r10
    lsl     \m, \m, #1
    .endr
    scale   r3, r7
    scale   r4, r8
    scale   r5, r9
    scale   r6, r10
    cmn     r0, #128
    bne     .Lsigned_1
.Lround_1:
    round   r3, r11, r0
    round   r4, lr, r0
    round   r5, r2, r0
    round   r6, r12, r0
    ldr     r7, [sp, #OUTPUT]
    ldr     r8, [sp, #OUTPUT_END]
    add     r9, r7, #4
    str     r9, [sp, #OUTPUT]
    strb    r3, [r7]
    subs    r0, r8, r9
    blo     .Lrest_of_1
    strb    r4, [r7, #1]
    strb    r5, [r7, #2]
    strb    r6, [r7, #3]
    cmp     r0, #2
    bhi     .Lfour_1
    mov     r7, #0
    mov     r8, #0
    cmp     r0, #0
    bne     .Lpairs_1
.Lend_1:
    leave
.Lrest_of_1: /* three channels to one: r0 = -1 … -3 */
    cmn     r0, #3
    beq     .Lend_1
    strb    r4, [r7, #1]
    cmn     r0, #2
    beq     .Lend_1
    strb    r5, [r7, #2]
    leave
.Lsigned_1:
    .irp    acc, r3, r4, r5, r6
    downwards \acc
    .endr
    b       .Lround_1
.Lother_1:
    other_block .Lrest_1, .Lsums_1
.Lrest_1:
    ldr     r2, [sp, #NEXT_REST]
    b       .Lpart_1
    .size   tk_block_1, . - tk_block_1
#endif
