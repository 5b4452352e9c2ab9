#include "master.h"

#include "optimizer.h"
#include "scalar.h"

#define WIDE_ONE ((int64_t)1 << 24)

static int32_t to_int32(int64_t x) {
    return (int32_t)(x > INT32_MAX ? INT32_MAX : (x < INT32_MIN ? INT32_MIN : x));
}

tk_rate tk_rate_of(float rate) {
    const uint32_t bits = tk_float_bits(rate);
    const int32_t exponent = (int32_t)((bits >> 23) & 255u);
    const int32_t shift = 150 - exponent;
    if (exponent == 0 || shift > 62) {
        return (tk_rate){0, 1};
    }
    if (shift < 1) {
        return (tk_rate){0xFFFFFF, 1};
    }
    return (tk_rate){(int32_t)((bits & 0x7FFFFFu) | 0x800000u), shift};
}

/* The multiplier M of an output channel as a float. */
static float real_multiplier(int32_t multiplier, int32_t shift) {
    return (float)multiplier * tk_bits_float((uint32_t)(shift - 31 + 127) << 23);
}

int16_t tk_channel_multiplier(float scale, int32_t multiplier, int32_t shift) {
    const int32_t rounded = (int32_t)(scale * real_multiplier(multiplier, shift) + 0.5f);
    return (int16_t)tk_min(rounded, INT16_MAX);
}

tk_rate tk_update_rate(const tk_update *update, float rate, int32_t channel) {
    const int32_t c = update->per_channel ? channel : 0;
    const float real = real_multiplier(update->multiplier[c], update->multiplier_shift[c]);
    return tk_rate_of(real > 0.0f ? rate * (update->constant / real) : 0.0f);
}

int32_t tk_weight_master(const tk_update *update, int32_t index) {
    const int32_t used = ((const int8_t *)update->used)[index];
    if (update->residual == NULL) {
        return used;
    }
    if (update->wide) {
        const int64_t master = used * WIDE_ONE + ((const int32_t *)update->residual)[index];
        return to_int32(master);
    }
    return used * 256 + (update->accumulate ? ((const int16_t *)update->residual)[index]
                                            : ((const int8_t *)update->residual)[index]);
}

/* Bring a weight up to its master, 2^24 * used + residual, where residual has any size. */
static int32_t roll_wide(int8_t *used, int64_t residual) {
    int64_t master = *used * WIDE_ONE + residual;
    const int64_t limit = TK_WEIGHT_LIMIT * WIDE_ONE;
    master = master > limit ? limit : (master < -limit ? -limit : master);
    *used = (int8_t)((master + WIDE_ONE / 2) >> 24);
    return (int32_t)(master - *used * WIDE_ONE);
}

/* Masters that are not of 16 bits, or wait for the end of an accumulation. */
static void unusual_update(const tk_update *update, int32_t index, int32_t delta) {
    int8_t *used = (int8_t *)update->used + index;
    if (update->residual == NULL) {
        *used = (int8_t)tk_clamp(tk_clamp(*used - delta, -TK_BIAS_LIMIT, TK_BIAS_LIMIT),
                                 -TK_WEIGHT_LIMIT, TK_WEIGHT_LIMIT);
    } else if (update->wide) {
        int32_t *residual = (int32_t *)update->residual + index;
        const int64_t sum = (int64_t)*residual - delta;
        *residual = update->accumulate ? to_int32(sum) : roll_wide(used, sum);
    } else {
        int16_t *residual = (int16_t *)update->residual + index;
        *residual = (int16_t)tk_clamp(*residual - delta, INT16_MIN, INT16_MAX);
    }
}

void tk_weight_update(const tk_update *update, int32_t index, int32_t delta) {
    if (!update->simple) {
        unusual_update(update, index, delta);
        return;
    }
    int8_t *used = (int8_t *)update->used + index;
    int8_t *residual = (int8_t *)update->residual + index;
    const int32_t master =
        tk_clamp(*used * 256 + *residual - delta, -TK_WEIGHT_LIMIT * 256, TK_WEIGHT_LIMIT * 256);
    const int32_t rolled = (master + 128) >> 8;
    *used = (int8_t)rolled;
    *residual = (int8_t)(master - rolled * 256);
}

