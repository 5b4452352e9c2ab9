/* What each request does with the model. */
#include <string.h>

#include <tinykit/tinykit.h>

#include "link.h"
#include "tinykit_model.h"
#include "tk_board.h"

_Static_assert(TK_LINK_PAYLOAD >= 96 + TK_LINK_LONGEST_NAME && TK_LINK_PAYLOAD <= 4096 &&
                   TK_LINK_PAYLOAD % 4 == 0,
               "TK_LINK_PAYLOAD is a multiple of 4 of 144 .. 4096");

/* Empty, but never inlined, and different: or else the compiler makes one function of them. */
__attribute__((noinline, used)) void tk_marker_begin(void) {
    __asm volatile("/* begin */" ::: "memory");
}

__attribute__((noinline, used)) void tk_marker_end(void) {
    __asm volatile("/* end */" ::: "memory");
}

/* ---- replies ---- */

static tk_link_reply refuse(uint8_t status) {
    return (tk_link_reply){.status = status, .store = true, .length = 0};
}

static tk_link_reply done(uint32_t length) {
    return (tk_link_reply){.status = TK_LINK_OK, .store = true, .length = length};
}

static tk_link_reply reading(uint32_t length) {
    return (tk_link_reply){.status = TK_LINK_OK, .store = false, .length = length};
}

static bool inside(uint32_t offset, uint32_t length, uint32_t size) {
    return length <= size && offset <= size - length;
}

/* A request to read some of `size` bytes: u32 offset, u32 length. */
static tk_link_reply read_some(tk_link *link, uint32_t length, const void *data, uint32_t size) {
    uint8_t *payload = tk_link_payload(link);
    if (length != 8) {
        return refuse(TK_LINK_LENGTH);
    }
    uint32_t offset = tk_get32(payload);
    uint32_t count = tk_get32(payload + 4);
    if (count > TK_LINK_PAYLOAD || !inside(offset, count, size)) {
        return refuse(TK_LINK_RANGE);
    }
    memcpy(payload, (const uint8_t *)data + offset, count);
    return reading(count);
}

/* A request to write into `size` bytes: u32 offset, then the bytes. */
static tk_link_reply write_some(tk_link *link, uint32_t length, void *data, uint32_t size) {
    const uint8_t *payload = tk_link_payload(link);
    if (length < 4) {
        return refuse(TK_LINK_LENGTH);
    }
    uint32_t offset = tk_get32(payload);
    if (!inside(offset, length - 4, size)) {
        return refuse(TK_LINK_RANGE);
    }
    memcpy((uint8_t *)data + offset, payload + 4, length - 4);
    return done(0);
}

/* ---- about the firmware ---- */

static tk_link_reply hello(tk_link *link, uint32_t length) {
    static const uint8_t identity[16] = TK_MODEL_IDENTITY;
    static const char name[] = TK_MODEL_NAME;
    uint8_t *payload = tk_link_payload(link);
    if (length < 2) {
        return refuse(TK_LINK_LENGTH);
    }
    bool same = payload[0] == (TK_LINK_VERSION & 0xFF) && payload[1] == TK_LINK_VERSION >> 8;
    payload[0] = TK_LINK_VERSION & 0xFF;
    payload[1] = TK_LINK_VERSION >> 8;
    if (!same) {
        return (tk_link_reply){.status = TK_LINK_PROTOCOL, .store = false, .length = 2};
    }
    uint32_t flags = TK_MODEL_TRAINS ? TK_LINK_TRAINS : 0;
#if TK_MODEL_LEARNS
    flags |= TK_LINK_LEARNS;
#endif
#ifdef TK_MODEL_READING_VALUES
    flags |= TK_LINK_HEARS;
#endif
#if TK_TRACE
    flags |= TK_LINK_TRACES;
#endif
    payload[2] = (uint8_t)flags;
    payload[3] = 0;
    tk_put32(payload + 4, TK_LINK_PAYLOAD);
    tk_put32(payload + 8, TK_MODEL_INPUT_BYTES);
    tk_put32(payload + 12, TK_MODEL_OUTPUT_BYTES);
    tk_put32(payload + 16, TK_MODEL_TRAINS ? TK_MODEL_PARAMETER_BYTES : 0);
    tk_put32(payload + 20, TK_MODEL_TRAINS ? TK_MODEL_SAVE_BYTES : 0);
    tk_put32(payload + 24, TK_MODEL_OP_COUNT);
    memcpy(payload + 28, identity, sizeof identity);
    uint32_t n = sizeof name - 1 < TK_LINK_LONGEST_NAME ? sizeof name - 1 : TK_LINK_LONGEST_NAME;
    memcpy(payload + 44, name, n);
    return reading(44 + n);
}

