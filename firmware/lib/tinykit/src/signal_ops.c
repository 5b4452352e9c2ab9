/* The operators between samples and features; what each follows stands in tinykit/signal.h. */
#include "tinykit/signal.h"

#define PCAN_SNR_BITS 12
#define PCAN_OUTPUT_BITS 6

/* The position of the highest bit set, from 1; 0 for 0. */
static uint32_t bit_length(uint64_t value) {
    uint32_t bits = 0;
    for (; value != 0; value >>= 1) {
        bits++;
    }
    return bits;
}

void tk_signal_window(const int16_t *x, const int16_t *window, uint32_t size, uint32_t shift,
                      int16_t *y) {
    for (uint32_t i = 0; i < size; i++) {
        const int32_t value = (x[i] * window[i]) >> shift;
        y[i] = (int16_t)(value > INT16_MAX ? INT16_MAX : value < INT16_MIN ? INT16_MIN : value);
    }
}

uint32_t tk_signal_auto_scale(const int16_t *x, uint32_t size, int16_t *y) {
    uint32_t largest = 0;
    for (uint32_t i = 0; i < size; i++) {
        const uint32_t magnitude = (uint32_t)(x[i] < 0 ? -(int32_t)x[i] : x[i]);
        largest = magnitude > largest ? magnitude : largest;
    }
    const uint32_t used = bit_length(largest);
    const uint32_t shift = used > 0 && used < 15 ? 15 - used : 0; /* silence stays */
    for (uint32_t i = 0; i < size; i++) {
        y[i] = (int16_t)(x[i] * (1 << shift));
    }
    return shift;
}

void tk_signal_energy(const tk_complex16 *x, uint32_t start, uint32_t end, uint32_t *y) {
    for (uint32_t i = start; i < end; i++) {
        const uint32_t real = (uint32_t)(x[i].real * x[i].real);
        y[i] = real + (uint32_t)(x[i].imag * x[i].imag);
    }
}

void tk_signal_filter_bank(const tk_filter_bank *bank, const uint32_t *energy, uint64_t *y) {
    uint64_t falling = 0;
    for (uint32_t c = 0; c <= bank->channels; c++) {
        const int16_t *rise = bank->weights + bank->offsets[c];
        const int16_t *fall = bank->unweights + bank->offsets[c];
        const uint32_t *bins = energy + bank->bins[c];
        uint64_t rising = falling;
        falling = 0;
        for (int32_t i = 0; i < bank->widths[c]; i++) {
            rising += (uint64_t)rise[i] * bins[i];
            falling += (uint64_t)fall[i] * bins[i];
        }
        if (c > 0) { /* the first range only falls into channel 0 */
            y[c - 1] = rising;
        }
    }
}

/* Digit by digit, rounded to nearest; the largest root of the width that the value needs (16 or 32
 * bits) is not rounded up. */
static uint32_t square_root(uint64_t value) {
    const uint64_t largest = value >> 32 != 0 ? UINT32_MAX : UINT16_MAX;
    uint64_t root = 0;
    for (uint32_t digits = (bit_length(value) + 1) / 2; digits > 0; digits--) {
        const uint64_t bit = UINT64_C(1) << (2 * digits - 2);
        const uint64_t trial = root + bit;
        root >>= 1;
        if (value >= trial) {
            value -= trial;
            root += bit;
        }
    }
    return (uint32_t)(value > root && root != largest ? root + 1 : root);
}

void tk_signal_square_root(const uint64_t *x, uint32_t size, uint32_t shift, uint32_t *y) {
    for (uint32_t i = 0; i < size; i++) {
        y[i] = square_root(x[i]) >> shift;
    }
}

void tk_signal_noise_reduction(const tk_noise_reduction *n, const uint32_t *x, uint32_t size,
                               uint32_t *noise, uint32_t *y) {
    for (uint32_t i = 0; i < size; i++) {
        const uint32_t value = x[i];
        const uint32_t signal = value << n->smoothing_bits;
        const uint32_t estimate = (uint32_t)(((uint64_t)signal * n->smoothing[i & 1] +
                                              (uint64_t)noise[i] * n->one_minus_smoothing[i & 1]) >>
                                             n->bits);
        const uint32_t removed = estimate < signal ? estimate : signal;
        noise[i] = n->clamping ? removed : estimate;
        const uint32_t least = (uint32_t)(((uint64_t)value * n->min_signal) >> n->bits);
        const uint32_t left = (signal - removed) >> n->smoothing_bits;
        y[i] = left > least ? left : least;
    }
}

