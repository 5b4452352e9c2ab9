/* The memory functions that compilers call by themselves, a word at a time. Built without the
 * optimisation that would turn these loops into calls of themselves. Where the core allows
 * unaligned word access (Armv7-M and later), only the store side is aligned; elsewhere (Armv6-M)
 * words from other addresses are put together from bytes. */
#include <stddef.h>
#include <stdint.h>

void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int value, size_t n);
int memcmp(const void *a, const void *b, size_t n);

#ifdef __ARM_FEATURE_UNALIGNED
static inline int loads_words(const uint8_t *p) {
    (void)p;
    return 1;
}

static inline uint32_t load_word(const uint8_t *p) {
    uint32_t word;
    __builtin_memcpy(&word, p, 4);
    return word;
}
#else
static inline int loads_words(const uint8_t *p) {
    return ((uintptr_t)p & 3u) == 0;
}

static inline uint32_t load_word(const uint8_t *p) {
    return *(const uint32_t *)__builtin_assume_aligned(p, 4);
}
#endif

static inline uint32_t load(const uint8_t *p) {
    if (loads_words(p)) {
        return load_word(p);
    }
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline void store(uint8_t *p, uint32_t word) {
    *(uint32_t *)__builtin_assume_aligned(p, 4) = word;
}

void *memcpy(void *restrict to, const void *restrict from, size_t n) {
    uint8_t *d = to;
    const uint8_t *s = from;
    while (n > 0 && ((uintptr_t)d & 3u) != 0) {
        *d++ = *s++;
        n--;
    }
    for (; n >= 16 && loads_words(s); n -= 16, d += 16, s += 16) {
        uint32_t a = load_word(s), b = load_word(s + 4);
        uint32_t c = load_word(s + 8), e = load_word(s + 12);
        store(d, a);
        store(d + 4, b);
        store(d + 8, c);
        store(d + 12, e);
    }
    for (; n >= 4; n -= 4, d += 4, s += 4) {
        store(d, load(s));
    }
    while (n > 0) {
        *d++ = *s++;
        n--;
    }
    return to;
}

void *memmove(void *to, const void *from, size_t n) {
    uint8_t *d = to;
    const uint8_t *s = from;
    if ((uintptr_t)d - (uintptr_t)s >= n) { /* the source is not overwritten before it is read */
        return memcpy(to, from, n);
    }
    d += n;
    s += n;
    while (n > 0 && ((uintptr_t)d & 3u) != 0) {
        *--d = *--s;
        n--;
    }
    for (; n >= 4; n -= 4) {
        d -= 4;
        s -= 4;
        store(d, load(s));
    }
    while (n > 0) {
        *--d = *--s;
        n--;
    }
    return to;
}

void *memset(void *to, int value, size_t n) {
    uint8_t *d = to;
    uint8_t byte = (uint8_t)value;
    uint32_t word = byte * 0x01010101u;
    while (n > 0 && ((uintptr_t)d & 3u) != 0) {
        *d++ = byte;
        n--;
    }
    for (; n >= 16; n -= 16, d += 16) {
        store(d, word);
        store(d + 4, word);
        store(d + 8, word);
        store(d + 12, word);
    }
    for (; n >= 4; n -= 4, d += 4) {
        store(d, word);
    }
    while (n > 0) {
        *d++ = byte;
        n--;
    }
    return to;
}

int memcmp(const void *a, const void *b, size_t n) {
    const uint8_t *p = a, *q = b;
    for (; n > 0; n--, p++, q++) {
        if (*p != *q) {
            return *p < *q ? -1 : 1;
        }
    }
    return 0;
}

#if defined(__clang__)
/* Names from the Arm run-time ABI (IHI 0043), which clang calls and whose versions in compiler-rt
 * copy byte by byte. */
#define ALIAS(name) __attribute__((alias(name)))
void __aeabi_memcpy(void *to, const void *from, size_t n) ALIAS("memcpy");
void __aeabi_memcpy4(void *to, const void *from, size_t n) ALIAS("memcpy");
void __aeabi_memcpy8(void *to, const void *from, size_t n) ALIAS("memcpy");
void __aeabi_memmove(void *to, const void *from, size_t n) ALIAS("memmove");
void __aeabi_memmove4(void *to, const void *from, size_t n) ALIAS("memmove");
void __aeabi_memmove8(void *to, const void *from, size_t n) ALIAS("memmove");
void __aeabi_memset(void *to, size_t n, int value);
void __aeabi_memset4(void *to, size_t n, int value) ALIAS("__aeabi_memset");
void __aeabi_memset8(void *to, size_t n, int value) ALIAS("__aeabi_memset");
void __aeabi_memclr(void *to, size_t n);
void __aeabi_memclr4(void *to, size_t n) ALIAS("__aeabi_memclr");
void __aeabi_memclr8(void *to, size_t n) ALIAS("__aeabi_memclr");
void __aeabi_memset(void *to, size_t n, int value) {
    memset(to, value, n);
}
void __aeabi_memclr(void *to, size_t n) {
    memset(to, 0, n);
}
#endif