static uint32_t rollbacks(void) {
#if TK_MODEL_GUARDED
    return tk_model_rollbacks();
#else
    return 0;
#endif
}

static tk_link_reply counters(tk_link *link) {
    const uint32_t values[] = {link->step,   link->saturations, tk_board_stack_used(),
                               link->cycles, link->dropped,     link->repeated,
                               rollbacks()};
    uint8_t *payload = tk_link_payload(link);
    for (uint32_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        tk_put32(payload + 4 * i, values[i]);
    }
    return reading(sizeof values);
}

static tk_link_reply trace(tk_link *link, uint32_t length) {
#if TK_TRACE
    uint8_t *payload = tk_link_payload(link);
    if (length != 4) {
        return refuse(TK_LINK_LENGTH);
    }
    link->trace_last = (int32_t)tk_get32(payload);
    tk_put32(payload, tk_trace_crc);
    return reading(4);
#else
    (void)link;
    (void)length;
    return refuse(TK_LINK_UNSUPPORTED);
#endif
}

/* ---- running the model ---- */

static bool input_is(uint32_t crc) {
    return tk_crc32(0, tk_model_input(), TK_MODEL_INPUT_BYTES) == crc;
}

static uint32_t run_begin(tk_link *link) {
    tk_link_working(link);
    link->holds = TK_HOLDS_NOTHING;
#if TK_TRACE
    tk_trace_last = link->trace_last;
    tk_trace_crc = 0;
#endif
    uint32_t cycles = tk_board_cycles();
    tk_marker_begin();
    return cycles;
}

static void run_end(tk_link *link, uint32_t cycles) {
    tk_marker_end();
    link->cycles = tk_board_cycles() - cycles;
}

static tk_link_reply infer(tk_link *link, uint32_t length) {
    uint8_t *payload = tk_link_payload(link);
    if (length != 4) {
        return refuse(TK_LINK_LENGTH);
    }
    if (!input_is(tk_get32(payload))) {
        return refuse(TK_LINK_CONTENT);
    }
    uint32_t cycles = run_begin(link);
    link->output = tk_model_infer();
    run_end(link, cycles);
    link->holds = TK_HOLDS_OUTPUT;
    tk_put32(payload, tk_crc32(0, link->output, TK_MODEL_OUTPUT_BYTES));
    if (TK_MODEL_OUTPUT_BYTES > TK_LINK_INLINE_OUTPUT) {
        return done(4);
    }
    memcpy(payload + 4, link->output, TK_MODEL_OUTPUT_BYTES);
    return done(4 + TK_MODEL_OUTPUT_BYTES);
}

#ifdef TK_MODEL_READING_VALUES
/* Samples for the frontend: as many as it takes until the input is complete. */
static tk_link_reply push(tk_link *link, uint32_t length) {
    const uint32_t reading = TK_MODEL_READING_VALUES * sizeof(int16_t);
    uint8_t *payload = tk_link_payload(link);
    if (length == 0 || length % reading != 0) {
        return refuse(TK_LINK_LENGTH);
    }
    uint32_t ready;
    uint32_t taken = tk_model_push((const int16_t *)(void *)payload, length / reading, &ready);
    uint32_t crc = 0;
    if (ready) {
        crc = tk_crc32(0, tk_model_input(), TK_MODEL_INPUT_BYTES);
        link->holds = TK_HOLDS_INPUT;
    }
    tk_put32(payload, taken);
    tk_put32(payload + 4, ready);
    tk_put32(payload + 8, crc);
    return done(12);
}

static tk_link_reply perform_hearing(tk_link *link, uint8_t kind, uint32_t length) {
    if (kind == TK_LINK_PUSH) {
        return push(link, length);
    }
    tk_model_begin();
    return done(0);
}
#else
static tk_link_reply perform_hearing(tk_link *link, uint8_t kind, uint32_t length) {
    (void)link;
    (void)kind;
    (void)length;
    return refuse(TK_LINK_UNSUPPORTED);
}
#endif

#if TK_MODEL_TRAINS
/* A target that is a vector waits here for its step. */
#define TARGET_BYTES (TK_MODEL_TARGET_BYTES > 0 ? TK_MODEL_TARGET_BYTES : 1)
static int8_t tk_link_target[TARGET_BYTES];

