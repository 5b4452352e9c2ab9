/* Scores to int8 outputs, the best one's code above all others'. */
#include "requantize.h"
#include "tinykit/classical.h"

void tk_scores_s8(const tk_scores *op, const int32_t *scores, int8_t *output) {
    const tk_output_range range = tk_range_of(INT8_MIN, INT8_MAX, op->zero_point);
    int32_t best = scores[0];
    for (uint32_t i = 1; i < op->count; i++) {
        best = tk_max(best, scores[i]);
    }
    int32_t top = tk_requantize(best, op->multiplier, op->shift, &range);
    if (op->count > 1) {
        top = tk_max(top, INT8_MIN + 1);
    }
    for (uint32_t i = 0; i < op->count; i++) {
        const int32_t code = tk_requantize(scores[i], op->multiplier, op->shift, &range);
        output[i] = (int8_t)(scores[i] == best ? top : tk_min(code, top - 1));
    }
}
