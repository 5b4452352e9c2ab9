#include "optimizer.h"

#include "scalar.h"

#define STATE_BITS 15
#define STATE_LIMIT 32767
#define RATIO_LIMIT (1u << 22) /* 64, in units of 2^-16 */

/* (1 - beta) / (1 - beta^t), times 2^24: how much of an unbiased mean the t-th value is. */
static uint32_t average_weight(float beta, uint32_t t) {
    float power = 1.0f;
    float base = beta;
    for (; t > 0; t >>= 1) {
        if (t & 1u) {
            power = power * base;
        }
        base = base * base;
    }
    const float share = (1.0f - beta) / (1.0f - power);
    return (uint32_t)(share * 16777216.0f + 0.5f);
}

/* Rates of a step whose gradients are multiplied by `clip`. */
static void set_rates(tk_updating *u, float clip) {
    const tk_trainer *trainer = u->trainer;
    const tk_update_state *state = u->update->state;
    u->rate = trainer->rate * clip;
    if (state->momentum != NULL) {
        u->rate = trainer->learning_rate;
        u->gradient = tk_rate_of(state->gradient * (trainer->normalisation * clip));
    }
}

tk_updating tk_updating_begin(const tk_update *update, tk_trainer *trainer) {
    const tk_update_state *state = update->state;
    tk_updating u = {.update = update, .trainer = trainer};
    u.base = tk_noise_base(update->seed, trainer->step, update->tensor);
    u.first = trainer->begun == 0;
    u.decay = tk_rate_of(u.first ? trainer->learning_rate * state->decay : 0.0f);
    u.measuring = state->clip > 0.0f;
    set_rates(&u, 1.0f);
    if (state->deviation != NULL) {
        const uint32_t t = trainer->step - trainer->skipped + 1u;
        u.mean_share = average_weight(state->beta_1, t);
        u.square_share = average_weight(state->beta_2, t);
    }
    return u;
}

static float float_of(uint64_t x) {
    return (float)(uint32_t)(x >> 32) * 4294967296.0f + (float)(uint32_t)x;
}

int tk_updating_again(tk_updating *u) {
    if (!u->measuring) {
        return 0;
    }
    u->measuring = 0;
    const float normalisation = u->trainer->normalisation;
    if ((u->low | u->high) != 0 && normalisation > 0.0f) {
        const float total = float_of(u->high) * 4294967296.0f + float_of(u->low);
        const float x =
            (tk_log(u->update->state->clip) - tk_log(normalisation)) - 0.5f * tk_log(total);
        set_rates(u, x < 0.0f ? tk_exp(x) : 1.0f);
    }
    return 1;
}

static void measure(tk_updating *u, int32_t acc) {
    const uint64_t square = (uint64_t)((int64_t)acc * acc);
    u->low += (uint32_t)square;
    u->high += square >> 32;
}

/* Rounds a total in units of 2^-15 by the low bits of `noise`; no total exceeds 2^31 - 2^15. */
static int16_t to_state(int32_t total, uint32_t noise, int *saturated) {
    const int32_t rounded = (total + (int32_t)(noise & ((1u << STATE_BITS) - 1u))) >> STATE_BITS;
    const int32_t stored = tk_clamp(rounded, -STATE_LIMIT, STATE_LIMIT);
    *saturated |= stored != rounded;
    return (int16_t)stored;
}

/* What moves the master, in units of 2^-15 of the state, which follows too. */
static int32_t momentum_step(const tk_updating *u, int32_t place, int32_t gradient, uint32_t noise,
                             int *saturated) {
    const tk_update_state *state = u->update->state;
    const int32_t factor = u->first ? state->factor : 1 << STATE_BITS;
    const int32_t total = state->momentum[place] * factor + gradient;
    state->momentum[place] = to_state(total, tk_noise(noise, 1), saturated);
    return u->first ? total : gradient;
}

static int32_t bit_length(uint32_t x) {
    return x == 0 ? 0 : 32 - __builtin_clz(x);
}

/* sqrt(x) to nearest. */
static uint32_t root_of(uint32_t x) {
    uint32_t root = 0;
    uint32_t left = x;
    for (uint32_t bit = 1u << 30; bit != 0; bit >>= 2) {
        if (left >= root + bit) {
            left -= root + bit;
            root = (root >> 1) + bit;
        } else {
            root >>= 1;
        }
    }
    return root + (left > root ? 1u : 0u);
}