#if TK_MODEL_LEARNS
static tk_step run_step(const tk_target *target, bool again) {
    return again ? tk_model_learn(target) : tk_model_train(target);
}
#else
static tk_step run_step(const tk_target *target, bool again) {
    (void)again;
    return tk_model_train(target);
}
#endif

/* A step on the input, whose checksum comes first, or again on the sample that ran last. */
static tk_link_reply train(tk_link *link, uint32_t length, bool again) {
    uint8_t *payload = tk_link_payload(link);
    const uint32_t at = again ? 0 : 4;
    if (length != at + 4 && length != at + 8) {
        return refuse(TK_LINK_LENGTH);
    }
    tk_target target = {.label = (int32_t)tk_get32(payload + at)};
    if (length == at + 8) {
        target.values = tk_link_target;
        if (tk_crc32(0, tk_link_target, TARGET_BYTES) != tk_get32(payload + at + 4)) {
            return refuse(TK_LINK_CONTENT);
        }
    }
    if (!again && !input_is(tk_get32(payload))) {
        return refuse(TK_LINK_CONTENT);
    }
    uint32_t cycles = run_begin(link);
    tk_step step = run_step(&target, again);
    run_end(link, cycles);
    uint32_t loss;
    memcpy(&loss, &step.loss, sizeof loss);
    tk_put32(payload, (uint32_t)step.status);
    tk_put32(payload + 4, (uint32_t)step.prediction);
    tk_put32(payload + 8, loss);
    tk_put32(payload + 12, step.step);
    tk_put32(payload + 16, step.saturations);
    tk_put32(payload + 20, step.skipped);
    tk_put32(payload + 24, step.updated);
    tk_put32(payload + 28, step.rollbacks);
    if (step.status == TK_OK) {
        link->step = step.step;
        link->saturations = step.saturations;
        link->saturated = step.saturated;
    }
    tk_link_reply reply = done(32);
    reply.status = step.status == TK_OK ? TK_LINK_OK : TK_LINK_MODEL;
    return reply;
}

static void put64(uint8_t *p, uint64_t value) {
    tk_put32(p, (uint32_t)value);
    tk_put32(p + 4, (uint32_t)(value >> 32));
}

/* The last step, and what it did to trained tensors from a number on: as many as fit. */
static tk_link_reply telemetry(tk_link *link, uint32_t length) {
    enum { HEAD = 16, ENTRY = 20 };
    uint8_t *payload = tk_link_payload(link);
    if (length != 4) {
        return refuse(TK_LINK_LENGTH);
    }
    const uint32_t first = tk_get32(payload);
    if (first > TK_MODEL_TRAINED) {
        return refuse(TK_LINK_RANGE);
    }
    tk_put32(payload, link->step);
    tk_put32(payload + 4, link->saturated);
    tk_put32(payload + 8, link->cycles);
    tk_put32(payload + 12, TK_MODEL_TRAINED);
    uint32_t size = HEAD;
    for (uint32_t i = first; i < TK_MODEL_TRAINED && size + ENTRY <= TK_LINK_PAYLOAD; i++) {
        const tk_change change = tk_model_change(i);
        tk_put32(payload + size, change.updated);
        put64(payload + size + 4, change.moved);
        put64(payload + size + 12, change.magnitude);
        size += ENTRY;
    }
    return reading(size);
}

/* ---- what was learnt ---- */

/* Saved parameters pass through the model's scratch memory where they fit into it. */
#if defined(TK_MODEL_SCRATCH_BYTES) && TK_MODEL_SCRATCH_BYTES >= TK_MODEL_SAVE_BYTES
static uint8_t *stage(void) {
    return tk_model_scratch();
}
#else
static uint8_t tk_link_stage[TK_MODEL_SAVE_BYTES];

static uint8_t *stage(void) {
    return tk_link_stage;
}
#endif

static tk_link_reply check_parameters(tk_link *link) {
    tk_put32(tk_link_payload(link), tk_crc32(0, tk_model_parameters(), TK_MODEL_PARAMETER_BYTES));
    return reading(4);
}

static tk_link_reply save(tk_link *link) {
    uint8_t *payload = tk_link_payload(link);
    link->saved_length = (uint32_t)tk_model_save(stage(), TK_MODEL_SAVE_BYTES);
    if (link->saved_length == 0 || link->saved_length > TK_MODEL_SAVE_BYTES) {
        link->holds = TK_HOLDS_NOTHING;
        tk_put32(payload, TK_ERROR_SIZE);
        return (tk_link_reply){.status = TK_LINK_MODEL, .store = true, .length = 4};
    }
    link->holds = TK_HOLDS_SAVED;
    tk_put32(payload, link->saved_length);
    tk_put32(payload + 4, tk_crc32(0, stage(), link->saved_length));
    return done(8);
}

