/* Helium (the M-profile Vector Extension, integers): what its kernels share.
 *
 * Its arithmetic is TFLM's to the bit: VQRDMULH is the doubling high multiply, and VRSHL rounds
 * halves upwards, which for negative numbers is put right by subtracting one beforehand. */
#ifndef TINYKIT_MVE_H
#define TINYKIT_MVE_H

#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)
#define TK_MVE 1

#include <arm_mve.h>
#include <stdint.h>

/* Four numbers from general registers: two instructions. */
static inline int32x4_t tk_mve_collect(int32_t a, int32_t b, int32_t c, int32_t d) {
    int32x4_t v;
    __asm__("vmov %q0[2], %q0[0], %1, %3\n\t"
            "vmov %q0[3], %q0[1], %2, %4"
            : "=&w"(v)
            : "r"(a), "r"(b), "r"(c), "r"(d));
    return v;
}

/* tk_multiply for four numbers with one multiplier; `any`: the shift may go left. */
static inline int32x4_t tk_mve_multiply(int32x4_t v, int32_t multiplier, int32_t shift, int any) {
    if (any && shift >= 0) {
        return vqrdmulhq_n_s32(vshlq_r_s32(v, shift), multiplier);
    }
    v = vqrdmulhq_n_s32(v, multiplier);
    return vrshlq_n_s32(vqdmlahq_n_s32(v, v, 1), shift); /* v + (v >> 31) */
}

/* Each with its own. */
static inline int32x4_t tk_mve_multiply_each(int32x4_t v, int32x4_t multiplier, int32x4_t shift,
                                             int any) {
    if (any) {
        v = vqrdmulhq_s32(vshlq_s32(v, vmaxq_s32(shift, vdupq_n_s32(0))), multiplier);
        const int32x4_t right = vminq_s32(shift, vdupq_n_s32(0));
        const int32x4_t one = vandq_s32(vshrq_n_s32(v, 31), vshrq_n_s32(right, 31));
        return vrshlq_s32(vaddq_s32(v, one), right);
    }
    v = vqrdmulhq_s32(v, multiplier);
    return vrshlq_s32(vqdmlahq_n_s32(v, v, 1), shift);
}

/* Eight results, four of `even` between four of `odd`: zero point added, clamped. */
static inline int16x8_t tk_mve_outputs(int32x4_t even, int32x4_t odd, int32_t zero_point,
                                       int16x8_t low, int16x8_t high) {
    int16x8_t y = vqmovnbq_s32(vreinterpretq_s16_s32(even), even);
    y = vqaddq_n_s16(vqmovntq_s32(y, odd), (int16_t)zero_point);
    return vminq_s16(vmaxq_s16(y, low), high);
}

#else
#define TK_MVE 0
#endif

#endif
