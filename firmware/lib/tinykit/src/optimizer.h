/* Updates by an optimizer beyond plain SGD: momentum, Adam, weight decay, clipping. */
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
    uint32_t mean_share, square_share; /* Adam: of this step's gradient, times 2^24 */
    uint32_t base;                     /* of the random numbers */
    int first;     /* no earlier sample of this accumulation has updated anything */
    int measuring; /* this pass sums squares for the norm, in halves of 32 bits */
    uint64_t low, high;
} tk_updating;

/* begin; then passes over all elements for as long as there is another one. */
tk_updating tk_updating_begin(const tk_update *update, tk_trainer *trainer);
int tk_updating_again(tk_updating *u);

/* Element `number`, which lies at `place`, follows its gradient's accumulator. */
void tk_updating_weight(tk_updating *u, tk_rate rate, int32_t place, uint32_t number, int32_t acc);
void tk_updating_bias(tk_updating *u, tk_rate rate, uint32_t number, int32_t acc);

#endif
