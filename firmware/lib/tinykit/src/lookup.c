/* Any function of one int8 code, as a table. */
#include "tinykit/kernels.h"

void tk_lookup_s8(const tk_lookup *lookup, const int8_t *input, int8_t *output) {
    const int8_t *middle = lookup->table + 128; /* the entry of code 0 */
    for (uint32_t i = 0; i < lookup->size; i++) {
        output[i] = middle[input[i]];
    }
}
