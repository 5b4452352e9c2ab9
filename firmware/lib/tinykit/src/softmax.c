/* SOFTMAX and LOG_SOFTMAX, int8, in gemmlowp's fixed-point arithmetic.  Qm.n below: m integer, n
 * fraction bits. */
#include "gemmlowp.h"
#include "tinykit/kernels.h"

/* x where `bit` is 1, y where it is 0: the same instructions for both. */
static inline int32_t choose(uint32_t bit, int32_t x, int32_t y) {
    const uint32_t mask = 0u - bit;
    return (int32_t)(((uint32_t)x & mask) | ((uint32_t)y & ~mask));
}

/* exp(a) in Q0.31 for a <= 0 in Q5.26.  Multiplies by all factors, used or not, so that it takes as
 * many instructions for one `a` as for another. */
static int32_t exp_of_negative(int32_t a) {
    static const int32_t factors[7] = {1672461947, 1302514674, 790015084, 290630308,
                                       39332535,   720401,     242}; /* exp(-1/4), exp(-1/2) … */
    const int32_t quarter = 1 << 24;
    const int32_t below = (a & (quarter - 1)) - quarter; /* a modulo 1/4, minus 1/4 */
    /* exp on [-1/4, 0) around -1/8, by its Taylor series */
    const int32_t x = below * 32 + (1 << 28);
    const int32_t x2 = tk_high_multiply(x, x);
    const int32_t x3 = tk_high_multiply(x2, x);
    const int32_t x4 = tk_high_multiply(x2, x2);
    const int32_t third = tk_high_multiply(tk_rounding_shift_right(x4, 2) + x3, 715827883);
    const int32_t series = tk_rounding_shift_right(third + x2, 1);
    int32_t result = 1895147668 + tk_high_multiply(1895147668, x + series);
    const uint32_t remainder = (uint32_t)(below - a);
    for (int i = 0; i < 7; i++) {
        result = choose(remainder >> (24 + i) & 1, tk_high_multiply(result, factors[i]), result);
    }
    return choose((uint32_t)a >> 31, result, INT32_MAX);
}

/* exp of a difference in Q0.31; 0 if it counts as minus infinity. */
static __attribute__((noinline)) int32_t exponential(const tk_softmax *softmax,
                                                     int32_t difference) {
    const uint32_t infinite = (uint32_t)(difference - softmax->diff_min) >> 31;
    const int32_t finite = choose(infinite, 0, difference);
    const int32_t shifted = (int32_t)((uint32_t)finite << softmax->shift);
    return choose(infinite, 0, exp_of_negative(tk_high_multiply(shifted, softmax->multiplier)));
}

static void softmax_row(const tk_softmax *softmax, const int8_t *input, int8_t *output) {
    int32_t max = INT8_MIN;
    for (int32_t i = 0; i < softmax->depth; i++) {
        max = tk_max(max, input[i]);
    }
    int32_t sum = 0; /* Q12.19 */
    for (int32_t i = 0; i < softmax->depth; i++) {
        sum += tk_rounding_shift_right(exponential(softmax, input[i] - max), 12);
    }
    const int headroom = tk_leading_zeros((uint32_t)sum);
    const int32_t inverse =
        tk_one_over_one_plus((int32_t)(((uint32_t)sum << headroom) - 0x80000000u));
    const int shift = 12 - headroom + 31 - 8;
    const int32_t numerator = shift < 32 ? inverse : 0;
    for (int32_t i = 0; i < softmax->depth; i++) {
        const int32_t product = tk_high_multiply(numerator, exponential(softmax, input[i] - max));
        const int32_t y = tk_rounding_shift_right(product, shift & 31);
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

/* log(x) in Q5.26 of x >= 1 in Q12.19: x is z * 2^n with z near 1, in two ways of which the better
 * is taken; log(z) by a rational function around the fourth root of 1/2. */
static int32_t logarithm(int32_t x) {
    const int32_t root = 1518500250, fourth_root = 1805811301, quarter = 1 << 23;
    const int zeros = tk_leading_zeros((uint32_t)x);
    const int spare = tk_leading_zeros((uint32_t)tk_high_multiply(x, root)) - 1;
    const int32_t first = tk_shift_left(tk_high_multiply(tk_shift_left(x, zeros - 1), root), 1);
    const int32_t r = tk_min(first, tk_shift_left(x, spare));
    const int32_t power =
        tk_max((12 - zeros) * (1 << 25) + quarter, (12 - spare) * (1 << 25) - quarter); /* Q6.25 */
    const int32_t p = (int32_t)(((uint32_t)r + (uint32_t)fourth_root + 1) >> 1);
    const int32_t q = 2 * (r - fourth_root);
    const int32_t square = tk_high_multiply(q, q);
    const int32_t numerator =
        tk_high_multiply(q, r) + tk_high_multiply(tk_high_multiply(q, square), 117049297);
    const int32_t factor = 1057819769 + q + tk_high_multiply(127690142, square);
    const int32_t inverse =
        tk_one_over_one_plus(tk_high_multiply(p, factor) + tk_high_multiply(638450708, q));
    const int32_t log_z = tk_high_multiply(tk_rounding_shift_right(numerator, 6), inverse);
    return tk_shift_left(tk_high_multiply(power, 1488522236) + log_z,
                         1); /* 1488522236: log(2) in Q0.31 */
}

void tk_log_softmax_s8(const tk_log_softmax *op, const int8_t *input, int8_t *output) {
    const tk_softmax *softmax = op->scaling;
    for (uint32_t row = 0; row < softmax->rows; row++) {
        int32_t max = INT8_MIN, sum = 0; /* Q12.19 */
        for (int32_t i = 0; i < softmax->depth; i++) {
            max = tk_max(max, input[i]);
        }
        for (int32_t i = 0; i < softmax->depth; i++) {
            sum += tk_rounding_shift_right(exponential(softmax, input[i] - max), 12);
        }
        const int32_t log = logarithm(sum);
        const int32_t least =
            tk_max(softmax->diff_min - 1,
                   tk_multiply(INT32_MIN + log, op->reverse_multiplier, op->reverse_shift));
        for (int32_t i = 0; i < softmax->depth; i++) {
            const int32_t difference = input[i] - max;
            int32_t y = INT8_MIN;
            if (difference > least) {
                const int32_t shifted = (int32_t)((uint32_t)difference << softmax->shift);
                y = tk_rounding_shift_right(tk_high_multiply(shifted, softmax->multiplier) - log,
                                            22);
                y = tk_clamp(y + INT8_MAX, INT8_MIN, INT8_MAX);
            }
            output[i] = (int8_t)y;
        }
        input += softmax->depth;
        output += softmax->depth;
    }
}
