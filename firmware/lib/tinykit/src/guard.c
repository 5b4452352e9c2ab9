/* A guard against divergence: back to earlier parameters when the loss says so.
 *
 * Losses are summed as integers, in units of 2^-32, over windows of steps.  A window that comes to
 * its end below the limit has proven the parameters that it began with: they are the snapshot from
 * then on, and those of now are what the next window proves.  Above the limit the snapshot comes
 * back at once, for the rest of a window cannot make its sum smaller. */
#include "scalar.h"
#include "tinykit/training.h"

#define NO_BEST UINT64_MAX
#define LARGEST_LOSS ((uint64_t)1 << 47) /* 2^15, of one step */
#define MOST_ROLLBACKS 255u              /* that are counted: the saved form has 8 bits for them */
#define MOST_DROPS 64u                   /* of the learning rate */

/* trunc(loss * 2^32), from its bits: a float is mantissa * 2^(exponent - 150). */
static uint64_t fixed(float loss) {
    const uint32_t bits = tk_float_bits(loss);
    const int32_t shift = (int32_t)((bits >> 23) & 0xFFu) - 118;
    const uint32_t mantissa = (bits & 0x7FFFFFu) | 0x800000u;
    if (bits >> 31 != 0 || shift <= -24) {
        return 0;
    }
    if (shift >= 24) {
        return LARGEST_LOSS;
    }
    return shift < 0 ? mantissa >> -shift : (uint64_t)mantissa << shift;
}

/* The largest sum of losses that a window may reach. */
static uint64_t most(const tk_guard *g) {
    uint64_t best = g->state->best;
    if (g->factor == 0 || best == NO_BEST) {
        return g->limit;
    }
    best = best > g->floor ? best : g->floor;
    const uint64_t relative = (best >> 8) * g->factor;
    return relative < g->limit ? relative : g->limit;
}

static void begin_window(const tk_guard *g) {
    g->state->sum = 0;
    g->state->steps = 0;
}

void tk_guard_reset(const tk_guard *g) {
    const uint8_t *block = g->parameters->block;
    g->state->best = NO_BEST;
    begin_window(g);
    __builtin_memcpy(g->snapshot, block, g->kept_bytes);
    if (g->candidate != NULL) {
        __builtin_memcpy(g->candidate, block, g->kept_bytes);
    }
}

void tk_guard_begin(const tk_guard *g) {
    tk_trainer *trainer = g->parameters->trainer;
    uint32_t drops = trainer->rollbacks < MOST_DROPS ? trainer->rollbacks : MOST_DROPS;
    for (; drops > 0; drops--) {
        trainer->learning_rate = trainer->learning_rate * g->rate_factor;
    }
    trainer->rate = trainer->learning_rate / (float)g->parameters->optimizer->accumulate;
}

void tk_guard_back(const tk_guard *g) {
    const tk_parameters *p = g->parameters;
    __builtin_memcpy(p->block, g->snapshot, g->kept_bytes);
    __builtin_memset(p->block + g->zeroed_from, 0, p->block_bytes - g->zeroed_from);
    if (g->candidate != NULL) {
        __builtin_memcpy(g->candidate, g->snapshot, g->kept_bytes);
    }
    p->trainer->pending = 0;
    p->trainer->begun = 0;
    if (p->trainer->rollbacks < MOST_ROLLBACKS) {
        p->trainer->rollbacks++;
    }
    begin_window(g);
}

void tk_guard_end(const tk_guard *g, tk_step *step) {
    tk_guard_state *state = g->state;
    const uint8_t *block = g->parameters->block;
    state->sum += fixed(step->loss);
    state->steps++;
    if (state->sum > most(g)) {
        tk_guard_back(g);
    } else if (state->steps >= g->window) {
        state->best = state->sum < state->best ? state->sum : state->best;
        begin_window(g);
        if (g->candidate != NULL) {
            __builtin_memcpy(g->snapshot, g->candidate, g->kept_bytes);
            __builtin_memcpy(g->candidate, block, g->kept_bytes);
        } else {
            __builtin_memcpy(g->snapshot, block, g->kept_bytes);
        }
    }
    step->rollbacks = g->parameters->trainer->rollbacks;
}
