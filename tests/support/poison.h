/* Poisons an arena: after each step of a run every byte that nothing needs any more is overwritten.
 *
 * Generated code built with TK_TRACE=1 calls tk_trace_point() behind each op or row; here this is
 * the moment.  What nothing needs was computed by tests/support/poison.py. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    uint32_t points;
    const int32_t *ops;     /* of each trace point */
    const uint32_t *ends;   /* in ranges: of those before the first op, then behind each point */
    const uint32_t *ranges; /* offset and bytes of each */
} poison_plan;

int32_t tk_trace_last;
uint32_t tk_trace_crc;
void tk_trace_point(int32_t op, const void *data, size_t bytes);

static const poison_plan *poison_now;
static uint8_t *poison_arena;
static uint32_t poison_at;
static uint64_t poison_bytes; /* overwritten so far */

static void poison_up_to(uint32_t first, uint32_t end) {
    const int pattern = poison_at % 2 ? 0x5A : 0xA5;
    for (uint32_t i = first; i < end; i++) {
        const uint32_t *range = poison_now->ranges + 2 * i;
        memset(poison_arena + range[0], pattern, range[1]);
        poison_bytes += range[1];
    }
}

/* Before each run, once the input is there. */
static void poison_begin(const poison_plan *plan, void *arena) {
    poison_now = plan;
    poison_arena = arena;
    poison_at = 0;
    poison_up_to(0, plan->ends[0]);
}

void tk_trace_point(int32_t op, const void *data, size_t bytes) {
    (void)data;
    (void)bytes;
    if (poison_now == NULL) {
        return;
    }
    if (poison_at >= poison_now->points || poison_now->ops[poison_at] != op) {
        fprintf(stderr, "trace point %u is of op %d: not as replayed\n", poison_at, op);
        exit(4);
    }
    const uint32_t first = poison_now->ends[poison_at];
    poison_at++;
    poison_up_to(first, poison_now->ends[poison_at]);
}
