/* Samples in, one int8 row per hop out. */
#include <string.h>

#include "tinykit/signal.h"

void tk_audio_frontend_reset(const tk_audio_frontend *f) {
    *f->filled = 0;
    memset(f->estimate, 0, f->bank.channels * sizeof *f->estimate);
}

static int8_t quantized(const tk_audio_frontend *f, int32_t feature) {
    const int32_t scaled = feature * f->multiplier + f->divisor / 2;
    const int32_t below = scaled % f->divisor < 0; /* division cuts towards 0 */
    const int32_t value = scaled / f->divisor - below + f->zero_point;
    return (int8_t)(value > 127 ? 127 : value < -128 ? -128 : value);
}

static void make_row(const tk_audio_frontend *f, int8_t *row) {
    const uint32_t channels = f->bank.channels;
    tk_signal_window(f->samples, f->window, f->frame, f->window_shift, f->scaled);
    const uint32_t scale = tk_signal_auto_scale(f->scaled, f->frame, f->scaled);
    tk_signal_rfft(&f->fft, f->scaled, f->frame, f->spectrum);
    tk_signal_energy(f->spectrum, f->first_bin, f->end_bin, f->energy);
    tk_signal_filter_bank(&f->bank, f->energy, f->sums);
    tk_signal_square_root(f->sums, channels, scale, f->signal);
    tk_signal_noise_reduction(&f->noise, f->signal, channels, f->estimate, f->signal);
    if (f->gain) {
        tk_signal_pcan(f->gain, f->snr_shift, f->estimate, channels, f->signal);
    }
    tk_signal_log(f->signal, channels, f->log_scale, f->correction, f->logs);
    if (f->coefficients == 0) {
        for (uint32_t c = 0; c < channels; c++) {
            row[c] = quantized(f, f->logs[c]);
        }
    }
    for (uint32_t k = 0; k < f->coefficients; k++) {
        const int16_t *basis = f->basis + k * channels;
        row[k] = quantized(f, tk_signal_dct(f->logs, basis, channels, f->basis_shift));
    }
}

uint32_t tk_audio_frontend_push(const tk_audio_frontend *f, const int16_t *samples, uint32_t count,
                                int8_t *row, uint32_t *rows) {
    const uint32_t room = f->frame - *f->filled;
    const uint32_t taken = count < room ? count : room;
    memcpy(f->samples + *f->filled, samples, taken * sizeof *samples);
    *f->filled += taken;
    *rows = taken == room;
    if (taken == room) {
        make_row(f, row);
        *f->filled = f->frame - f->hop;
        memmove(f->samples, f->samples + f->hop, *f->filled * sizeof *samples);
    }
    return taken;
}
