/* Filling patches (conv_block.h) with int8 inputs. */
#ifndef TINYKIT_PATCH_H
#define TINYKIT_PATCH_H

#include "conv_block.h"

/* A place in a patch: the next position's, of one pixel. */
typedef struct {
    int16_t *word; /* of the position's pair */
    int32_t odd;   /* 1: the second position of the pair is next */
    int32_t step;  /* int16 from pair to pair */
} tk_patch_place;

static inline tk_patch_place tk_patch_at(int16_t *patch, int32_t at, int32_t pixel, int32_t count) {
    return (tk_patch_place){patch + ((at >> 1) * count + pixel) * 2, at & 1, 2 * count};
}

static inline void tk_patch_put(tk_patch_place *place, int32_t value) {
    place->word[place->odd] = (int16_t)value;
    place->word += place->odd ? place->step : 0;
    place->odd ^= 1;
}

/* Four values of one pixel as two words of pairs. */
#if TK_DSP
static inline void tk_patch_put_4(int16_t *word, int32_t step, uint32_t x, uint32_t offset) {
    const uint32_t even = tk_add_even_bytes(offset, x), odd = tk_add_odd_bytes(offset, x);
    tk_store(word, tk_pack_low(even, odd));
    tk_store(word + step, tk_pack_high(even, odd));
}
#endif

/* The next n positions = from[0 … n) - zero_point. */
static inline void tk_patch_copy(tk_patch_place *place, const int8_t *from, int32_t n,
                                 int32_t zero_point) {
    if (place->odd && n > 0) {
        tk_patch_put(place, *from++ - zero_point);
        n--;
    }
    int16_t *word = place->word;
    const int32_t step = place->step;
#if TK_DSP
    const uint32_t offset = tk_both(-zero_point);
    for (; n >= 4; n -= 4, from += 4, word += 2 * step) {
        tk_patch_put_4(word, step, tk_load(from), offset);
    }
#endif
    for (; n >= 2; n -= 2, from += 2, word += step) {
        word[0] = (int16_t)(from[0] - zero_point);
        word[1] = (int16_t)(from[1] - zero_point);
    }
    place->word = word;
    if (n > 0) {
        tk_patch_put(place, *from - zero_point);
    }
}

/* The next n positions = value. */
static inline void tk_patch_fill(tk_patch_place *place, int32_t value, int32_t n) {
    for (; n > 0; n--) {
        tk_patch_put(place, value);
    }
}

/* Ends a block of weights: an odd last pair is filled up, for its weight is zero. */
static inline void tk_patch_end(tk_patch_place *place) {
    if (place->odd) {
        tk_patch_put(place, 0);
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
