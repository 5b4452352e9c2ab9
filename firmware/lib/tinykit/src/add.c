/* ADD, int8. */
#include "mve.h"
#include "requantize.h"
#include "simd.h"
#include "tinykit/kernels.h"

/* x - zero_point with 20 fractional bits, rescaled.  The input with the larger scale has the
 * multiplier 1/2, for which no rounding is needed. */
static inline int32_t scaled(int32_t x, int32_t multiplier, int shift) {
    if (multiplier == 1 << 30 && shift == 0) {
        return x * (1 << 19);
    }
    return tk_multiply(x * (1 << 20), multiplier, shift);
}

/* One input as the fast loops take it. */
typedef struct {
    const int8_t *x;
    int32_t zero_point, multiplier, shift;
    int32_t rewind; /* bytes to go back after `size` elements: of the input that repeats */
} addend;

static int is_half(const addend *a) {
    return a->multiplier == 1 << 30 && a->shift == 0;
}

#if TK_MVE
/* The first elements of a repeat, as many as make whole vectors; returns how many. */
static int32_t add_vectors(const tk_add *add, const addend *half, const addend *other,
                           int8_t *output) {
    const int8_t *x = other->x, *y = half->x;
    const int32_t one = other->shift < 0 ? 1 : 0; /* no rounding shift, nothing to put right */
    const int16_t start_x = (int16_t)(-16 * other->zero_point);
    const int16_t start_y = (int16_t)(-16 * half->zero_point);
    const int16x8_t sixteen = vdupq_n_s16(16);
    const int16x8_t low = vdupq_n_s16(add->activation_min);
    const int16x8_t high = vdupq_n_s16(add->activation_max);
    for (uint32_t i = add->size / 8; i > 0; i--, x += 8, y += 8, output += 8) {
        /* (x - zero_point) * 2^4, then * 2^16 or, with the multiplier 1/2, * 2^15 */
        const int16x8_t p = vmlasq_n_s16(vldrbq_s16(x), sixteen, start_x);
        const int16x8_t q = vmlasq_n_s16(vldrbq_s16(y), sixteen, start_y);
        int32x4_t even = vqrdmulhq_n_s32(vshllbq_n_s16(p, 16), other->multiplier);
        int32x4_t odd = vqrdmulhq_n_s32(vshlltq_n_s16(p, 16), other->multiplier);
        even = vrshlq_n_s32(vqdmlahq_n_s32(even, even, one), other->shift);
        odd = vrshlq_n_s32(vqdmlahq_n_s32(odd, odd, one), other->shift);
        even = vaddq_s32(even, vshllbq_n_s16(q, 15));
        odd = vaddq_s32(odd, vshlltq_n_s16(q, 15));
        even = tk_mve_multiply(even, add->output_multiplier, add->output_shift, 0);
        odd = tk_mve_multiply(odd, add->output_multiplier, add->output_shift, 0);
        vstrbq_s16(output, tk_mve_outputs(even, odd, add->output_zero_point, low, high));
    }
    return (int32_t)(add->size / 8 * 8);
}
#endif

#if TK_DSP
/* Sums of `half`, whose multiplier is 1/2, and `other`; the output's multiplier shifts right. */
static void add_half(const tk_add *add, addend half, addend other, int8_t *output) {
    /* (x - zero_point) * 2^21: SMMULR of it is TFLite's doubling high multiply of x * 2^20.  A
     * second multiplier of 1/2 is taken twice as large, and halved by its rounding shift. */
    const int32_t bits = is_half(&other) ? 22 : 21;
    const int32_t start = -other.zero_point * (1 << bits);
    const int32_t right = tk_max(-other.shift - 1, 0); /* shift 0: the multiplier is 1/2, or 0 */
    const int32_t half_start = -half.zero_point * (1 << 19);
    const int32_t output_right = -add->output_shift - 1;
    const int32_t twice_zero = 2 * add->output_zero_point + 1;
    for (uint32_t repeat = 0; repeat < add->repeats; repeat++) {
        const int8_t *end = output + add->size;
#if TK_MVE
        const int32_t done = add_vectors(add, &half, &other, output);
        half.x += done;
        other.x += done;
        output += done;
#endif
        for (; output != end; output++) {
            int32_t t = tk_smmulr(start + *other.x++ * (1 << bits), other.multiplier);
            t = (t + (t >> 31)) >> right;
            const int32_t sum = half_start + *half.x++ * (1 << 19) + ((t + 1) >> 1);
            t = tk_smmulr(sum * 2, add->output_multiplier);
            t = (t + (t >> 31)) >> output_right;
            *output = tk_saturate_half(t + twice_zero);
        }
        half.x -= half.rewind;
        other.x -= other.rewind;
    }
}
#else
/* Without a long product.  add_v6m.S knows the order of the members. */
typedef struct {
    const int8_t *half, *other; /* behind their last elements */
    int8_t *output;
    int32_t size;
    int32_t half_start;
    /* round(x * 2^20 * multiplier / 2^31) by the multiplier's upper 20 and lower 11 bits; what the
     * zero point adds to both products, with the rounding; the shift less one */
    int32_t upper, lower, upper_start, lower_start, right;
    int32_t multiplier, output_right, twice_zero;
} sum_loop;

