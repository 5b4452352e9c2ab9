/* Squared Euclidean distances between int8 rows. */
#ifndef TINYKIT_DISTANCE_H
#define TINYKIT_DISTANCE_H

#include <stdint.h>

/* At most 33,025 features: 255^2 each fit into 31 bits. */
static inline int32_t tk_squared_distance(const int8_t *a, const int8_t *b, uint32_t features) {
    int32_t sum = 0;
    for (uint32_t i = 0; i < features; i++) {
        const int32_t difference = a[i] - b[i];
        sum += difference * difference;
    }
    return sum;
}

#endif
