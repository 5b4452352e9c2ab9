/* Past samples against forgetting: a class-balanced reservoir (Chrysakis and Moens, "Online
 * Continual Learning from Imbalanced Data", ICML 2020).
 *
 * Samples are stored as they come until there is no room.  From then on a class that has never had
 * the most samples takes the place of one of the class that has the most; a class that has had them
 * keeps a uniform choice of all its samples so far.  Random numbers are those of
 * stochastic rounding, as if the samples were one more tensor that is trained in the step. */
#include "master.h"

#define TENSOR 0xFFFFFFFFu
#define FULL 0x80000000u /* in `seen`: the group has had the most samples */

/* A random number below `count`. */
static uint32_t below(const tk_replay *r, uint32_t step, uint32_t number, uint32_t count) {
    const uint32_t noise = tk_noise(tk_noise_base(r->optimizer->seed, step, TENSOR), number);
    return (uint32_t)(((uint64_t)noise * count) >> 32);
}

/* The block may have been written by the application: nothing in it is trusted. */
static uint32_t filled(const tk_replay *r) {
    return *r->filled < r->capacity ? *r->filled : r->capacity;
}

/* Classes are groups; all samples without one are the last group. */
static uint32_t group_of(const tk_replay *r, int32_t label) {
    return label >= 0 && (uint32_t)label < r->groups ? (uint32_t)label : r->groups - 1;
}

static uint32_t stored(const tk_replay *r, uint32_t group) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < r->capacity; i++) {
        count += group_of(r, r->labels[i]) == group;
    }
    return count;
}

/* The slot of sample `number` of a group; there are that many. */
static uint32_t slot_of(const tk_replay *r, uint32_t group, uint32_t number) {
    for (uint32_t i = 0; i < r->capacity; i++) {
        if (group_of(r, r->labels[i]) == group && number-- == 0) {
            return i;
        }
    }
    return 0;
}

/* Where a new sample goes; capacity: nowhere. */
static uint32_t slot_for(const tk_replay *r, uint32_t step, uint32_t group) {
    if (filled(r) < r->capacity) {
        *r->filled = filled(r) + 1;
        return *r->filled - 1;
    }
    uint32_t most = 0;
    uint32_t largest = 0;
    for (uint32_t g = 0; g < r->groups; g++) {
        const uint32_t count = stored(r, g);
        if (count > most) {
            most = count;
            largest = g;
        }
    }
    r->seen[largest] |= FULL;
    const uint32_t mine = stored(r, group);
    if (mine == 0 || (r->seen[group] & FULL) == 0) {
        return slot_of(r, largest, below(r, step, 0, most));
    }
    const uint32_t number = below(r, step, 0, r->seen[group] & ~FULL);
    return number < mine ? slot_of(r, group, number) : r->capacity;
}

void tk_replay_insert(const tk_replay *r, uint32_t step, const int8_t *sample,
                      const tk_target *target) {
    const int8_t *values = r->target_bytes > 0 ? target->values : NULL;
    const int32_t label = values == NULL && r->optimizer->classes > 0 ? target->label : -1;
    const uint32_t group = group_of(r, label);
    if ((r->seen[group] & ~FULL) < ~FULL) {
        r->seen[group]++;
    }
    const uint32_t slot = slot_for(r, step, group);
    if (slot == r->capacity) {
        return;
    }
    int8_t *place = r->samples + (size_t)slot * r->stride;
    r->labels[slot] = label;
    __builtin_memcpy(place, sample, r->sample_bytes);
    if (values != NULL) {
        __builtin_memcpy(place + r->sample_bytes, values, r->target_bytes);
    }
}

const int8_t *tk_replay_draw(const tk_replay *r, uint32_t step, uint32_t number,
                             tk_target *target) {
    if (filled(r) == 0) {
        return NULL;
    }
    const uint32_t slot = below(r, step, number + 1, filled(r));
    const int8_t *sample = r->samples + (size_t)slot * r->stride;
    target->label = r->labels[slot];
    target->values = target->label < 0 && r->target_bytes > 0 ? sample + r->sample_bytes : NULL;
    return sample;
}

void tk_replay_add(tk_step *step, const tk_step *old) {
    step->step = old->step;
    step->saturations = old->saturations;
    step->skipped = old->skipped;
    step->updated += old->updated;
    step->rollbacks = old->rollbacks;
}
