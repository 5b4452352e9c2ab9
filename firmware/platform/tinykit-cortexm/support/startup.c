/* From reset to main(), and from a fault to tk_fault(). */
#include "cortexm.h"
#include "tk_board.h"

extern uint32_t tk_stack_bottom[], tk_stack_top[];
extern uint32_t tk_data_load[], tk_data_start[], tk_data_end[], tk_bss_start[], tk_bss_end[];

#define STACK_PAINT 0xA5C3A5C3u

int main(void);
_Noreturn void tk_reset(void);
void tk_unhandled(void);
_Noreturn void tk_fault_entry(const uint32_t *frame);
void tk_uart_interrupt(void);
void tk_systick_interrupt(void);

typedef void (*tk_vector)(void);

/* Only interrupts that the board support enables have an entry of their own; no other is ever
 * enabled, so the table ends there. */
#ifdef TK_UART_HAS_ISR
#define VECTORS (16 + TK_UART_IRQ + 1)
#else
#define VECTORS 16
#endif

__attribute__((section(".vectors"), used)) static const tk_vector tk_vectors[VECTORS] = {
    [0] = (tk_vector)(uintptr_t)tk_stack_top,
    [1] = tk_reset,
    [2] = tk_unhandled,
    [3] = tk_unhandled,
    [4] = tk_unhandled,
    [5] = tk_unhandled,
    [6] = tk_unhandled,
    [7] = tk_unhandled,
    [11] = tk_unhandled,
    [12] = tk_unhandled,
    [14] = tk_unhandled,
#ifndef TK_UART_HAS_ISR
    [15] = tk_unhandled, /* interrupts stay masked */
#endif
#ifdef TK_UART_HAS_ISR
    [15] = tk_systick_interrupt,
    [16 ... 16 + TK_UART_IRQ - 1] = tk_unhandled,
    [16 + TK_UART_IRQ] = tk_uart_interrupt,
#endif
};

__attribute__((weak)) void tk_fault(uint32_t exception, uint32_t pc, uint32_t cfsr) {
    (void)exception;
    (void)pc;
    (void)cfsr;
}

_Noreturn void tk_board_reset(void) {
    tk_barrier();
    TK_SCB_AIRCR = 0x05FA0004u;
    tk_barrier();
    for (;;) {
        tk_wait_for_interrupt();
    }
}

/* The stack may be what broke: it is given up and the report runs on a fresh one. The old pointer
 * is the saved frame. On Armv8-M the stack limit guards the same boundary. */
__attribute__((naked, used)) void tk_unhandled(void) {
    __asm volatile("cpsid i\n\t"
                   "mov r0, sp\n\t"
                   "ldr r1, =tk_stack_top\n\t"
                   "mov sp, r1\n\t"
                   "bl tk_fault_entry\n\t" /* BL: on Armv6-M, B does not reach far */
                   ".ltorg");
}

__attribute__((used)) _Noreturn void tk_fault_entry(const uint32_t *frame) {
    uint32_t exception;
    __asm volatile("mrs %0, ipsr" : "=r"(exception));
    uint32_t cfsr = TK_SCB_CFSR;
    const uint32_t stacking_failed = (1u << 4) | (1u << 12) | (1u << 20); /* MSTKERR STKERR STKOF */
    int saved = (cfsr & stacking_failed) == 0 && (uintptr_t)frame >= (uintptr_t)tk_stack_bottom;
    tk_fault(exception, saved ? frame[6] : 0u, cfsr);
    tk_board_reset();
}

__attribute__((noinline, used)) static void start(void) {
    for (uint32_t *p = tk_data_start, *from = tk_data_load; p < tk_data_end;) {
        *p++ = *from++;
    }
    for (uint32_t *p = tk_bss_start; p < tk_bss_end;) {
        *p++ = 0;
    }
    uint32_t *sp;
    __asm volatile("mov %0, sp" : "=r"(sp));
    for (uint32_t *p = tk_stack_bottom; p < sp;) {
        *p++ = STACK_PAINT;
    }
    main();
}

_Noreturn void tk_reset(void) {
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    TK_SCB_CPACR |= 0xFu << 20; /* CP10 and CP11, the FPU and MVE: full access */
    tk_barrier();
#endif
#if defined(__ARM_ARCH_8M_MAIN__) || defined(__ARM_ARCH_8_1M_MAIN__)
    __asm volatile("msr msplim, %0" ::"r"(tk_stack_bottom));
#endif
#ifdef __ARM_ARCH_6M__
    TK_SCB_CCR |= 1u << 3; /* UNALIGN_TRP, where a larger core runs this code: as on a Cortex-M0+ */
#endif
    TK_SCB_VTOR = (uint32_t)(uintptr_t)tk_vectors;
    start();
    tk_board_reset();
}

uint32_t tk_board_stack_size(void) {
    return (uint32_t)((uintptr_t)tk_stack_top - (uintptr_t)tk_stack_bottom);
}

uint32_t tk_board_stack_used(void) {
    const volatile uint32_t *p = tk_stack_bottom;
    while (p < tk_stack_top && *p == STACK_PAINT) {
        p++;
    }
    return (uint32_t)((uintptr_t)tk_stack_top - (uintptr_t)p);
}