static tk_link_reply load(tk_link *link, uint32_t length) {
    uint8_t *payload = tk_link_payload(link);
    if (length != 8) {
        return refuse(TK_LINK_LENGTH);
    }
    uint32_t saved = tk_get32(payload);
    if (saved > TK_MODEL_SAVE_BYTES) {
        return refuse(TK_LINK_RANGE);
    }
    if (link->holds != TK_HOLDS_SAVED) {
        return refuse(TK_LINK_ORDER);
    }
    if (tk_crc32(0, stage(), saved) != tk_get32(payload + 4)) {
        return refuse(TK_LINK_CONTENT);
    }
    tk_status status = tk_model_load(stage(), saved);
    link->holds = TK_HOLDS_NOTHING;
    if (status != TK_OK) {
        tk_put32(payload, (uint32_t)status);
        return (tk_link_reply){.status = TK_LINK_MODEL, .store = true, .length = 4};
    }
    link->step = 0;
    link->saturations = 0;
    link->saturated = 0;
    return done(0);
}

/* Never inlined: of two switches in one function, one may jump back, for which no table of relative
 * jumps will do, and through others the bound of the stack cannot follow. */
__attribute__((noinline)) static tk_link_reply perform_training(tk_link *link, uint8_t kind,
                                                                uint32_t length) {
    switch (kind) {
    case TK_LINK_TRAIN:
        return train(link, length, false);
    case TK_LINK_LEARN:
        return TK_MODEL_LEARNS ? train(link, length, true) : refuse(TK_LINK_UNSUPPORTED);
    case TK_LINK_WRITE_TARGET:
        return write_some(link, length, tk_link_target, TARGET_BYTES);
    case TK_LINK_APPLY:
        tk_model_apply();
        return done(0);
    case TK_LINK_RESET:
        tk_model_init();
        link->step = 0;
        link->saturations = 0;
        link->saturated = 0;
        link->holds = TK_HOLDS_NOTHING;
        return done(0);
    case TK_LINK_READ_PARAMETERS:
        return read_some(link, length, tk_model_parameters(), TK_MODEL_PARAMETER_BYTES);
    case TK_LINK_CHECK_PARAMETERS:
        return check_parameters(link);
    case TK_LINK_SAVE:
        return save(link);
    case TK_LINK_READ_SAVED:
        if (link->holds != TK_HOLDS_SAVED) {
            return refuse(TK_LINK_ORDER);
        }
        return read_some(link, length, stage(), link->saved_length);
    case TK_LINK_WRITE_SAVED:
        if (link->holds != TK_HOLDS_SAVED) {
            link->holds = TK_HOLDS_SAVED;
            link->saved_length = 0; /* nothing to read before a SAVE */
        }
        return write_some(link, length, stage(), TK_MODEL_SAVE_BYTES);
    case TK_LINK_LOAD:
        return load(link, length);
    case TK_LINK_TELEMETRY:
        return telemetry(link, length);
    default:
        return refuse(TK_LINK_UNKNOWN);
    }
}
#else
static tk_link_reply perform_training(tk_link *link, uint8_t kind, uint32_t length) {
    (void)link;
    (void)length;
    return refuse(kind >= TK_LINK_TRAIN && kind <= TK_LINK_TELEMETRY ? TK_LINK_UNSUPPORTED
                                                                     : TK_LINK_UNKNOWN);
}
#endif

tk_link_reply tk_link_perform(tk_link *link, uint8_t kind, uint32_t length) {
    switch (kind) {
    case TK_LINK_HELLO:
        return hello(link, length);
    case TK_LINK_COUNTERS:
        return counters(link);
    case TK_LINK_WRITE_INPUT:
        link->holds = TK_HOLDS_INPUT;
        return write_some(link, length, tk_model_input(), TK_MODEL_INPUT_BYTES);
    case TK_LINK_INFER:
        return infer(link, length);
    case TK_LINK_READ_OUTPUT:
        if (link->holds != TK_HOLDS_OUTPUT) {
            return refuse(TK_LINK_ORDER);
        }
        return read_some(link, length, link->output, TK_MODEL_OUTPUT_BYTES);
    case TK_LINK_BEGIN:
    case TK_LINK_PUSH:
        return perform_hearing(link, kind, length);
    case TK_LINK_TRACE:
        return trace(link, length);
    default:
        return perform_training(link, kind, length);
    }
}
