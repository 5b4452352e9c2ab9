/* Sound into features: fixed-point operators and a streaming frontend made of them.
 *
 * The operators compute what the Signal* custom operators of TensorFlow Lite Micro's audio
 * preprocessor compute, bit for bit, with one exception: its FFT scale takes the sample -32768 for
 * a small one, so that clipped sound overflows; here it is the largest.  All tables are constants
 * made by tinykit.frontend; all memory belongs to the caller. */
#ifndef TINYKIT_SIGNAL_H
#define TINYKIT_SIGNAL_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    int16_t real;
    int16_t imag;
} tk_complex16;

typedef struct {
    uint32_t length;                    /* real samples: a power of two, 8 to 4096 */
    const tk_complex16 *twiddles;       /* [length / 2] */
    const tk_complex16 *super_twiddles; /* [length / 4] */
} tk_fft;

/* Channel c adds its rising weights over its own bins to the falling ones over the bins of c - 1:
 * there is one more range of bins than channels. */
typedef struct {
    uint32_t channels;
    const int16_t *weights;
    const int16_t *unweights;
    const int16_t *bins;    /* [channels + 1] first bin of a range */
    const int16_t *offsets; /* [channels + 1] its first weight */
    const int16_t *widths;  /* [channels + 1] */
} tk_filter_bank;

typedef struct {
    uint32_t smoothing[2];           /* even and odd channels, in 2^-bits */
    uint32_t one_minus_smoothing[2]; /* likewise */
    uint32_t min_signal;             /* what is left at least, in 2^-bits */
    uint32_t smoothing_bits;         /* fraction of the noise estimate */
    uint32_t bits;
    uint32_t clamping; /* the estimate never exceeds the signal */
} tk_noise_reduction;

/* SignalWindow: y = x * window >> shift, saturated; y may be x. */
void tk_signal_window(const int16_t *x, const int16_t *window, uint32_t size, uint32_t shift,
                      int16_t *y);
/* SignalFftAutoScale: shifts left as far as the largest value allows; the shift is returned. */
uint32_t tk_signal_auto_scale(const int16_t *x, uint32_t size, int16_t *y);
/* SignalRfft: y[length / 2 + 1] of x[size], with zeros up to the length. */
void tk_signal_rfft(const tk_fft *fft, const int16_t *x, uint32_t size, tk_complex16 *y);
/* SignalEnergy: squared magnitudes of bins [start, end). */
void tk_signal_energy(const tk_complex16 *x, uint32_t start, uint32_t end, uint32_t *y);
/* SignalFilterBank: y[channels]. */
void tk_signal_filter_bank(const tk_filter_bank *bank, const uint32_t *energy, uint64_t *y);
/* SignalFilterBankSquareRoot: rounded roots, shifted right by the FFT's scale. */
void tk_signal_square_root(const uint64_t *x, uint32_t size, uint32_t shift, uint32_t *y);
/* SignalFilterBankSpectralSubtraction: updates noise[size]; y may be x. */
void tk_signal_noise_reduction(const tk_noise_reduction *n, const uint32_t *x, uint32_t size,
                               uint32_t *noise, uint32_t *y);
/* SignalPCAN, in place: gain[125] is its piecewise quadratic table. */
void tk_signal_pcan(const int16_t *gain, uint32_t snr_shift, const uint32_t *noise, uint32_t size,
                    uint32_t *x);
/* SignalFilterBankLog: y = ln(x << correction) * scale, at most 32767. */
void tk_signal_log(const uint32_t *x, uint32_t size, uint32_t scale, uint32_t correction,
                   int16_t *y);

/* One coefficient of a DCT: the sum of x * basis >> shift, rounded (halves up) and saturated. */
int16_t tk_signal_dct(const int16_t *x, const int16_t *basis, uint32_t size, uint32_t shift);

/* A stream of samples into one int8 row of features per hop: the logarithms, or their DCT. */
typedef struct {
    uint32_t frame; /* samples that a row sees: at most fft.length */
    uint32_t hop;   /* samples from row to row: at most frame */
    const int16_t *window;
    uint32_t window_shift;
    tk_fft fft;
    uint32_t first_bin;
    uint32_t end_bin;
    tk_filter_bank bank;
    tk_noise_reduction noise;
    const int16_t *gain; /* NULL: no PCAN */
    uint32_t snr_shift;
    uint32_t log_scale;
    uint32_t correction;
    uint32_t coefficients; /* 0: a row has the logarithms of all channels */
    const int16_t *basis;  /* [coefficients][channels] of the DCT, or NULL */
    uint32_t basis_shift;
    int32_t multiplier; /* int8 = floor((feature * multiplier + divisor / 2) / divisor) + zero_point
                         */
    int32_t divisor;
    int32_t zero_point;
    /* the caller's memory */
    int16_t *samples;       /* [frame] the last ones */
    uint32_t *filled;       /* [1] */
    int16_t *scaled;        /* [frame] scratch */
    tk_complex16 *spectrum; /* [fft.length / 2 + 1] scratch */
    uint32_t *energy;       /* [fft.length / 2 + 1] scratch */
    uint64_t *sums;         /* [channels] scratch */
    uint32_t *signal;       /* [channels] scratch */
    uint32_t *estimate;     /* [channels] of the noise */
    int16_t *logs;          /* [channels] the last row before it was quantized */
} tk_audio_frontend;

/* Silence before the first sample, no noise known. */
void tk_audio_frontend_reset(const tk_audio_frontend *f);
/* Takes samples until they end or a row is complete; returns how many it took.  *rows is then 1 if
 * row[coefficients, or channels] was written, else 0: push the rest again. */
uint32_t tk_audio_frontend_push(const tk_audio_frontend *f, const int16_t *samples, uint32_t count,
                                int8_t *row, uint32_t *rows);

/* Rows in a sliding window: a model's whole input, again every `hop` rows. */
typedef struct {
    const tk_audio_frontend *frontend;
    uint32_t rows;     /* of a window */
    uint32_t features; /* of a row */
    uint32_t hop;      /* rows from window to window: at most rows */
    int8_t *window;    /* [rows][features] the caller's memory: the last rows */
    uint32_t *held;    /* [1] */
} tk_audio_window;

/* No rows yet, and the frontend as at its reset. */
void tk_audio_window_reset(const tk_audio_window *w);
/* Takes samples until they end or a window is complete; returns how many it took.  *ready is then 1
 * if y[rows][features] was written, else 0: push the rest again. */
uint32_t tk_audio_window_push(const tk_audio_window *w, const int16_t *samples, uint32_t count,
                              int8_t *y, uint32_t *ready);

#ifdef __cplusplus
}
#endif
#endif
