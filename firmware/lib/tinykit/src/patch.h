/* Patches of int16 inputs, and their sums of products with int8 weights: the inner loops of
 * convolutions and fully connected layers.
 *
 * A patch holds what one output pixel sees, or what two neighbours see: `count` values for each
 * position.  Positions come in groups of four.  The plain layout of a group is pixel by pixel, in
 * order.  With TK_DSP the four positions of a pixel lie as 0, 2, 1, 3, which is how SXTB16 takes
 * int8 weights apart. */
#ifndef TINYKIT_PATCH_H
#define TINYKIT_PATCH_H

#include <stddef.h>

#include "simd.h"

#define TK_GROUP 4

/* Where position `at` of pixel `pixel` lies, in int16. */
static inline int32_t tk_patch_index(int32_t at, int32_t pixel, int32_t count) {
    const int32_t lane = at % TK_GROUP;
#if TK_DSP
    const int32_t place = (lane & 1) * 2 + (lane >> 1);
#else
    const int32_t place = lane;
#endif
    return (at / TK_GROUP * count + pixel) * TK_GROUP + place;
}

/* patch[at …] = from[0 … n) - zero_point for one pixel; from = NULL: zeros. */
static void tk_patch_write(int16_t *patch, int32_t at, int32_t pixel, int32_t count,
                           const int8_t *from, int32_t n, int32_t zero_point) {
    int32_t i = 0;
#if TK_DSP
    if (at % TK_GROUP == 0) {
        const uint32_t offset = tk_both(-zero_point);
        int16_t *to = patch + tk_patch_index(at, pixel, count);
        for (; i + TK_GROUP <= n; i += TK_GROUP, to += TK_GROUP * count) {
            const uint32_t x = from != NULL ? tk_load(from + i) : 0;
            tk_store(to, from != NULL ? tk_add_even_bytes(offset, x) : 0);
            tk_store(to + 2, from != NULL ? tk_add_odd_bytes(offset, x) : 0);
        }
    }
#endif
    for (; i < n; i++) {
        const int32_t value = from != NULL ? from[i] - zero_point : 0;
        patch[tk_patch_index(at + i, pixel, count)] = (int16_t)value;
    }
}

