/* Decision trees, forests, gradient boosting. */
#include <stddef.h>

#include "tinykit/classical.h"

static int32_t leaf_of(const int32_t *node, const int8_t *x) {
    for (;;) {
        const uint32_t word = (uint32_t)*node;
        const uint32_t right = word & 0x3FFFu;
        if (right == 0) {
            return *node >> 14;
        }
        const int32_t threshold = (int32_t)(word >> 14 & 0xFFu) - 128;
        node += x[word >> 22] <= threshold ? 1 : right;
    }
}

void tk_tree_ensemble_s8(const tk_tree_ensemble *op, const int8_t *x, int8_t *output,
                         int32_t *sums) {
    const uint32_t outputs = op->scores->count;
    for (uint32_t o = 0; o < outputs; o++) {
        sums[o] = op->start[o];
    }
    uint32_t turn = 0;
    for (uint32_t tree = 0; tree < op->trees; tree++) {
        const int32_t leaf = leaf_of(op->nodes + op->roots[tree], x);
        if (op->values == NULL) {
            sums[turn] += leaf;
            turn = turn + 1 < outputs ? turn + 1 : 0;
        } else {
            const int16_t *row = op->values + (uint32_t)leaf * outputs;
            for (uint32_t o = 0; o < outputs; o++) {
                sums[o] += row[o];
            }
        }
    }
    tk_scores_s8(op->scores, sums, output);
}