/* Bring bias up to its master, 256 * used + residual, where residual has any size. */
static int64_t roll_bias(int32_t *used, int64_t residual) {
    int64_t master = (int64_t)*used * 256 + residual;
    const int64_t limit = (int64_t)TK_BIAS_LIMIT * 256;
    master = master > limit ? limit : (master < -limit ? -limit : master);
    *used = (int32_t)((master + 128) >> 8);
    return master - (int64_t)*used * 256;
}

void tk_bias_step(const tk_update *update, uint32_t index, int32_t delta) {
    int32_t *used = (int32_t *)update->used + index;
    if (update->residual == NULL) {
        *used = (int32_t)tk_clamp(*used - delta, -TK_BIAS_LIMIT, TK_BIAS_LIMIT);
    } else if (update->accumulate) {
        int32_t *residual = (int32_t *)update->residual + index;
        *residual = to_int32((int64_t)*residual - delta);
    } else {
        int8_t *residual = (int8_t *)update->residual + index;
        *residual = (int8_t)roll_bias(used, (int64_t)*residual - delta);
    }
}

void tk_bias_update_s16(const tk_bias_update *bias, const int16_t *gradient, tk_trainer *trainer) {
    const tk_update *update = bias->update;
    const uint32_t base = tk_noise_base(update->seed, trainer->step, update->tensor);
    for (uint32_t c = 0; c < bias->channels;) {
        const uint32_t count = c + 1 < bias->channels ? 2 : 1; /* channels side by side */
        const int16_t *g = gradient + c;
        int32_t acc[2] = {0, 0};
        for (uint32_t p = 0; p < bias->pixels; p++, g += bias->channels) {
            acc[0] += g[0];
            acc[1] += g[count - 1];
        }
        for (uint32_t k = 0; k < count; k++, c++) {
            const tk_rate rate = tk_update_rate(update, trainer->rate, (int32_t)c);
            const int32_t delta = tk_delta(acc[k], rate, update->stochastic, tk_noise(base, c));
            tk_count_change(trainer, delta);
            tk_bias_step(update, c, delta);
        }
    }
}

static int32_t bias_gradient(const tk_bias_update *bias, const int16_t *gradient, uint32_t c) {
    int32_t acc = 0;
    const int16_t *g = gradient + c;
    for (uint32_t p = 0; p < bias->pixels; p++, g += bias->channels) {
        acc += *g;
    }
    return acc;
}

void tk_bias_update_state_s16(const tk_bias_update *bias, const int16_t *gradient,
                              tk_trainer *trainer) {
    tk_updating u = tk_updating_begin(bias->update, trainer);
    do {
        for (uint32_t c = 0; c < bias->channels; c++) {
            const tk_rate rate = tk_update_rate(u.update, u.rate, (int32_t)c);
            tk_updating_bias(&u, rate, c, bias_gradient(bias, gradient, c));
        }
    } while (tk_updating_again(&u));
}

static void apply_wide(const tk_trained *weights) {
    int8_t *used = weights->used;
    int32_t *residual = weights->residual;
    for (uint32_t i = 0; i < weights->size; i++) {
        residual[i] = roll_wide(&used[i], residual[i]);
    }
}

static void apply_weights(const tk_trained *weights) {
    int8_t *used = weights->used;
    int16_t *residual = weights->residual;
    for (uint32_t i = 0; i < weights->size; i++) {
        const int32_t master =
            tk_clamp(used[i] * 256 + residual[i], -TK_WEIGHT_LIMIT * 256, TK_WEIGHT_LIMIT * 256);
        const int32_t rolled = (master + 128) >> 8;
        used[i] = (int8_t)rolled;
        residual[i] = (int16_t)(master - rolled * 256);
    }
}

void tk_parameters_apply(const tk_parameters *p) {
    p->trainer->pending = 0;
    p->trainer->begun = 0;
    if (p->optimizer->accumulate <= 1) {
        return;
    }
    for (uint32_t i = 0; i < p->weight_count; i++) {
        if (p->optimizer->wide) {
            apply_wide(&p->weights[i]);
        } else {
            apply_weights(&p->weights[i]);
        }
    }
    for (uint32_t i = 0; i < p->bias_count; i++) {
        int32_t *used = p->biases[i].used;
        int32_t *residual = p->biases[i].residual;
        for (uint32_t k = 0; k < p->biases[i].size; k++) {
            residual[k] = (int32_t)roll_bias(&used[k], residual[k]);
        }
    }
}
