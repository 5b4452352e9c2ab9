/* The few core registers that the board support uses (Armv7-M and Armv8-M manuals). */
#ifndef TK_CORTEXM_H
#define TK_CORTEXM_H

#include <stdint.h>

#define TK_REGISTER(address) (*(volatile uint32_t *)(address))

#define TK_SYST_CSR TK_REGISTER(0xE000E010u)
#define TK_SYST_RVR TK_REGISTER(0xE000E014u)
#define TK_SYST_CVR TK_REGISTER(0xE000E018u)
#define TK_NVIC_ISER(n) TK_REGISTER(0xE000E100u + 4u * (n))
#define TK_NVIC_ICPR(n) TK_REGISTER(0xE000E280u + 4u * (n))
#define TK_SCB_ICSR TK_REGISTER(0xE000ED04u)
#define TK_SCB_VTOR TK_REGISTER(0xE000ED08u)
#define TK_SCB_AIRCR TK_REGISTER(0xE000ED0Cu)
#define TK_SCB_CCR TK_REGISTER(0xE000ED14u)
#define TK_SCB_CFSR TK_REGISTER(0xE000ED28u)
#define TK_SCB_CPACR TK_REGISTER(0xE000ED88u)
#define TK_DEMCR TK_REGISTER(0xE000EDFCu)
#define TK_DWT_CTRL TK_REGISTER(0xE0001000u)
#define TK_DWT_CYCCNT TK_REGISTER(0xE0001004u)

#define TK_ICSR_PENDSTCLR (1u << 25)

static inline void tk_irq_mask(void) {
    __asm volatile("cpsid i" ::: "memory");
}
static inline void tk_irq_unmask(void) {
    __asm volatile("cpsie i" ::: "memory");
}
static inline void tk_barrier(void) {
    __asm volatile("dsb\n\tisb" ::: "memory");
}
static inline void tk_wait_for_interrupt(void) {
    __asm volatile("dsb\n\twfi" ::: "memory");
}

/* Between the files of this folder. */
void tk_clock_init(uint32_t hz);
void tk_clock_update(void);

#endif
