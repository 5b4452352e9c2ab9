/* QUANTIZE between integers, RELU and RELU6, int8 and uint8. */
#include "requantize.h"
#include "tinykit/kernels.h"

typedef struct {
    int32_t multiplier, shift, zero_point;
    int one; /* the multiplier is exactly 1 */
    tk_output_range range;
} rescaling;

static rescaling rescaling_of(const tk_rescale *op) {
    return (rescaling){
        op->multiplier,
        op->shift,
        op->input_zero_point,
        op->multiplier == 1 << 30 && op->shift == 1,
        tk_range_of(op->activation_min, op->activation_max, op->output_zero_point),
    };
}

static inline int32_t rescale(const rescaling *r, int32_t x) {
    x -= r->zero_point;
    if (r->one) {
        return tk_clamp(x, r->range.low, r->range.high) + r->range.zero_point;
    }
    return tk_requantize(x, r->multiplier, r->shift, &r->range);
}

#if defined(__thumb2__)
/* The loop of tk_finish for a layer with biases and a multiplier for each channel. */
static void finish_channels(const int32_t *bias, const int32_t *multiplier, const int8_t *shift,
                            const tk_output_range *range, int32_t n, const int32_t *acc,
                            int8_t *y) {
    const int32_t zero_point = range->zero_point;
    const int8_t *end = y + n;
    int32_t x, m, s;
    __asm__ volatile("1:\n\t"
                     "ldr     %[x], [%[acc]], #4\n\t"
                     "ldr     %[m], [%[bias]], #4\n\t"
                     "ldrsb   %[s], [%[shift]], #1\n\t"
                     "add     %[x], %[x], %[m]\n\t"
                     "ldr     %[m], [%[multiplier]], #4\n\t"
                     "cmp     %[s], #0\n\t"
                     "bge     3f\n\t"
                     "smull   %[x], %[m], %[x], %[m]\n\t"
                     "adds    %[x], %[x], #0x40000000\n\t"
                     "adc     %[m], %[m], #0\n\t"
                     "adds    %[x], %[x], %[x]\n\t"
                     "adc     %[m], %[m], %[m]\n\t"
                     "mvn     %[s], %[s]\n\t"
                     "add     %[m], %[m], %[m], asr #31\n\t"
                     "asr     %[m], %[m], %[s]\n\t"
                     "add     %[m], %[m], #1\n\t"
                     "add     %[m], %[zero], %[m], asr #1\n"
                     "2:\n\t"
                     "ssat    %[m], #8, %[m]\n\t"
                     "strb    %[m], [%[y]], #1\n\t"
                     "cmp     %[y], %[end]\n\t"
                     "bne     1b\n\t"
                     "b       4f\n"
                     "3:\n\t" /* a left shift: clamped early, so that nothing overflows */
                     "lsl     %[x], %[x], %[s]\n\t"
                     "smull   %[x], %[m], %[x], %[m]\n\t"
                     "adds    %[x], %[x], #0x40000000\n\t"
                     "adc     %[m], %[m], #0\n\t"
                     "adds    %[x], %[x], %[x]\n\t"
                     "adc     %[m], %[m], %[m]\n\t"
                     "ssat    %[m], #16, %[m]\n\t"
                     "add     %[m], %[m], %[zero]\n\t"
                     "b       2b\n"
                     "4:\n\t"
                     : [acc] "+r"(acc), [bias] "+r"(bias), [multiplier] "+r"(multiplier),
                       [shift] "+r"(shift), [y] "+r"(y), [x] "=&r"(x), [m] "=&r"(m), [s] "=&r"(s)
                     : [zero] "r"(zero_point), [end] "r"(end)
                     : "cc", "memory");
    const int32_t low = range->low + zero_point, high = range->high + zero_point;
    for (y -= n; y != end && (low > INT8_MIN || high < INT8_MAX); y++) {
        *y = (int8_t)tk_clamp(*y, low, high);
    }
}
#endif

void tk_finish(const tk_output *output, int32_t o, int32_t n, const int32_t *acc, int8_t *y) {
#if defined(__thumb2__)
    if (output->bias != NULL && output->per_channel) {
        finish_channels(output->bias + o, output->multiplier + o, output->shift + o, &output->range,
                        n, acc, y + o);
        return;
    }
#endif
    for (int32_t end = o + n; o < end; o++) {
        /* Wraps as TFLM does: converters saturate the biases of dead channels. */
        const uint32_t bias = output->bias != NULL ? (uint32_t)output->bias[o] : 0;
        const int32_t channel = output->per_channel ? o : 0;
        y[o] =
            (int8_t)tk_requantize((int32_t)((uint32_t)*acc++ + bias), output->multiplier[channel],
                                  output->shift[channel], &output->range);
    }
}

void tk_requantize_s8(const tk_rescale *op, const int8_t *input, int8_t *output) {
    const rescaling r = rescaling_of(op);
    for (uint32_t i = 0; i < op->size; i++) {
        output[i] = (int8_t)rescale(&r, input[i]);
    }
}

void tk_requantize_u8_s8(const tk_rescale *op, const uint8_t *input, int8_t *output) {
    const rescaling r = rescaling_of(op);
    for (uint32_t i = 0; i < op->size; i++) {
        output[i] = (int8_t)rescale(&r, input[i]);
    }
}

void tk_requantize_s8_u8(const tk_rescale *op, const int8_t *input, uint8_t *output) {
    const rescaling r = rescaling_of(op);
    for (uint32_t i = 0; i < op->size; i++) {
        output[i] = (uint8_t)rescale(&r, input[i]);
    }
}