#if defined(__thumb__) && !defined(__thumb2__)
void tk_add_loop(const sum_loop *loop);
#else
static void tk_add_loop(const sum_loop *loop) {
    const sum_loop l = *loop;
    for (int32_t i = -l.size; i != 0; i++) {
        const int32_t x = l.other[i];
        int32_t t = x * l.upper + l.upper_start + ((x * l.lower + l.lower_start) >> 11);
        t = (t + (t >> 31)) >> l.right;
        const int32_t sum = l.half_start + l.half[i] * (1 << 19) + ((t + 1) >> 1);
        t = tk_scale_high(sum, l.multiplier);
        t = (t + (t >> 31)) >> l.output_right;
        l.output[i] = (int8_t)tk_clamp((t + l.twice_zero) >> 1, INT8_MIN, INT8_MAX);
    }
}
#endif

/* Sums of `half`, whose multiplier is 1/2, and `other`; the output's multiplier shifts right. */
static void add_half(const tk_add *add, addend half, addend other, int8_t *output) {
    /* a second multiplier of 1/2 is taken twice as large, and halved by its rounding shift */
    const int twice = is_half(&other);
    const int32_t upper = (int32_t)((uint32_t)other.multiplier << twice >> 11);
    const int32_t lower = (int32_t)((uint32_t)other.multiplier << twice & 2047);
    const int32_t size = (int32_t)add->size;
    sum_loop loop = {
        .size = size,
        .half_start = -half.zero_point * (1 << 19),
        .upper = upper,
        .lower = lower,
        .upper_start = -other.zero_point * upper,
        .lower_start = (1 << 10) - other.zero_point * lower,
        .right = tk_max(-other.shift - 1, 0), /* shift 0: the multiplier is 1/2, or 0 */
        .multiplier = add->output_multiplier,
        .output_right = -add->output_shift - 1,
        .twice_zero = 2 * add->output_zero_point + 1,
    };
    for (uint32_t repeat = 0; repeat < add->repeats && size > 0; repeat++) {
        output += size;
        loop.half = half.x + size;
        loop.other = other.x + size;
        loop.output = output;
        tk_add_loop(&loop);
        half.x = loop.half - half.rewind;
        other.x = loop.other - other.rewind;
    }
}
#endif

void tk_add_s8(const tk_add *add, const int8_t *a, const int8_t *b, int8_t *output) {
    const addend first = {a, add->zero_point_a, add->multiplier_a, add->shift_a, 0};
    const addend second = {b, add->zero_point_b, add->multiplier_b, add->shift_b,
                           (int32_t)add->size};
    if (add->output_shift < 0 && (is_half(&first) || is_half(&second))) {
        add_half(add, is_half(&first) ? first : second, is_half(&first) ? second : first, output);
        const int32_t low = add->activation_min, high = add->activation_max;
        for (uint32_t i = 0; i < add->repeats * add->size && (low > INT8_MIN || high < INT8_MAX);
             i++) {
            output[i] = (int8_t)tk_clamp(output[i], low, high);
        }
        return;
    }
    const tk_output_range range =
        tk_range_of(add->activation_min, add->activation_max, add->output_zero_point);
    const int32_t zero_a = add->zero_point_a;
    const int32_t zero_b = add->zero_point_b;
    for (uint32_t repeat = 0; repeat < add->repeats; repeat++) {
        for (uint32_t i = 0; i < add->size; i++) {
            const int32_t sum = scaled(*a++ - zero_a, add->multiplier_a, add->shift_a) +
                                scaled(b[i] - zero_b, add->multiplier_b, add->shift_b);
            *output++ =
                (int8_t)tk_requantize(sum, add->output_multiplier, add->output_shift, &range);
        }
    }
}
