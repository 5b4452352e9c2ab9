/* Masters: 256 * used + residual, and how they follow their gradient. */
#ifndef TINYKIT_MASTER_H
#define TINYKIT_MASTER_H

#include "fixed_point.h"
#include "tinykit/training.h"

#define TK_WEIGHT_LIMIT 127
#define TK_BIAS_LIMIT (1 << 29)  /* leaves room for the sum of products below 2^30 */
#define TK_DELTA_LIMIT (1 << 30) /* largest change in one step, in residual units */

/* rate = mantissa * 2^-shift, exactly; 1 <= shift <= 62. */
typedef struct {
    int32_t mantissa;
    int32_t shift;
} tk_rate;

/* m / 2^15 = a channel's weight scale over the largest's power of two: round(scale * M). */
int16_t tk_channel_multiplier(float scale, int32_t multiplier, int32_t shift);

/* The rate of an output channel, of the step's rate: trainer.rate for plain SGD. */
tk_rate tk_update_rate(const tk_update *update, float rate, int32_t channel);

/* Of a float >= 0: below 2^-39 it is zero, from 2^23 on it saturates. */
tk_rate tk_rate_of(float rate);

/* Where the random numbers of a tensor begin in a step. */
static inline uint32_t tk_noise_base(uint32_t seed, uint32_t step, uint32_t tensor) {
    return seed * 0xB5297A4Du + step * 0x85EBCA77u + tensor * 0xC2B2AE3Du + 0x27D4EB2Fu;
}

/* Random number `index` (murmur3's finalizer). */
static inline uint32_t tk_noise(uint32_t base, uint32_t index) {
    uint32_t x = base + index * 0x9E3779B1u;
    x ^= x >> 16;
    x *= 0x85EBCA6Bu;
    x ^= x >> 13;
    x *= 0xC2B2AE35u;
    return x ^ (x >> 16);
}

/* round(acc * rate): to nearest, or up or down at random (noise). */
static inline int32_t tk_delta(int32_t acc, tk_rate rate, int stochastic, uint32_t noise) {
    int64_t add = (int64_t)1 << (rate.shift - 1);
    if (stochastic) {
        add = rate.shift <= 32 ? (int64_t)(noise >> (32 - rate.shift))
                               : (int64_t)((uint64_t)noise << (rate.shift - 32));
    }
    const int64_t delta = ((int64_t)acc * rate.mantissa + add) >> rate.shift;
    if (delta > TK_DELTA_LIMIT) {
        return TK_DELTA_LIMIT;
    }
    return delta < -TK_DELTA_LIMIT ? -TK_DELTA_LIMIT : (int32_t)delta;
}

static inline uint32_t tk_delta_size(int32_t delta) {
    return (uint32_t)(delta < 0 ? -delta : delta);
}

/* Takes account of the change of one weight or bias. */
static inline void tk_count_change(tk_trainer *trainer, int32_t delta) {
    trainer->updated += delta != 0;
    trainer->moved += tk_delta_size(delta);
}

/* Subtract delta from weight `index` of an int8 parameter. */
void tk_weight_update(const tk_update *update, int32_t index, int32_t delta);
void tk_bias_step(const tk_update *update, uint32_t index, int32_t delta);

/* The master of weight `index`, in update units. */
int32_t tk_weight_master(const tk_update *update, int32_t index);

#endif
