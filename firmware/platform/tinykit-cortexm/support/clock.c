/* Time: SysTick runs freely over its 24 bits; every look at it adds what has passed since the last
 * look, and one look per turn is enough. */
#include "cortexm.h"
#include "tk_board.h"

#define TURN 0xFFFFFFu

static uint32_t clock_hz;
static uint32_t cycles_per_ms;
static uint32_t last;        /* SysTick's value at the last look (it counts down) */
static uint32_t cycles;      /* modulo 2^32 */
static uint32_t ms;          /* modulo 2^32 */
static uint32_t ms_fraction; /* cycles beyond `ms`, less than cycles_per_ms */
static uint32_t dwt_counts;  /* 1 where the DWT has a running cycle counter */

void tk_systick_interrupt(void);

void tk_clock_init(uint32_t hz) {
    clock_hz = hz;
    cycles_per_ms = hz / 1000u;
    TK_SYST_RVR = TURN;
    TK_SYST_CVR = 0;
    TK_SYST_CSR = 7u; /* core clock, interrupt, on */
    last = TK_SYST_CVR;
    TK_DEMCR |= 1u << 24;
    TK_DWT_CYCCNT = 0;
    TK_DWT_CTRL |= 1u;
    uint32_t before = TK_DWT_CYCCNT;
    tk_barrier();
    dwt_counts = TK_DWT_CYCCNT != before;
}

/* Call with interrupts masked, or from the only place that is not. */
void tk_clock_update(void) {
    uint32_t now = TK_SYST_CVR;
    uint32_t passed = (last - now) & TURN;
    last = now;
    cycles += passed;
    ms_fraction += passed;
    ms += ms_fraction / cycles_per_ms;
    ms_fraction %= cycles_per_ms;
}

/* Taken only where interrupts are unmasked (STM32): keeps count through long computations. */
void tk_systick_interrupt(void) {
    tk_clock_update();
}

static uint32_t mask(void) {
    uint32_t before;
    __asm volatile("mrs %0, primask\n\tcpsid i" : "=r"(before)::"memory");
    return before;
}

static void restore(uint32_t before) {
    __asm volatile("msr primask, %0" ::"r"(before) : "memory");
}

uint32_t tk_board_milliseconds(void) {
    uint32_t before = mask();
    tk_clock_update();
    uint32_t now = ms;
    restore(before);
    return now;
}

uint32_t tk_board_cycles(void) {
    if (dwt_counts) {
        return TK_DWT_CYCCNT;
    }
    uint32_t before = mask();
    tk_clock_update();
    uint32_t now = cycles;
    restore(before);
    return now;
}

uint32_t tk_board_clock(void) {
    return clock_hz;
}
