/* Sums over the rows of a map, one row at a time. */
#ifndef TINYKIT_FOLD_H
#define TINYKIT_FOLD_H

#include <stdint.h>

/* sums[c] += row[x][c] over x; the first row starts from `start`. */
static inline void tk_fold_row(int32_t *sums, const int8_t *row, int32_t width, int32_t channels,
                               int first, int32_t start) {
    if (first) {
        for (int32_t c = 0; c < channels; c++) {
            sums[c] = start;
        }
    }
    for (int32_t x = 0; x < width; x++) {
        for (int32_t c = 0; c < channels; c++) {
            sums[c] += *row++;
        }
    }
}

#endif
