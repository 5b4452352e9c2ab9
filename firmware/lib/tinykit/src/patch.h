/* Filling patches (conv_block.h) with int8 inputs. */
#ifndef TINYKIT_PATCH_H
#define TINYKIT_PATCH_H

#include "conv_block.h"

/* Four values of one pixel as two words of pairs. */
#if TK_DSP
static inline void tk_patch_put_4(int16_t *word, int32_t step, uint32_t x, uint32_t offset) {
    const uint32_t even = tk_add_even_bytes(offset, x), odd = tk_add_odd_bytes(offset, x);
    tk_store(word, tk_pack_low(even, odd));
    tk_store(word + step, tk_pack_high(even, odd));
}
#endif

/* n positions of one pixel = from[0 … n) - zero_point; `word` is where its first pair lies and
 * `step` int16 further the next one.  An odd last pair is filled up with a zero. */
static __attribute__((noinline)) void tk_patch_fill(int16_t *word, int32_t step, const int8_t *from,
                                                    int32_t n, int32_t zero_point) {
#if TK_DSP
    const uint32_t offset = tk_both(-zero_point);
    for (; n >= 4; n -= 4, from += 4, word += 2 * step) {
        tk_patch_put_4(word, step, tk_load(from), offset);
    }
#endif
    for (; n > 0; n -= 2, from += 2, word += step) {
        word[0] = (int16_t)(from[0] - zero_point);
        word[1] = n > 1 ? (int16_t)(from[1] - zero_point) : 0;
    }
}

#if TK_DSP
/* n positions (a multiple of 4) of four pixels at once, `apart` bytes from one to the next; `word`
 * is where the first pixel's lie.  Returns where the next ones lie. */
static inline int16_t *tk_patch_copy_4x4(int16_t *word, const int8_t *from, int32_t apart,
                                         int32_t n, int32_t zero_point) {
    const uint32_t offset = tk_both(-zero_point);
    const int8_t *end = from + n;
    for (; from != end; from += 4, word += 16) {
        tk_patch_put_4(word, 8, tk_load(from), offset);
        tk_patch_put_4(word + 2, 8, tk_load(from + apart), offset);
        tk_patch_put_4(word + 4, 8, tk_load(from + 2 * apart), offset);
        tk_patch_put_4(word + 6, 8, tk_load(from + 3 * apart), offset);
    }
    return word;
}
#endif

#endif
