/* k nearest neighbours; with one row per class and k = 1, nearest centroids. */
#include "distance.h"
#include "tinykit/classical.h"

void tk_nearest_s8(const tk_nearest *op, const int8_t *x, int8_t *output, int32_t *scratch) {
    const uint32_t wanted = op->neighbours;
    int32_t *distance = scratch, *label = scratch + wanted, *votes = label + wanted;
    uint32_t found = 0; /* sorted, the nearest first */
    const int8_t *row = op->rows;
    for (uint32_t n = 0; n < op->count; n++, row += op->features) {
        const int32_t d = tk_squared_distance(x, row, op->features);
        if (found == wanted && d >= distance[wanted - 1]) {
            continue;
        }
        uint32_t at = found < wanted ? found++ : wanted - 1;
        for (; at > 0 && distance[at - 1] > d; at--) {
            distance[at] = distance[at - 1];
            label[at] = label[at - 1];
        }
        distance[at] = d;
        label[at] = op->labels[n];
    }
    for (uint32_t c = 0; c < op->scores->count; c++) {
        votes[c] = 0;
    }
    for (uint32_t i = 0; i < found; i++) {
        votes[label[i]]++;
    }
    tk_scores_s8(op->scores, votes, output);
}
