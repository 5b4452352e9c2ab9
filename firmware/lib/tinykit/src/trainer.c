/* Steps, learning-rate schedule, and the learnt parameters' saved form. */
#include "tinykit/training.h"

#define MOST_DROPS 64u /* of a learning rate */
#define CALM 1024u     /* steps */

/* sin(pi/2 * x)^2 = (1 - cos(pi * x)) / 2 within 3e-4, for 0 <= x <= 1. */
static float smooth(float x) {
    const float square = x * x;
    float p = 0.07177027f * square + -0.64210705f;
    p = p * square + 1.57033678f;
    const float sine = x * p;
    return sine * sine;
}

static float learning_rate(const tk_optimizer *optimizer, uint32_t step) {
    float rate = optimizer->learning_rate;
    if (optimizer->schedule == 3) {
        uint32_t drops = step / optimizer->step_size;
        for (drops = drops < MOST_DROPS ? drops : MOST_DROPS; drops > 0; drops--) {
            rate = rate * optimizer->step_factor;
        }
    } else if (optimizer->schedule != 0 && optimizer->total_steps > 0) {
        const uint32_t done = step < optimizer->total_steps ? step : optimizer->total_steps;
        float left = 1.0f - (float)done / (float)optimizer->total_steps;
        if (optimizer->schedule == 2) {
            left = smooth(left);
        }
        rate = rate * left;
    }
    if (step < optimizer->warmup_steps) {
        rate = rate * ((float)(step + 1) / (float)optimizer->warmup_steps);
    }
    return rate;
}

static void forget_changes(const tk_parameters *p) {
    for (uint32_t i = 0; i < p->bias_count + p->weight_count; i++) {
        p->changes[i] = (tk_change){0};
    }
}

void tk_change_end(tk_trainer *trainer, tk_change *change) {
    change->updated = trainer->updated - trainer->counted;
    change->moved = trainer->moved;
    trainer->counted = trainer->updated;
    trainer->moved = 0;
}

static uint32_t size_of(int32_t x) {
    return x < 0 ? 0u - (uint32_t)x : (uint32_t)x;
}

tk_change tk_parameters_change(const tk_parameters *p, uint32_t index) {
    if (index >= p->bias_count + p->weight_count) {
        return (tk_change){0};
    }
    tk_change change = p->changes[index];
    if (index < p->bias_count) {
        const tk_trained *biases = &p->biases[index];
        for (uint32_t i = 0; i < biases->size; i++) {
            change.magnitude += size_of(((const int32_t *)biases->used)[i]);
        }
    } else {
        const tk_trained *weights = &p->weights[index - p->bias_count];
        for (uint32_t i = 0; i < weights->size; i++) {
            change.magnitude += size_of(((const int8_t *)weights->used)[i]);
        }
    }
    return change;
}

/* Whether the loss takes such a target. */
static int32_t takes(const tk_optimizer *optimizer, const tk_target *target) {
    if (optimizer->classes == 0 && optimizer->target_values == 0) {
        return 1; /* the input is its own target */
    }
    if (target == NULL) {
        return 0;
    }
    if (target->values != NULL) {
        return optimizer->target_values > 0;
    }
    return target->label >= 0 && (uint32_t)target->label < optimizer->classes;
}

tk_status tk_step_begin(const tk_parameters *p, const tk_target *target, tk_step *step) {
    tk_trainer *trainer = p->trainer;
    *step = (tk_step){.prediction = -1,
                      .step = trainer->step,
                      .saturations = trainer->saturations,
                      .skipped = trainer->skipped,
                      .rollbacks = trainer->rollbacks};
    if (!takes(p->optimizer, target)) {
        step->status = TK_ERROR_ARGUMENT;
        return TK_ERROR_ARGUMENT;
    }
    if (p->optimizer->first_classes > 0 && (uint32_t)target->label >= trainer->classes) {
        trainer->classes = (uint32_t)target->label + 1;
    }
    trainer->learning_rate = learning_rate(p->optimizer, trainer->step);
    trainer->rate = trainer->learning_rate / (float)p->optimizer->accumulate;
    trainer->normalisation = 1.0f;
    trainer->updated = 0;
    trainer->counted = 0;
    trainer->moved = 0;
    trainer->skips = 0;
    trainer->held = 0;
    forget_changes(p);
    return TK_OK;
}

/* After a step in which gradients saturated the next ones get one bit more; CALM steps without give
 * one back.  States of the optimizer have units of their own. */
static void follow_saturations(tk_trainer *trainer, uint32_t most, uint32_t saturated) {
    if (saturated > 0) {
        trainer->headroom += trainer->headroom < most;
        trainer->calm = 0;
    } else if (++trainer->calm >= CALM) {
        trainer->headroom -= trainer->headroom > 0;
        trainer->calm = 0;
    }
}

