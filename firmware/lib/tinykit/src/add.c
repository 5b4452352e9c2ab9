/* ADD, int8. */
#include "mve.h"
#include "requantize.h"
#include "tinykit/kernels.h"

/* x - zero_point with 20 fractional bits, rescaled.  The input with the larger scale has the
 * multiplier 1/2, for which no rounding is needed. */
static inline int32_t scaled(int32_t x, int32_t multiplier, int shift) {
    if (multiplier == 1 << 30 && shift == 0) {
        return x * (1 << 19);
    }
    return tk_multiply(x * (1 << 20), multiplier, shift);
}

#if TK_MVE
/* The first elements of a repeat, as many as make whole vectors; returns how many.  One input has
 * the multiplier 1/2 (b here, or a: they change places), the other shifts right or not at all. */
static uint32_t add_vectors(const tk_add *add, const int8_t *a, const int8_t *b, int8_t *output) {
    const int half_b = add->multiplier_b == 1 << 30 && add->shift_b == 0;
    const int half_a = add->multiplier_a == 1 << 30 && add->shift_a == 0;
    if (add->output_shift >= 0 || !(half_a || half_b)) {
        return 0;
    }
    const int8_t *x = half_b ? a : b, *y = half_b ? b : a;
    const int32_t multiplier = half_b ? add->multiplier_a : add->multiplier_b;
    const int32_t shift = half_b ? add->shift_a : add->shift_b;
    const int32_t below = shift < 0 ? 1 : 0;
    const int16_t offset_x = (int16_t)(-16 * (half_b ? add->zero_point_a : add->zero_point_b));
    const int16_t offset_y = (int16_t)(-16 * (half_b ? add->zero_point_b : add->zero_point_a));
    const int16x8_t sixteen = vdupq_n_s16(16);
    const int16x8_t low = vdupq_n_s16(add->activation_min);
    const int16x8_t high = vdupq_n_s16(add->activation_max);
    if (shift > 0) {
        return 0;
    }
    for (uint32_t i = add->size / 8; i > 0; i--, x += 8, y += 8, output += 8) {
        const int16x8_t p = vmlasq_n_s16(vldrbq_s16(x), sixteen, offset_x);
        const int16x8_t q = vmlasq_n_s16(vldrbq_s16(y), sixteen, offset_y);
        int32x4_t even = vqrdmulhq_n_s32(vshllbq_n_s16(p, 16), multiplier);
        int32x4_t odd = vqrdmulhq_n_s32(vshlltq_n_s16(p, 16), multiplier);
        even = vrshlq_n_s32(vqdmlahq_n_s32(even, even, below), shift);
        odd = vrshlq_n_s32(vqdmlahq_n_s32(odd, odd, below), shift);
        even = vaddq_s32(even, vshllbq_n_s16(q, 15));
        odd = vaddq_s32(odd, vshlltq_n_s16(q, 15));
        even = tk_mve_multiply(even, add->output_multiplier, add->output_shift, 0);
        odd = tk_mve_multiply(odd, add->output_multiplier, add->output_shift, 0);
        vstrbq_s16(output, tk_mve_outputs(even, odd, add->output_zero_point, low, high));
    }
    return add->size / 8 * 8;
}
#endif

void tk_add_s8(const tk_add *add, const int8_t *a, const int8_t *b, int8_t *output) {
    const tk_output_range range =
        tk_range_of(add->activation_min, add->activation_max, add->output_zero_point);
    const int32_t zero_a = add->zero_point_a;
    const int32_t zero_b = add->zero_point_b;
    for (uint32_t repeat = 0; repeat < add->repeats; repeat++) {
        uint32_t done = 0;
#if TK_MVE
        done = add_vectors(add, a, b, output);
        a += done;
        output += done;
#endif
        for (uint32_t i = done; i < add->size; i++) {
            const int32_t sum = scaled(*a++ - zero_a, add->multiplier_a, add->shift_a) +
                                scaled(b[i] - zero_b, add->multiplier_b, add->shift_b);
            *output++ =
                (int8_t)tk_requantize(sum, add->output_multiplier, add->output_shift, &range);
        }
    }
}
