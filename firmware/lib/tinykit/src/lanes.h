/* Four products of int16 and int8 at once: the inner loops of gradients. */
#ifndef TINYKIT_LANES_H
#define TINYKIT_LANES_H

#include "simd.h"

/* acc[i] += g[i] * (x[i] - zero_point) */
static inline void tk_lanes_multiply(const int16_t *g, const int8_t *x, int32_t zero_point,
                                     int32_t acc[4]) {
#if TK_DSP
    const uint32_t low = tk_load(g), high = tk_load(g + 2), bytes = tk_load(x);
    const uint32_t offset = tk_both(-zero_point);
    const uint32_t even = tk_add_even_bytes(offset, bytes), odd = tk_add_odd_bytes(offset, bytes);
    acc[0] = tk_smlabb(low, even, acc[0]);
    acc[1] = tk_smlatb(low, odd, acc[1]);
    acc[2] = tk_smlabt(high, even, acc[2]);
    acc[3] = tk_smlatt(high, odd, acc[3]);
#else
    acc[0] += g[0] * (x[0] - zero_point);
    acc[1] += g[1] * (x[1] - zero_point);
    acc[2] += g[2] * (x[2] - zero_point);
    acc[3] += g[3] * (x[3] - zero_point);
#endif
}

/* Gradients g of channels o and o + 1 with their weights at four positions, stored in pairs:
 * a[i] += g[0] * w[2 * i] + g[1] * w[2 * i + 1]. */
static inline void tk_lanes_transposed_2(const int16_t *g, const int8_t *w, int32_t a[4]) {
#if TK_DSP
    const uint32_t low = tk_load(w), high = tk_load(w + 4), gs = tk_load(g);
    const uint32_t low_even = tk_even_bytes(low), low_odd = tk_odd_bytes(low);
    const uint32_t high_even = tk_even_bytes(high), high_odd = tk_odd_bytes(high);
    a[0] = tk_smlad(gs, tk_pack_low(low_even, low_odd), a[0]);
    a[1] = tk_smlad(gs, tk_pack_high(low_even, low_odd), a[1]);
    a[2] = tk_smlad(gs, tk_pack_low(high_even, high_odd), a[2]);
    a[3] = tk_smlad(gs, tk_pack_high(high_even, high_odd), a[3]);
#else
    for (int32_t i = 0; i < 4; i++) {
        a[i] += g[0] * w[2 * i] + g[1] * w[2 * i + 1];
    }
#endif
}

/* Gradients g of channels o and o + 1 at two pixels, g_next apart, with four input channels of
 * the inputs x at pixels x_next apart: a[i] += sum of g[o] * (x[i] - zero_point), b with o + 1. */
static inline void tk_lanes_outer_2x2(const int16_t *g, int32_t g_next, const int8_t *x,
                                      int32_t x_next, int32_t zero_point, int32_t a[4],
                                      int32_t b[4]) {
#if TK_DSP
    const uint32_t offset = tk_both(-zero_point);
    const uint32_t g0 = tk_load(g), g1 = tk_load(g + g_next);
    const uint32_t x0 = tk_load(x), x1 = tk_load(x + x_next);
    const uint32_t even0 = tk_add_even_bytes(offset, x0), odd0 = tk_add_odd_bytes(offset, x0);
    const uint32_t even1 = tk_add_even_bytes(offset, x1), odd1 = tk_add_odd_bytes(offset, x1);
    const uint32_t o0 = tk_pack_low(g0, g1), o1 = tk_pack_high(g0, g1);
    const uint32_t c0 = tk_pack_low(even0, even1), c1 = tk_pack_low(odd0, odd1);
    const uint32_t c2 = tk_pack_high(even0, even1), c3 = tk_pack_high(odd0, odd1);
    a[0] = tk_smlad(o0, c0, a[0]);
    a[1] = tk_smlad(o0, c1, a[1]);
    a[2] = tk_smlad(o0, c2, a[2]);
    a[3] = tk_smlad(o0, c3, a[3]);
    b[0] = tk_smlad(o1, c0, b[0]);
    b[1] = tk_smlad(o1, c1, b[1]);
    b[2] = tk_smlad(o1, c2, b[2]);
    b[3] = tk_smlad(o1, c3, b[3]);
#else
    for (int32_t i = 0; i < 4; i++) {
        const int32_t p = x[i] - zero_point, q = x[x_next + i] - zero_point;
        a[i] += g[0] * p + g[g_next] * q;
        b[i] += g[1] * p + g[g_next + 1] * q;
    }
#endif
}

#endif