/* Two patches with two channels: acc[pixel * 2 + channel] += sum of x * w over n positions. */
static void tk_patch_dot_2x2(const int16_t *x, const int8_t *w0, const int8_t *w1, int32_t n,
                             int32_t acc[4]) {
    int32_t a = acc[0];
    int32_t b = acc[1];
    int32_t c = acc[2];
    int32_t d = acc[3];
    const int32_t whole = n / TK_GROUP * TK_GROUP;
    if (whole > 0) {
        const int16_t *end = x + 2 * whole;
#if TK_DSP && defined(__arm__) && !defined(__clang__) /* clang keeps a register for itself */
        uint32_t p_even, p_odd, q_even, q_odd, u, v;
        __asm__ volatile("1:\n"
                         "    ldrd    %[pe], %[po], [%[x]], #8\n"
                         "    ldrd    %[qe], %[qo], [%[x]], #8\n"
                         "    ldr     %[u], [%[w0]], #4\n"
                         "    sxtb16  %[v], %[u]\n"
                         "    sxtb16  %[u], %[u], ror #8\n"
                         "    smlad   %[a], %[pe], %[v], %[a]\n"
                         "    smlad   %[c], %[qe], %[v], %[c]\n"
                         "    ldr     %[v], [%[w1]], #4\n"
                         "    smlad   %[a], %[po], %[u], %[a]\n"
                         "    smlad   %[c], %[qo], %[u], %[c]\n"
                         "    sxtb16  %[u], %[v]\n"
                         "    sxtb16  %[v], %[v], ror #8\n"
                         "    smlad   %[b], %[pe], %[u], %[b]\n"
                         "    smlad   %[d], %[qe], %[u], %[d]\n"
                         "    cmp     %[x], %[end]\n"
                         "    smlad   %[b], %[po], %[v], %[b]\n"
                         "    smlad   %[d], %[qo], %[v], %[d]\n"
                         "    bne     1b\n"
                         : [x] "+r"(x), [w0] "+r"(w0), [w1] "+r"(w1), [a] "+r"(a), [b] "+r"(b),
                           [c] "+r"(c), [d] "+r"(d), [pe] "=&r"(p_even), [po] "=&r"(p_odd),
                           [qe] "=&r"(q_even), [qo] "=&r"(q_odd), [u] "=&r"(u), [v] "=&r"(v)
                         : [end] "r"(end)
                         : "cc", "memory");
#elif TK_DSP
        for (; x != end; x += 2 * TK_GROUP, w0 += TK_GROUP, w1 += TK_GROUP) {
            const uint32_t u = tk_load(w0), v = tk_load(w1);
            const uint32_t u_even = tk_even_bytes(u), u_odd = tk_odd_bytes(u);
            const uint32_t v_even = tk_even_bytes(v), v_odd = tk_odd_bytes(v);
            a = tk_smlad(tk_load(x + 2), u_odd, tk_smlad(tk_load(x), u_even, a));
            b = tk_smlad(tk_load(x + 2), v_odd, tk_smlad(tk_load(x), v_even, b));
            c = tk_smlad(tk_load(x + 6), u_odd, tk_smlad(tk_load(x + 4), u_even, c));
            d = tk_smlad(tk_load(x + 6), v_odd, tk_smlad(tk_load(x + 4), v_even, d));
        }
#else
        for (; x != end; x += 2 * TK_GROUP, w0 += TK_GROUP, w1 += TK_GROUP) {
            for (int32_t lane = 0; lane < TK_GROUP; lane++) {
                const int32_t p = x[tk_patch_index(lane, 0, 2)];
                const int32_t q = x[tk_patch_index(lane, 1, 2)];
                a += p * w0[lane];
                b += p * w1[lane];
                c += q * w0[lane];
                d += q * w1[lane];
            }
        }
#endif
    }
    for (int32_t lane = 0; lane < n - whole; lane++) {
        const int32_t p = x[tk_patch_index(lane, 0, 2)];
        const int32_t q = x[tk_patch_index(lane, 1, 2)];
        a += p * w0[lane];
        b += p * w1[lane];
        c += q * w0[lane];
        d += q * w1[lane];
    }
    acc[0] = a;
    acc[1] = b;
    acc[2] = c;
    acc[3] = d;
}

/* One patch with two channels: acc[channel] += sum of x * w over n positions. */
static void tk_patch_dot_1x2(const int16_t *x, const int8_t *w0, const int8_t *w1, int32_t n,
                             int32_t acc[2]) {
    int32_t a = acc[0];
    int32_t b = acc[1];
    for (; n >= TK_GROUP; n -= TK_GROUP, x += TK_GROUP, w0 += TK_GROUP, w1 += TK_GROUP) {
#if TK_DSP
        const uint32_t even = tk_load(x), odd = tk_load(x + 2);
        const uint32_t u = tk_load(w0), v = tk_load(w1);
        a = tk_smlad(even, tk_even_bytes(u), a);
        b = tk_smlad(even, tk_even_bytes(v), b);
        a = tk_smlad(odd, tk_odd_bytes(u), a);
        b = tk_smlad(odd, tk_odd_bytes(v), b);
#else
        a += x[0] * w0[0] + x[1] * w0[1] + x[2] * w0[2] + x[3] * w0[3];
        b += x[0] * w1[0] + x[1] * w1[1] + x[2] * w1[2] + x[3] * w1[3];
#endif
    }
    for (int32_t lane = 0; lane < n; lane++) {
        const int32_t p = x[tk_patch_index(lane, 0, 1)];
        a += p * w0[lane];
        b += p * w1[lane];
    }
    acc[0] = a;
    acc[1] = b;
}

#endif