/* The gain at a noise level: a parabola per octave, three coefficients of four. */
static uint32_t gain_at(const int16_t *gain, uint32_t noise) {
    if (noise <= 2) {
        return (uint32_t)(int32_t)gain[noise];
    }
    const uint32_t octave = bit_length(noise);
    const int16_t *c = gain + 4 * octave - 6;
    const uint32_t aligned = octave < 11 ? noise << (11 - octave) : noise >> (octave - 11);
    const int32_t fraction = (int32_t)(aligned & 0x3FF);
    const int32_t slope = ((c[2] * fraction) >> 5) + c[1] * 32;
    const int32_t bend = (int32_t)((uint32_t)slope * (uint32_t)fraction + (1u << 14)) >> 15;
    return (uint32_t)(int32_t)(int16_t)(bend + c[0]);
}

/* x^2 / 4 below 2, x - 1 from there: small values shrink. */
static uint32_t shrink(uint32_t x) {
    if (x < 2u << PCAN_SNR_BITS) {
        return (x * x) >> (2 + 2 * PCAN_SNR_BITS - PCAN_OUTPUT_BITS);
    }
    return (x >> (PCAN_SNR_BITS - PCAN_OUTPUT_BITS)) - (1u << PCAN_OUTPUT_BITS);
}

void tk_signal_pcan(const int16_t *gain, uint32_t snr_shift, const uint32_t *noise, uint32_t size,
                    uint32_t *x) {
    for (uint32_t i = 0; i < size; i++) {
        x[i] = shrink((uint32_t)(((uint64_t)x[i] * gain_at(gain, noise[i])) >> snr_shift));
    }
}

/* log2(1 + i / 128) - i / 128 in Q16. */
static const uint16_t log_excess[129] = {
    0,    224,  442,  654,  861,  1063, 1259, 1450, 1636, 1817, 1992, 2163, 2329, 2490, 2646,
    2797, 2944, 3087, 3224, 3358, 3487, 3611, 3732, 3848, 3960, 4068, 4172, 4272, 4368, 4460,
    4549, 4633, 4714, 4791, 4864, 4934, 5001, 5063, 5123, 5178, 5231, 5280, 5326, 5368, 5408,
    5444, 5477, 5507, 5533, 5557, 5578, 5595, 5610, 5622, 5631, 5637, 5640, 5641, 5638, 5633,
    5626, 5615, 5602, 5586, 5568, 5547, 5524, 5498, 5470, 5439, 5406, 5370, 5332, 5291, 5249,
    5203, 5156, 5106, 5054, 5000, 4944, 4885, 4825, 4762, 4697, 4630, 4561, 4490, 4416, 4341,
    4264, 4184, 4103, 4020, 3935, 3848, 3759, 3668, 3575, 3481, 3384, 3286, 3186, 3084, 2981,
    2875, 2768, 2659, 2549, 2437, 2323, 2207, 2090, 1971, 1851, 1729, 1605, 1480, 1353, 1224,
    1094, 963,  830,  695,  559,  421,  282,  142,  0,
};

/* ln(x) * scale, x > 0: Q16 throughout. */
static uint32_t natural_log(uint32_t x, uint32_t scale) {
    const uint32_t whole = bit_length(x) - 1;
    const uint32_t rest = x - (1u << whole);
    const uint32_t fraction = whole < 16 ? rest << (16 - whole) : rest >> (whole - 16);
    const uint32_t segment = fraction >> 9;
    const int32_t low = log_excess[segment];
    const int32_t slope = log_excess[segment + 1] - low;
    const int32_t between = (slope * (int32_t)(fraction & 511)) >> 16;
    const uint32_t log2 = (whole << 16) + fraction + (uint32_t)(low + between);
    const uint32_t ln = (uint32_t)((UINT64_C(45426) * log2 + 32768) >> 16); /* ln 2 in Q16 */
    return (scale * ln + 32768) >> 16;
}

void tk_signal_log(const uint32_t *x, uint32_t size, uint32_t scale, uint32_t correction,
                   int16_t *y) {
    for (uint32_t i = 0; i < size; i++) {
        const uint32_t value = x[i] << correction;
        const uint32_t log = value > 1 ? natural_log(value, scale) : 0;
        y[i] = (int16_t)(log < INT16_MAX ? log : INT16_MAX);
    }
}

int16_t tk_signal_dct(const int16_t *x, const int16_t *basis, uint32_t size, uint32_t shift) {
    int64_t sum = (int64_t)1 << shift >> 1;
    for (uint32_t i = 0; i < size; i++) {
        sum += x[i] * basis[i];
    }
    sum >>= shift;
    return (int16_t)(sum > INT16_MAX ? INT16_MAX : sum < INT16_MIN ? INT16_MIN : sum);
}
