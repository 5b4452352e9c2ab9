/* What conv_block_v6m.S and conv_block_v7m.S leave to C. */
#include "conv_packed.h"

#if TK_PACKED

#define AT_ONCE 16 /* channels of a single pixel */

static int8_t output_of(const tk_block *b, int32_t acc, int32_t multiplier, int32_t shift) {
    const tk_output_range range = tk_range_of(INT8_MIN, INT8_MAX, b->twice_zero >> 1);
    return (int8_t)tk_requantize(acc, multiplier, shift, &range);
}

void tk_block_channel(tk_block *b, const int32_t *sums) {
    int8_t *y = b->output++;
    for (int32_t pixel = 0; pixel < 4; pixel++, y += b->channels) {
        *y = output_of(b, sums[pixel], *b->multiplier, *b->shift);
    }
    b->multiplier += b->step / 4;
    b->shift += b->step / 4;
}

#if !defined(__thumb__) /* what the assembly does */
void tk_dot_4(const int16_t *x, const int8_t *weights, const int8_t *weights_after, int32_t bytes,
              int32_t *sums) {
    for (; bytes < 0; bytes += 2) {
        const int32_t value = x[bytes / 2];
        const int8_t *const w[4] = {weights, weights + 1, weights_after, weights_after + 1};
        for (int32_t i = 0; i < 4; i++) {
            sums[i] = (int32_t)((uint32_t)sums[i] + (uint32_t)(value * w[i][bytes]));
        }
    }
}

void tk_block_4(const tk_block *block) {
    tk_block b = *block;
    const int32_t *const patch = (const int32_t *)(const void *)b.patch;
    const int32_t first = (int32_t)(b.end - b.patch) / 4, all = (int32_t)(b.rest_end - b.patch) / 4;
    b.step /= 2;
    for (int32_t o = 0; o < b.channels; o++) {
        const int8_t *w = b.weights + o / 2 * 2 * first + o % 2;
        const int8_t *rest = b.weights_rest + o / 2 * 2 * (all - first) + o % 2;
        int32_t sums[4];
        for (int32_t pixel = 0; pixel < 4; pixel++) {
            uint32_t acc = (uint32_t)b.bias[o];
            for (int32_t i = 0; i < all; i++) {
                const int32_t word = patch[2 * i + pixel / 2], low = (int16_t)(word & 0xFFFF);
                const int32_t x = pixel % 2 != 0 ? (word - low) / 65536 : low;
                acc += (uint32_t)(x * (i < first ? w[2 * i] : rest[2 * (i - first)]));
            }
            sums[pixel] = (int32_t)acc;
        }
        tk_block_channel(&b, sums);
    }
}
#endif

void tk_block_1(const tk_block *block) {
    tk_block b = *block;
    const int32_t bytes = 2 * (int32_t)(b.end - b.patch);
    const int32_t rest = 2 * (int32_t)(b.rest_end - b.end);
    const int8_t *w = b.weights + bytes, *w_rest = b.weights_rest + rest;
    int32_t sums[AT_ONCE] = {0};
    b.step /= 2;
    for (int32_t left = b.channels; left > 0; left -= AT_ONCE) {
        const int32_t n = tk_min(left, AT_ONCE);
        for (int32_t i = 0; i < n; i++) {
            sums[i] = *b.bias++;
        }
        for (int32_t i = 0; i < n; i += 4, w += 2 * bytes, w_rest += 2 * rest) {
            const int32_t after = n - i > 2; /* a second pair */
            if (bytes > 0) {
                tk_dot_4(b.end, w, w + after * bytes, -bytes, sums + i);
            }
            if (rest > 0) {
                tk_dot_4(b.rest_end, w_rest, w_rest + after * rest, -rest, sums + i);
            }
        }
#if defined(__thumb__) && !defined(__thumb2__)
        if (!b.wide) {
            tk_block_outputs(&b, sums, n);
            continue;
        }
#endif
        for (int32_t i = 0; i < n; i++, b.multiplier += b.step / 4, b.shift += b.step / 4) {
            *b.output++ = output_of(&b, sums[i], *b.multiplier, *b.shift);
        }
    }
}

#endif
