/* SOFTMAX, int8, in gemmlowp's fixed-point arithmetic.  Qm.n below: m integer, n fraction bits. */
#include "fixed_point.h"
#include "tinykit/kernels.h"

static int32_t shift_left(int32_t x, int bits) {
    const int32_t limit = INT32_MAX >> bits;
    if (x > limit) {
        return INT32_MAX;
    }
    return x < -limit ? INT32_MIN : (int32_t)((uint32_t)x << bits);
}

/* exp(a) in Q0.31 for a <= 0 in Q5.26. */
static int32_t exp_of_negative(int32_t a) {
    static const int32_t factors[7] = {1672461947, 1302514674, 790015084, 290630308,
                                       39332535,   720401,     242}; /* exp(-1/4), exp(-1/2) … */
    if (a == 0) {
        return INT32_MAX;
    }
    const int32_t quarter = 1 << 24;
    const int32_t below = (a & (quarter - 1)) - quarter; /* a modulo 1/4, minus 1/4 */
    /* exp on [-1/4, 0) around -1/8, by its Taylor series */
    const int32_t x = below * 32 + (1 << 28);
    const int32_t x2 = tk_doubling_high_multiply(x, x);
    const int32_t x3 = tk_doubling_high_multiply(x2, x);
    const int32_t x4 = tk_doubling_high_multiply(x2, x2);
    const int32_t third = tk_doubling_high_multiply(tk_rounding_shift_right(x4, 2) + x3, 715827883);
    const int32_t series = tk_rounding_shift_right(third + x2, 1);
    int32_t result = 1895147668 + tk_doubling_high_multiply(1895147668, x + series);
    const int32_t remainder = below - a;
    for (int i = 0; i < 7; i++) {
        if ((remainder >> (24 + i)) & 1) {
            result = tk_doubling_high_multiply(result, factors[i]);
        }
    }
    return result;
}

/* 1 / (1 + fraction) in Q0.31, fraction in [0, 1) in Q0.31, by Newton's method. */
static int32_t one_over_one_plus(int32_t fraction) {
    const int32_t half = (int32_t)(((int64_t)fraction + INT32_MAX + 1) / 2);
    int32_t x = 1515870810 + tk_doubling_high_multiply(half, -1010580540); /* Q2.29 */
    for (int i = 0; i < 3; i++) {
        const int32_t error = (1 << 29) - tk_doubling_high_multiply(half, x);
        x += shift_left(tk_doubling_high_multiply(x, error), 2);
    }
    return shift_left(x, 1);
}

static int leading_zeros(uint32_t x) {
    int count = 0;
    for (; (x & 0x80000000u) == 0; x <<= 1) {
        count++;
    }
    return count;
}

static int32_t exponential(const tk_softmax *softmax, int32_t difference) {
    const int32_t shifted = (int32_t)((uint32_t)difference << softmax->shift);
    return exp_of_negative(tk_doubling_high_multiply(shifted, softmax->multiplier));
}

static void softmax_row(const tk_softmax *softmax, const int8_t *input, int8_t *output) {
    int32_t max = INT8_MIN;
    for (int32_t i = 0; i < softmax->depth; i++) {
        max = tk_max(max, input[i]);
    }
    int32_t sum = 0; /* Q12.19 */
    for (int32_t i = 0; i < softmax->depth; i++) {
        if (input[i] - max >= softmax->diff_min) {
            sum += tk_rounding_shift_right(exponential(softmax, input[i] - max), 12);
        }
    }
    const int headroom = leading_zeros((uint32_t)sum);
    const int32_t inverse = one_over_one_plus((int32_t)(((uint32_t)sum << headroom) - 0x80000000u));
    const int shift = 12 - headroom + 31 - 8;
    for (int32_t i = 0; i < softmax->depth; i++) {
        int32_t y = 0;
        if (input[i] - max >= softmax->diff_min && shift < 32) {
            y = tk_rounding_shift_right(
                tk_doubling_high_multiply(inverse, exponential(softmax, input[i] - max)), shift);
        }
        output[i] = (int8_t)(tk_min(y, 255) - 128);
    }
}

void tk_softmax_s8(const tk_softmax *softmax, const int8_t *input, int8_t *output) {
    for (uint32_t row = 0; row < softmax->rows; row++) {
        softmax_row(softmax, input, output);
        input += softmax->depth;
        output += softmax->depth;
    }
}