/* sqrt(x) for x < 2^62 to 16 significant bits. */
static uint32_t rounded_root(uint64_t x) {
    int32_t shift = bit_length((uint32_t)(x >> 32));
    shift += shift & 1;
    return root_of((uint32_t)(x >> shift)) << (shift >> 1);
}

/* numerator / denominator in units of 2^-16, to 14 significant bits.
 * |numerator| <= 2^30; 2^15 <= denominator <= 2^31. */
static int32_t ratio(int32_t numerator, uint32_t denominator) {
    const uint32_t size = (uint32_t)(numerator < 0 ? -numerator : numerator);
    const int32_t up = 31 - bit_length(size);
    const int32_t down = bit_length(denominator) - 16;
    const uint32_t divisor = (denominator + ((1u << down) >> 1)) >> down;
    const uint32_t quotient = (size << up) / divisor;
    const int32_t shift = up + down - 16;
    uint32_t result;
    if (shift >= 0) {
        result = (quotient + ((1u << shift) >> 1)) >> shift;
        result = result < RATIO_LIMIT ? result : RATIO_LIMIT;
    } else {
        const uint32_t limit = RATIO_LIMIT >> -shift;
        result = (quotient < limit ? quotient : limit) << -shift;
    }
    return numerator < 0 ? -(int32_t)result : (int32_t)result;
}

/* What moves the master, in units of 2^-16; mean and deviation follow, their bias corrected. */
static int32_t adam_step(const tk_updating *u, int32_t place, int32_t gradient, uint32_t noise,
                         int *saturated) {
    const tk_update_state *state = u->update->state;
    const int32_t old = state->momentum[place] * (1 << STATE_BITS);
    const int64_t moved = ((int64_t)gradient - old) * u->mean_share;
    const int32_t mean = old + (int32_t)((moved + (1 << 23)) >> 24);

    const int32_t coarse = (gradient + (1 << 10)) >> 11; /* 4 bits below the unit */
    const int64_t square = (int64_t)state->deviation[place] * state->deviation[place];
    const int64_t change = ((int64_t)coarse * coarse - square * 256) * u->square_share;
    const int64_t new_square = square * (1 << 30) + ((change + 2) >> 2);
    const uint32_t root = rounded_root((uint64_t)new_square);

    const uint32_t more = tk_noise(noise, 1);
    state->momentum[place] = to_state(mean, more, saturated);
    state->deviation[place] = to_state((int32_t)root, more >> 16, saturated);
    return ratio(mean, root + state->epsilon);
}

/* The change of the master for this gradient. */
static int32_t gradient_delta(const tk_updating *u, tk_rate rate, int32_t place, int32_t acc,
                              uint32_t noise) {
    const tk_update_state *state = u->update->state;
    if (state->momentum != NULL) {
        const int32_t gradient = tk_delta(acc, u->gradient, 0, 0);
        int saturated = gradient == TK_DELTA_LIMIT || gradient == -TK_DELTA_LIMIT;
        acc = state->deviation == NULL ? momentum_step(u, place, gradient, noise, &saturated)
                                       : adam_step(u, place, gradient, noise, &saturated);
        u->trainer->saturations += (uint32_t)saturated;
        u->trainer->held += (uint32_t)saturated;
    }
    return tk_delta(acc, rate, u->update->stochastic, noise);
}

void tk_updating_weight(tk_updating *u, tk_rate rate, int32_t place, uint32_t number, int32_t acc) {
    if (u->measuring) {
        measure(u, acc);
        return;
    }
    const uint32_t noise = tk_noise(u->base, number);
    int64_t delta = gradient_delta(u, rate, place, acc, noise);
    if (u->decay.mantissa != 0) {
        const int32_t master = tk_weight_master(u->update, place);
        delta += tk_delta(master, u->decay, 1, noise << 16 | noise >> 16);
        delta = delta > TK_DELTA_LIMIT ? TK_DELTA_LIMIT : delta;
        delta = delta < -TK_DELTA_LIMIT ? -TK_DELTA_LIMIT : delta;
    }
    tk_count_change(u->trainer, (int32_t)delta);
    tk_weight_update(u->update, place, (int32_t)delta);
}

void tk_updating_bias(tk_updating *u, tk_rate rate, uint32_t number, int32_t acc) {
    if (u->measuring) {
        measure(u, acc);
        return;
    }
    const uint32_t noise = tk_noise(u->base, number);
    const int32_t delta = gradient_delta(u, rate, (int32_t)number, acc, noise);
    tk_count_change(u->trainer, delta);
    tk_bias_step(u->update, number, delta);
}
