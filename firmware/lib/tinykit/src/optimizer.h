/* Updates by an optimizer that remembers: momentum, weight decay.  Plain SGD does without. */
#ifndef TINYKIT_OPTIMIZER_H
#define TINYKIT_OPTIMIZER_H

#include "master.h"

/* An update under way: what all elements of one tensor share in one step. */
typedef struct {
    const tk_update *update;
    tk_trainer *trainer;
    float rate;       /* for tk_update_rate */
    tk_rate gradient; /* from accumulators to states, times 2^15 */
    tk_rate decay;
    uint32_t base; /* of the random numbers */
    int first;     /* no earlier sample of this accumulation has updated anything */
} tk_updating;

tk_updating tk_updating_begin(const tk_update *update, tk_trainer *trainer);

/* Element `number`, which lies at `place`, follows its gradient's accumulator. */
void tk_updating_weight(const tk_updating *u, tk_rate rate, int32_t place, uint32_t number,
                        int32_t acc);
void tk_updating_bias(const tk_updating *u, tk_rate rate, uint32_t number, int32_t acc);

#endif
