/* The DSP instructions of ARMv7E-M and ARMv8-M: two 16-bit products at a time.
 *
 * TK_DSP is 1 where the core has them.  A host build with TK_DSP_EMULATED=1 takes the same code
 * through plain C versions of the instructions, so that tests and sanitizers see it. */
#ifndef TINYKIT_SIMD_H
#define TINYKIT_SIMD_H

#include <stdint.h>

#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP
#define TK_DSP 1
#include <arm_acle.h>

static inline int32_t tk_smlad(uint32_t a, uint32_t b, int32_t acc) {
    return __smlad((int16x2_t)a, (int16x2_t)b, acc);
}

static inline int32_t tk_smlabb(uint32_t a, uint32_t b, int32_t acc) {
    return __smlabb((int32_t)a, (int32_t)b, acc);
}

static inline int32_t tk_smlatt(uint32_t a, uint32_t b, int32_t acc) {
    return __smlatt((int32_t)a, (int32_t)b, acc);
}

static inline int32_t tk_smlabt(uint32_t a, uint32_t b, int32_t acc) {
    return __smlabt((int32_t)a, (int32_t)b, acc);
}

static inline int32_t tk_smlatb(uint32_t a, uint32_t b, int32_t acc) {
    return __smlatb((int32_t)a, (int32_t)b, acc);
}

/* round(a * b / 2^32), halves upwards. */
static inline int32_t tk_smmulr(int32_t a, int32_t b) {
    int32_t result;
    __asm__("smmulr %0, %1, %2" : "=r"(result) : "r"(a), "r"(b));
    return result;
}

/* Four bits: whether each byte of x, less that of `low`, is at most that of `range`, unsigned. */
static inline uint32_t tk_bytes_within(uint32_t x, uint32_t low, uint32_t range) {
    uint32_t result;
    __asm__("usub8 %0, %1, %2\n\t"
            "usub8 %0, %3, %0\n\t"
            "sel %0, %4, %5"
            : "=&r"(result)
            : "r"(x), "r"(low), "r"(range), "r"(0x01010101u), "r"(0)
            : "cc");
    return (result * 0x10204080u) >> 28;
}

/* x / 2, downwards, clamped to int8. */
static inline int8_t tk_saturate_half(int32_t x) {
    int32_t result;
    __asm__("ssat %0, #8, %1, asr #1" : "=r"(result) : "r"(x));
    return (int8_t)result;
}

/* (a.low, b.low) and (a.high, b.high). */
static inline uint32_t tk_pack_low(uint32_t a, uint32_t b) {
    uint32_t result;
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(result) : "r"(a), "r"(b));
    return result;
}

static inline uint32_t tk_pack_high(uint32_t a, uint32_t b) {
    uint32_t result;
    __asm__("pkhtb %0, %1, %2, asr #16" : "=r"(result) : "r"(b), "r"(a));
    return result;
}

/* Bytes 0 and 2 (even) or 1 and 3 (odd) as int16, each added to a half of `a`. */
static inline uint32_t tk_add_even_bytes(uint32_t a, uint32_t x) {
    uint32_t result;
    __asm__("sxtab16 %0, %1, %2" : "=r"(result) : "r"(a), "r"(x));
    return result;
}

static inline uint32_t tk_add_odd_bytes(uint32_t a, uint32_t x) {
    uint32_t result;
    __asm__("sxtab16 %0, %1, %2, ror #8" : "=r"(result) : "r"(a), "r"(x));
    return result;
}

static inline uint32_t tk_even_bytes(uint32_t x) {
    uint32_t result;
    __asm__("sxtb16 %0, %1" : "=r"(result) : "r"(x));
    return result;
}

static inline uint32_t tk_odd_bytes(uint32_t x) {
    uint32_t result;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(result) : "r"(x));
    return result;
}

#elif defined(TK_DSP_EMULATED) && TK_DSP_EMULATED
#define TK_DSP 1

static inline int32_t tk_low(uint32_t x) {
    return (int16_t)(x & 0xFFFFu);
}
static inline int32_t tk_high(uint32_t x) {
    return (int16_t)(x >> 16);
}

static inline uint32_t tk_halves(int32_t low, int32_t high) {
    return ((uint32_t)low & 0xFFFFu) | (uint32_t)high << 16;
}

/* Wraps, as the instructions do. */
static inline int32_t tk_plus(int32_t acc, int32_t product) {
    return (int32_t)((uint32_t)acc + (uint32_t)product);
}

static inline int32_t tk_smlabb(uint32_t a, uint32_t b, int32_t acc) {
    return tk_plus(acc, tk_low(a) * tk_low(b));
}

static inline int32_t tk_smlatt(uint32_t a, uint32_t b, int32_t acc) {
    return tk_plus(acc, tk_high(a) * tk_high(b));
}

static inline int32_t tk_smlabt(uint32_t a, uint32_t b, int32_t acc) {
    return tk_plus(acc, tk_low(a) * tk_high(b));
}

static inline int32_t tk_smlatb(uint32_t a, uint32_t b, int32_t acc) {
    return tk_plus(acc, tk_high(a) * tk_low(b));
}

static inline int32_t tk_smlad(uint32_t a, uint32_t b, int32_t acc) {
    return tk_smlatt(a, b, tk_smlabb(a, b, acc));
}

static inline uint32_t tk_bytes_within(uint32_t x, uint32_t low, uint32_t range) {
    uint32_t bits = 0;
    for (uint32_t i = 0; i < 4; i++) {
        const uint32_t above = (x >> 8 * i) - (low >> 8 * i);
        bits |= ((above & 0xFFu) <= (range >> 8 * i & 0xFFu) ? 1u : 0u) << i;
    }
    return bits;
}

static inline int8_t tk_saturate_half(int32_t x) {
    x >>= 1;
    return (int8_t)(x < INT8_MIN ? INT8_MIN : x > INT8_MAX ? INT8_MAX : x);
}

static inline uint32_t tk_pack_low(uint32_t a, uint32_t b) {
    return (a & 0xFFFFu) | b << 16;
}

static inline uint32_t tk_pack_high(uint32_t a, uint32_t b) {
    return a >> 16 | (b & 0xFFFF0000u);
}

static inline int32_t tk_smmulr(int32_t a, int32_t b) {
    return (int32_t)(((int64_t)a * b + ((int64_t)1 << 31)) >> 32);
}

static inline uint32_t tk_add_even_bytes(uint32_t a, uint32_t x) {
    return tk_halves(tk_low(a) + (int8_t)(x & 0xFFu), tk_high(a) + (int8_t)(x >> 16 & 0xFFu));
}

static inline uint32_t tk_add_odd_bytes(uint32_t a, uint32_t x) {
    return tk_add_even_bytes(a, x >> 8);
}

static inline uint32_t tk_even_bytes(uint32_t x) {
    return tk_add_even_bytes(0, x);
}
static inline uint32_t tk_odd_bytes(uint32_t x) {
    return tk_add_even_bytes(0, x >> 8);
}

#else
#define TK_DSP 0
#endif

#if TK_DSP

/* Four bytes, or two int16, from any address. */
static inline uint32_t tk_load(const void *p) {
    uint32_t word;
    __builtin_memcpy(&word, p, sizeof word);
    return word;
}

static inline void tk_store(void *p, uint32_t word) {
    __builtin_memcpy(p, &word, sizeof word);
}

/* The same int16 in both halves. */
static inline uint32_t tk_both(int32_t x) {
    return ((uint32_t)x & 0xFFFFu) | (uint32_t)x << 16;
}

#endif

#endif
