/* Sigmoid and tanh of 16 bits, by interpolation in a table of sigmoid(i / 24) in Q0.16. */
#ifndef TINYKIT_SIGMOID_H
#define TINYKIT_SIGMOID_H

#include <stdint.h>

/* Sigmoid in Q0.15 of x / 12288: |x| is a place in the table with 9 bits of fraction. */
static inline int32_t tk_sigmoid(const uint16_t *table, int32_t x) {
    const uint32_t size = (uint32_t)(x < 0 ? -x : x), place = size >> 9;
    uint32_t result = 0x7FFFu << 10;
    if (place < 255) {
        const uint32_t low = table[place], high = table[place + 1];
        result = (low << 9) + (size & 511) * (high - low);
    }
    return (int32_t)((x >= 0 ? result + 512 : (1u << 25) - result + 511) >> 10);
}

/* tanh in Q0.15 of x / 12288, as 2 * sigmoid(2 * x) - 1. */
static inline int32_t tk_tanh(const uint16_t *table, int32_t x) {
    const uint32_t size = (uint32_t)(x < 0 ? -x : x), place = size >> 8;
    int32_t result = 0xFFFF << 8;
    if (place < 255) {
        const int32_t low = table[place], high = table[place + 1];
        result = low * 256 + (int32_t)(size & 255) * (high - low);
    }
    result -= 1 << 23;
    return (x >= 0 ? result + 128 : 127 - result) >> 8;
}

#endif