void tk_step_end(const tk_parameters *p, tk_step *step) {
    tk_trainer *trainer = p->trainer;
    trainer->step++;
    trainer->pending++;
    if (trainer->skips) {
        trainer->skipped++;
    } else {
        trainer->begun++;
        const uint32_t clamped = trainer->saturations - step->saturations;
        follow_saturations(trainer, p->optimizer->headroom, clamped - trainer->held);
    }
    if (trainer->pending >= p->optimizer->accumulate) {
        tk_parameters_apply(p);
    }
    step->step = trainer->step;
    step->saturated = trainer->saturations - step->saturations; /* there since the beginning */
    step->saturations = trainer->saturations;
    step->skipped = trainer->skipped;
    step->updated = trainer->updated;
}

void tk_parameters_reset(const tk_parameters *p) {
    uint32_t i = 0;
    for (; i < p->initial_bytes; i++) {
        p->block[i] = p->initial[i];
    }
    for (; i < p->block_bytes; i++) {
        p->block[i] = 0;
    }
    *p->trainer = (tk_trainer){.classes = p->optimizer->first_classes};
    forget_changes(p);
}

/* The saved form: "TKP2", step, pending and rollbacks (8 bits each) with classes (16 bits), begun,
 * headroom and calm (16, 4 and 12 bits), saturations, skipped, block bytes, identity, block,
 * CRC-32. */
#define MAGIC 0x32504B54u
#define HEADER_WORDS 7u
#define HEADER_BYTES (16u + 4u * HEADER_WORDS)
_Static_assert(HEADER_BYTES + 4u <= TK_SAVE_OVERHEAD, "TK_SAVE_OVERHEAD is too small");

static void put32(uint8_t *out, uint32_t x) {
    for (int i = 0; i < 4; i++) {
        out[i] = (uint8_t)(x >> (8 * i));
    }
}

static uint32_t get32(const uint8_t *in) {
    return (uint32_t)in[0] | (uint32_t)in[1] << 8 | (uint32_t)in[2] << 16 | (uint32_t)in[3] << 24;
}

size_t tk_parameters_save(const tk_parameters *p, uint8_t *out, size_t bytes) {
    const size_t needed = p->block_bytes + TK_SAVE_OVERHEAD;
    if (out == NULL || bytes < needed) {
        return 0;
    }
    for (size_t i = 0; i < TK_SAVE_OVERHEAD; i++) {
        out[i] = 0;
    }
    const uint32_t counts =
        p->trainer->pending | (uint32_t)p->trainer->rollbacks << 8 | p->trainer->classes << 16;
    const uint32_t begun = p->trainer->begun | p->trainer->headroom << 16 | p->trainer->calm << 20;
    const uint32_t header[HEADER_WORDS] = {
        MAGIC,         p->trainer->step,        counts,
        begun,         p->trainer->saturations, p->trainer->skipped,
        p->block_bytes};
    for (uint32_t i = 0; i < HEADER_WORDS; i++) {
        put32(out + 4 * i, header[i]);
    }
    for (uint32_t i = 0; i < 16; i++) {
        out[4 * HEADER_WORDS + i] = p->identity[i];
    }
    uint8_t *block = out + TK_SAVE_OVERHEAD - 4;
    for (uint32_t i = 0; i < p->block_bytes; i++) {
        block[i] = p->block[i];
    }
    put32(out + needed - 4, tk_crc32(0, out, needed - 4));
    return needed;
}

tk_status tk_parameters_load(const tk_parameters *p, const uint8_t *in, size_t bytes) {
    const size_t needed = p->block_bytes + TK_SAVE_OVERHEAD;
    if (in == NULL || bytes < HEADER_BYTES) {
        return TK_ERROR_SIZE;
    }
    if (get32(in) != MAGIC) {
        return TK_ERROR_FORMAT;
    }
    for (uint32_t i = 0; i < 16; i++) {
        if (in[4 * HEADER_WORDS + i] != p->identity[i]) {
            return TK_ERROR_MODEL;
        }
    }
    if (bytes != needed || get32(in + 4 * (HEADER_WORDS - 1u)) != p->block_bytes) {
        return TK_ERROR_SIZE;
    }
    if (get32(in + needed - 4) != tk_crc32(0, in, needed - 4)) {
        return TK_ERROR_CRC;
    }
    const uint8_t *block = in + TK_SAVE_OVERHEAD - 4;
    for (uint32_t i = 0; i < p->block_bytes; i++) {
        p->block[i] = block[i];
    }
    *p->trainer = (tk_trainer){.step = get32(in + 4),
                               .pending = get32(in + 8) & 0xFFu,
                               .rollbacks = in[9],
                               .begun = get32(in + 12) & 0xFFFFu,
                               .headroom = get32(in + 12) >> 16 & 15u,
                               .calm = get32(in + 12) >> 20,
                               .saturations = get32(in + 16),
                               .skipped = get32(in + 20),
                               .classes = get32(in + 8) >> 16};
    forget_changes(p);
    return TK_OK;
}
