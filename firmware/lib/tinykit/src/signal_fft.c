/* A real FFT in 16 bits: a complex one of half the length over pairs of samples, radix 4 with one
 * radix-2 stage where the length asks for it, then the spectrum of the even and odd samples is
 * taken apart.  Every stage divides by its radix first, and rounds as KISS FFT 131 does in 16-bit
 * fixed point, whose results these are; sums wrap as its do. */
#include "tinykit/signal.h"

#define HALF 16383 /* 1/2 and 1/4 in Q15, rounded down */
#define QUARTER 8191

static int16_t round_q15(int32_t value) {
    return (int16_t)((value + (1 << 14)) >> 15);
}

static tk_complex16 scaled(tk_complex16 x, int32_t factor) {
    return (tk_complex16){round_q15(x.real * factor), round_q15(x.imag * factor)};
}

static tk_complex16 product(tk_complex16 a, tk_complex16 b) {
    return (tk_complex16){round_q15(a.real * b.real - a.imag * b.imag),
                          round_q15(a.real * b.imag + a.imag * b.real)};
}

static tk_complex16 sum(tk_complex16 a, tk_complex16 b) {
    return (tk_complex16){(int16_t)(a.real + b.real), (int16_t)(a.imag + b.imag)};
}

static tk_complex16 difference(tk_complex16 a, tk_complex16 b) {
    return (tk_complex16){(int16_t)(a.real - b.real), (int16_t)(a.imag - b.imag)};
}

/* Where value `index` of the reordered input comes from: digits of base 4 (and a last one of
 * base 2 for an odd number of bits), the most significant becomes the least. */
static uint32_t reversed(uint32_t index, uint32_t bits) {
    uint32_t source = 0;
    for (uint32_t done = 0; bits > 0;) {
        const uint32_t digit = bits >= 2 ? 2 : 1;
        bits -= digit;
        source |= (index >> bits) << done;
        index &= (1u << bits) - 1;
        done += digit;
    }
    return source;
}

/* Neighbours by pairs, where the twiddle is the 32767/32768 that stands for one. */
static void radix2(const tk_fft *fft, uint32_t n, tk_complex16 *y) {
    for (uint32_t i = 0; i < n; i += 2) {
        const tk_complex16 a = scaled(y[i], HALF);
        const tk_complex16 b = product(scaled(y[i + 1], HALF), fft->twiddles[0]);
        y[i] = sum(a, b);
        y[i + 1] = difference(a, b);
    }
}

/* Four transforms of length m at a time become one of 4m. */
static void radix4(const tk_fft *fft, uint32_t n, uint32_t m, tk_complex16 *y) {
    const uint32_t stride = n / (4 * m);
    for (uint32_t block = 0; block < n; block += 4 * m) {
        for (uint32_t i = 0; i < m; i++) {
            tk_complex16 *at = y + block + i;
            const tk_complex16 *w = fft->twiddles;
            const tk_complex16 a = scaled(at[0], QUARTER);
            const tk_complex16 b = product(scaled(at[m], QUARTER), w[i * stride]);
            const tk_complex16 c = product(scaled(at[2 * m], QUARTER), w[2 * i * stride]);
            const tk_complex16 d = product(scaled(at[3 * m], QUARTER), w[3 * i * stride]);
            const tk_complex16 even = sum(a, c);
            const tk_complex16 odd = difference(a, c);
            const tk_complex16 both = sum(b, d);
            const tk_complex16 apart = difference(b, d);
            at[0] = sum(even, both);
            at[2 * m] = difference(even, both);
            at[m] = sum(odd, (tk_complex16){apart.imag, (int16_t)-apart.real});
            at[3 * m] = sum(odd, (tk_complex16){(int16_t)-apart.imag, apart.real});
        }
    }
}

/* From the transform of the pairs to that of the samples, in place. */
static void split(const tk_fft *fft, uint32_t n, tk_complex16 *y) {
    const tk_complex16 first = scaled(y[0], HALF);
    y[0] = (tk_complex16){(int16_t)(first.real + first.imag), 0};
    y[n] = (tk_complex16){(int16_t)(first.real - first.imag), 0};
    for (uint32_t k = 1; k <= n / 2; k++) {
        const tk_complex16 a = scaled(y[k], HALF);
        const tk_complex16 mirrored = {y[n - k].real, (int16_t)-y[n - k].imag};
        const tk_complex16 b = scaled(mirrored, HALF);
        const tk_complex16 s = sum(a, b);
        const tk_complex16 t = product(difference(a, b), fft->super_twiddles[k - 1]);
        y[k] = (tk_complex16){(int16_t)((s.real + t.real) >> 1), (int16_t)((s.imag + t.imag) >> 1)};
        y[n - k] =
            (tk_complex16){(int16_t)((s.real - t.real) >> 1), (int16_t)((t.imag - s.imag) >> 1)};
    }
}

void tk_signal_rfft(const tk_fft *fft, const int16_t *x, uint32_t size, tk_complex16 *y) {
    const uint32_t n = fft->length / 2;
    uint32_t bits = 0;
    while ((1u << bits) < n) {
        bits++;
    }
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t from = 2 * reversed(i, bits);
        y[i].real = from < size ? x[from] : 0;
        y[i].imag = from + 1 < size ? x[from + 1] : 0;
    }
    uint32_t m = 1;
    if (bits % 2 != 0) {
        radix2(fft, n, y);
        m = 2;
    }
    for (; m < n; m *= 4) {
        radix4(fft, n, m, y);
    }
    split(fft, n, y);
}
