/* Filling patches (conv_block.h) with int8 inputs. */
#ifndef TINYKIT_PATCH_H
#define TINYKIT_PATCH_H

#include "conv_block.h"

/* What is filled in of a patch: one pixel, or all four, whose inputs lie `apart` bytes from each
 * other. */
typedef struct {
    int16_t *first; /* the first of these pixels' first word */
    int32_t step;   /* int16 from word to word */
    int32_t at;     /* the next position */
    int32_t pixels, apart;
    int32_t zero_point; /* subtracted */
} tk_filling;

#if TK_DSP
/* Four values of one pixel as two words of pairs. */
static inline void tk_patch_put_4(int16_t *word, int32_t step, uint32_t x, uint32_t offset) {
    const uint32_t even = tk_add_even_bytes(offset, x), odd = tk_add_odd_bytes(offset, x);
    tk_store(word, tk_pack_low(even, odd));
    tk_store(word + step, tk_pack_high(even, odd));
}

/* The next n positions, an even one first and a multiple of 4, from from[0 … n) of each pixel. */
static inline void tk_patch_fours(const tk_filling *f, int16_t *word, const int8_t *from,
                                  int32_t n) {
    const uint32_t offset = tk_both(-f->zero_point);
    const int32_t step = f->step, apart = f->apart;
    const int8_t *end = from + n;
    if (f->pixels == 4) {
        for (; from != end; from += 4, word += 16) {
            tk_patch_put_4(word, 8, tk_load(from), offset);
            tk_patch_put_4(word + 2, 8, tk_load(from + apart), offset);
            tk_patch_put_4(word + 4, 8, tk_load(from + 2 * apart), offset);
            tk_patch_put_4(word + 6, 8, tk_load(from + 3 * apart), offset);
        }
    }
    for (; from != end; from += 4, word += 2 * step) {
        tk_patch_put_4(word, step, tk_load(from), offset);
    }
}
#endif

/* The next n positions = from[0 … n) - zero_point. */
static __attribute__((noinline)) void tk_patch_put(tk_filling *f, const int8_t *from, int32_t n) {
    while (n > 0) {
        const int32_t odd = f->at & 1;
        int16_t *word = f->first + (f->at >> 1) * f->step + odd;
        int32_t done = 1;
#if TK_DSP
        if (n >= 4 && !odd) {
            done = n & ~3;
            tk_patch_fours(f, word, from, done);
        } else
#endif
        {
            const int8_t *x = from;
            for (int32_t i = f->pixels; i > 0; i--, word += 2, x += f->apart) {
                *word = (int16_t)(*x - f->zero_point);
            }
        }
        f->at += done;
        from += done;
        n -= done;
    }
}

/* The next n positions, which lie in the padding. */
static __attribute__((noinline)) void tk_patch_pad(tk_filling *f, int32_t n, int32_t value) {
    for (; n > 0; n--, f->at++) {
        int16_t *word = f->first + (f->at >> 1) * f->step + (f->at & 1);
        for (int32_t i = 0; i < f->pixels; i++) {
            word[2 * i] = (int16_t)value;
        }
    }
}

#endif
