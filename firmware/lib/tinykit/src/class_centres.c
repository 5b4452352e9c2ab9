/* Classes by the nearest centre of their embeddings, and the triplet loss that moves embeddings
 * there.  Centres are in units of 1/128 of the embedding's codes. */
#include "gradient.h"
#include "scalar.h"
#include "tinykit/training.h"

#define CENTRE 128
#define GRADIENT_BITS 14 /* the largest gradient is at most 2^14 */

static uint64_t distance(const tk_class_centres *op, const int8_t *y, const int16_t *centre) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < op->size; i++) {
        const int32_t difference = y[i] * CENTRE - centre[i];
        sum += (uint32_t)(difference * difference);
    }
    return sum;
}

/* The nearest class in use but `without`, and its distance; `classes` where there is none. */
static uint32_t nearest(const tk_class_centres *op, const int8_t *y, const int16_t *centres,
                        const int16_t *counts, uint32_t without, uint64_t *closest) {
    uint32_t found = op->classes;
    for (uint32_t c = 0; c < op->classes; c++) {
        if (counts[c] > 0 && c != without) {
            const uint64_t far = distance(op, y, centres + c * op->size);
            if (found == op->classes || far < *closest) {
                found = c;
                *closest = far;
            }
        }
    }
    return found;
}

static float as_float(uint64_t x) {
    return (float)(uint32_t)(x >> 32) * 4294967296.0f + (float)(uint32_t)x;
}

void tk_class_centres_s8(const tk_class_centres *op, const int8_t *y, const int16_t *centres,
                         const int16_t *counts, int8_t *output, float *scratch) {
    uint64_t closest = 0;
    (void)nearest(op, y, centres, counts, op->classes, &closest);
    float total = 0.0f;
    for (uint32_t c = 0; c < op->classes; c++) {
        if (counts[c] > 0) {
            const uint64_t farther = distance(op, y, centres + c * op->size) - closest;
            scratch[c] = tk_exp(-(as_float(farther) * op->by_margin));
            total = total + scratch[c];
        }
    }
    for (uint32_t c = 0; c < op->classes; c++) {
        int32_t code = 0;
        if (counts[c] > 0) {
            code = (int32_t)(scratch[c] / total * 256.0f + 0.5f);
        }
        output[c] = (int8_t)((code > 255 ? 255 : code) - 128);
    }
}

/* The class's mean takes a sample in. */
static void take_in(const tk_class_centres *op, const int8_t *y, int16_t *centre, int16_t *count) {
    const int32_t n = *count < op->window ? *count + 1 : op->window;
    for (uint32_t i = 0; i < op->size; i++) {
        const int32_t away = y[i] * CENTRE - centre[i];
        const int32_t part = ((away < 0 ? -away : away) + n / 2) / n;
        centre[i] = (int16_t)(centre[i] + (away < 0 ? -part : part));
    }
    *count = (int16_t)n;
}

/* gradient = other - own, times a power of two. */
static void towards(const tk_class_centres *op, const int16_t *own, const int16_t *other,
                    int16_t *gradient, tk_trainer *trainer) {
    int32_t largest = 0;
    for (uint32_t i = 0; i < op->size; i++) {
        const int32_t difference = other[i] - own[i];
        const int32_t size = difference < 0 ? -difference : difference;
        largest = size > largest ? size : largest;
    }
    int32_t bits = 0;
    while ((int32_t)1 << bits < largest) {
        bits++;
    }
    bits += (int32_t)trainer->headroom;
    trainer->normalisation = largest == 0 ? 0.0f : op->twice * tk_power_of_two(bits);
    for (uint32_t i = 0; i < op->size; i++) {
        gradient[i] = (int16_t)tk_shift_round(other[i] - own[i], bits - GRADIENT_BITS);
    }
}

void tk_triplet_s8(const tk_class_centres *op, const int8_t *y, int16_t *centres, int16_t *counts,
                   int16_t *gradient, const tk_target *target, tk_trainer *trainer, tk_step *step) {
    const uint32_t label = (uint32_t)target->label;
    int16_t *own = centres + label * op->size;
    uint64_t apart = 0;
    const uint32_t best = nearest(op, y, centres, counts, op->classes, &apart);
    const uint32_t other = nearest(op, y, centres, counts, label, &apart);
    step->prediction = best < op->classes ? (int32_t)best : -1;
    step->loss = 0.0f;
    if (counts[label] > 0 && other < op->classes) {
        const uint64_t near = distance(op, y, own);
        const float more = near < apart ? -as_float(apart - near) : as_float(near - apart);
        const float loss = more * op->square + op->margin;
        step->loss = loss > 0.0f ? loss : 0.0f;
    }
    trainer->skips = op->guard_loss > 0.0f && step->loss > op->guard_loss;
    /* Towards its own centre, nothing is left to do. */
    const int16_t *goal = step->loss > 0.0f ? centres + other * op->size : own;
    towards(op, own, goal, gradient, trainer);
    trainer->rate = trainer->rate * trainer->normalisation;
    if (!trainer->skips) {
        take_in(op, y, own, counts + label);
    }
}
