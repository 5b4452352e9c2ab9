/* Samples in, a window of feature rows out. */
#include <string.h>

#include "tinykit/signal.h"

void tk_audio_window_reset(const tk_audio_window *w) {
    *w->held = 0;
    tk_audio_frontend_reset(w->frontend);
}

uint32_t tk_audio_window_push(const tk_audio_window *w, const int16_t *samples, uint32_t count,
                              int8_t *y, uint32_t *ready) {
    uint32_t taken = 0;
    *ready = 0;
    while (taken < count && *ready == 0) {
        int8_t *row = w->window + *w->held * w->features;
        uint32_t made;
        taken += tk_audio_frontend_push(w->frontend, samples + taken, count - taken, row, &made);
        *w->held += made;
        if (*w->held == w->rows) {
            memcpy(y, w->window, w->rows * w->features);
            *w->held = w->rows - w->hop;
            memmove(w->window, w->window + w->hop * w->features, *w->held * w->features);
            *ready = 1;
        }
    }
    return taken;
}
