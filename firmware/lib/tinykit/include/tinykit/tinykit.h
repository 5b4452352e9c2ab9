/* tinykit runtime: what every generated model and every application includes.
 *
 * No malloc, no libm, no global state but the layer trace.  Functions that can fail return a
 * tk_status; kernels cannot fail: their descriptors are made and checked at compile time. */
#ifndef TINYKIT_TINYKIT_H
#define TINYKIT_TINYKIT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    TK_OK = 0,
    TK_ERROR_ARGUMENT = 1, /* a label out of range, values where a label belongs, no target */
    TK_ERROR_FORMAT = 2,   /* not saved parameters, or of another version */
    TK_ERROR_MODEL = 3,    /* saved by another model */
    TK_ERROR_CRC = 4,      /* damaged */
    TK_ERROR_SIZE = 5,     /* a buffer too short */
    TK_ERROR_SAMPLE = 6    /* no sample is kept: none has run since the start or a load */
} tk_status;

/* What a training step is told. */
typedef struct {
    int32_t label;        /* class number, from 0 */
    const int8_t *values; /* or a value for each output, quantized as the model's header says */
} tk_target;

/* What a training step answers. */
typedef struct {
    tk_status status;
    int32_t prediction;   /* class with the largest logit, before the update; -1: no classes */
    float loss;           /* cross-entropy in nats, or mean squared error, before the update */
    uint32_t step;        /* steps done, this one included */
    uint32_t saturations; /* gradient values clamped to int16 since the start */
    uint32_t skipped;     /* steps since the start that changed nothing, as the plan has it */
    uint32_t updated;     /* weights and biases that this step changed */
    uint32_t saturated;   /* gradient values clamped to int16 in this step */
    uint32_t rollbacks;   /* times since the start that the guard went back to a snapshot */
} tk_step;

/* What the last step did to one trained tensor. */
typedef struct {
    uint32_t updated;   /* its weights or biases that changed */
    uint64_t moved;     /* sum of |change|, in units of the master: 1/256, or 2^-24 of wide ones */
    uint64_t magnitude; /* sum of |weight| or |bias|, in whole integer steps */
} tk_change;

/* zlib's CRC-32; start with crc = 0. */
uint32_t tk_crc32(uint32_t crc, const void *data, size_t bytes);

/* Layer trace (compiled in with TK_TRACE=1): tk_trace_crc runs over the outputs of the ops
 * 0 … tk_trace_last of the next run; -1 switches it off. */
#if TK_TRACE
extern int32_t tk_trace_last;
extern uint32_t tk_trace_crc;
void tk_trace_point(int32_t op, const void *data, size_t bytes);
#define TK_TRACE_POINT(op, data, bytes) tk_trace_point(op, data, bytes)
#define TK_TRACE_PAUSE()                     \
    const int32_t tk_traced = tk_trace_last; \
    tk_trace_last = -1
#define TK_TRACE_RESUME() tk_trace_last = tk_traced
#else
#define TK_TRACE_POINT(op, data, bytes) ((void)0)
#define TK_TRACE_PAUSE() ((void)0)
#define TK_TRACE_RESUME() ((void)0)
#endif

#ifdef __cplusplus
}
#endif

#endif
