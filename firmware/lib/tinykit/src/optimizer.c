#include "optimizer.h"

#define STATE_BITS 15
#define STATE_LIMIT 32767

tk_updating tk_updating_begin(const tk_update *update, tk_trainer *trainer) {
    const tk_update_state *state = update->state;
    tk_updating u = {.update = update, .trainer = trainer, .rate = trainer->rate};
    u.base = tk_noise_base(update->seed, trainer->step, update->tensor);
    u.first = trainer->begun == 0;
    u.decay = tk_rate_of(u.first ? trainer->learning_rate * state->decay : 0.0f);
    if (state->momentum != NULL) {
        u.rate = trainer->learning_rate;
        u.gradient = tk_rate_of(state->gradient * trainer->normalisation);
    }
    return u;
}

/* Rounds a total in units of 2^-15 by the low bits of `noise`; no total exceeds 2^31 - 2^15. */
static int16_t to_state(int32_t total, uint32_t noise, int *saturated) {
    const int32_t rounded = (total + (int32_t)(noise & ((1u << STATE_BITS) - 1u))) >> STATE_BITS;
    const int32_t stored = tk_clamp(rounded, -STATE_LIMIT, STATE_LIMIT);
    *saturated |= stored != rounded;
    return (int16_t)stored;
}

/* What moves the master, in units of 2^-15 of the state, which follows too. */
static int32_t momentum_step(const tk_updating *u, int32_t place, int32_t acc, uint32_t noise) {
    const tk_update_state *state = u->update->state;
    const int32_t gradient = tk_delta(acc, u->gradient, 0, 0);
    int saturated = gradient == TK_DELTA_LIMIT || gradient == -TK_DELTA_LIMIT;
    const int32_t factor = u->first ? state->factor : 1 << STATE_BITS;
    const int32_t total = state->momentum[place] * factor + gradient;
    state->momentum[place] = to_state(total, tk_noise(noise, 1), &saturated);
    u->trainer->saturations += (uint32_t)saturated;
    return u->first ? total : gradient;
}

static int32_t gradient_delta(const tk_updating *u, tk_rate rate, int32_t place, int32_t acc,
                              uint32_t noise) {
    if (u->update->state->momentum != NULL) {
        acc = momentum_step(u, place, acc, noise);
    }
    return tk_delta(acc, rate, u->update->stochastic, noise);
}

void tk_updating_weight(const tk_updating *u, tk_rate rate, int32_t place, uint32_t number,
                        int32_t acc) {
    const uint32_t noise = tk_noise(u->base, number);
    int64_t delta = gradient_delta(u, rate, place, acc, noise);
    if (u->decay.mantissa != 0) {
        const int32_t master = tk_weight_master(u->update, place);
        delta += tk_delta(master, u->decay, 1, noise << 16 | noise >> 16);
        delta = delta > TK_DELTA_LIMIT ? TK_DELTA_LIMIT : delta;
        delta = delta < -TK_DELTA_LIMIT ? -TK_DELTA_LIMIT : delta;
    }
    u->trainer->updated += delta != 0;
    tk_weight_update(u->update, place, (int32_t)delta);
}

void tk_updating_bias(const tk_updating *u, tk_rate rate, uint32_t number, int32_t acc) {
    const uint32_t noise = tk_noise(u->base, number);
    const int32_t delta = gradient_delta(u, rate, (int32_t)number, acc, noise);
    u->trainer->updated += delta != 0;
    tk_bias_step(u->update, number, delta);
}
