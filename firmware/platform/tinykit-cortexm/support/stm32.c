/* Clock and pins of STM32F4 and STM32F7: the two families share these registers. */
#include "stm32.h"
#include "cortexm.h"

#define RCC_CR TK_REGISTER(0x40023800u)
#define RCC_PLLCFGR TK_REGISTER(0x40023804u)
#define RCC_CFGR TK_REGISTER(0x40023808u)
#define RCC_AHB1ENR TK_REGISTER(0x40023830u)
#define RCC_APB2ENR TK_REGISTER(0x40023844u)
#define FLASH_ACR TK_REGISTER(0x40023C00u)
#define GPIO(port, offset) TK_REGISTER(0x40020000u + 0x400u * (port) + (offset))

#define HSI_HZ 16000000u
#define PLL_M 8u /* 2 MHz into the PLL */
#define CORE_HZ (HSI_HZ / PLL_M * TK_STM32_PLL_N / 2u)
#define TRIES 100000u

/* 0 once all `bits` of a register are set, -1 if they do not come. */
static int wait_for(volatile uint32_t *reg, uint32_t mask, uint32_t value) {
    for (uint32_t i = 0; i < TRIES; i++) {
        if ((*reg & mask) == value) {
            return 0;
        }
    }
    return -1;
}

#ifdef TK_STM32F7
/* Flash sits behind 5 wait states: without its caches an M7 crawls. The data cache must be emptied
 * before it is switched on (Armv7-M manual, B2.2.7); nothing here uses DMA. */
static void caches_on(void) {
    TK_REGISTER(0xE000EF50u) = 0; /* ICIALLU */
    tk_barrier();
    TK_REGISTER(0xE000ED84u) = 0; /* CSSELR: level 1, data */
    tk_barrier();
    uint32_t ccsidr = TK_REGISTER(0xE000ED80u);
    uint32_t sets = (ccsidr >> 13) & 0x7FFFu, ways = (ccsidr >> 3) & 0x3FFu;
    for (uint32_t set = 0; set <= sets; set++) {
        for (uint32_t way = 0; way <= ways; way++) {
            TK_REGISTER(0xE000EF60u) =
                (set << 5) | (way << 30); /* DCISW: 4 ways of 32-byte lines */
        }
    }
    tk_barrier();
    TK_SCB_CCR |= (1u << 16) | (1u << 17);
    tk_barrier();
}
#endif

uint32_t tk_stm32_clock(uint32_t *uart_hz) {
    *uart_hz = HSI_HZ;
#ifdef TK_STM32F7
    caches_on();
    FLASH_ACR = TK_STM32_FLASH_WAITS | (1u << 8) | (1u << 9); /* prefetch, ART accelerator */
#else
    FLASH_ACR = TK_STM32_FLASH_WAITS | (1u << 8) | (1u << 9) | (1u << 10); /* prefetch, caches */
#endif
    const uint32_t fields = (0xFu << 24) | (1u << 22) | (3u << 16) | (0x1FFu << 6) | 0x3Fu;
    RCC_PLLCFGR =
        (RCC_PLLCFGR & ~fields) | (8u << 24) | ((uint32_t)TK_STM32_PLL_N << 6) | PLL_M; /* P = 2 */
    RCC_CR |= 1u << 24;
    if (wait_for(&FLASH_ACR, 0xFu, TK_STM32_FLASH_WAITS) != 0 ||
        wait_for(&RCC_CR, 1u << 25, 1u << 25) != 0) {
        return HSI_HZ;
    }
    RCC_CFGR = (5u << 10) | (4u << 13); /* APB1 / 4, APB2 / 2, still on the oscillator */
    RCC_CFGR = (5u << 10) | (4u << 13) | 2u;
    if (wait_for(&RCC_CFGR, 3u << 2, 2u << 2) != 0) {
        RCC_CFGR = 0;
        return HSI_HZ;
    }
    *uart_hz = CORE_HZ / 2u;
    return CORE_HZ;
}

static void pin_alternate_7(uint32_t port, uint32_t pin) {
    RCC_AHB1ENR |= 1u << port;
    (void)RCC_AHB1ENR; /* two cycles until the port answers */
    uint32_t shift = 4u * (pin % 8u), bank = 0x20u + 4u * (pin / 8u);
    GPIO(port, bank) = (GPIO(port, bank) & ~(0xFu << shift)) | (7u << shift);
    GPIO(port, 0x0Cu) =
        (GPIO(port, 0x0Cu) & ~(3u << (2u * pin))) | (1u << (2u * pin)); /* pull up */
    GPIO(port, 0x00u) = (GPIO(port, 0x00u) & ~(3u << (2u * pin))) | (2u << (2u * pin));
}

void tk_stm32_pins(void) {
    RCC_APB2ENR |= 1u << 4;
    pin_alternate_7(TK_UART_TX_PORT, TK_UART_TX_PIN);
    pin_alternate_7(TK_UART_RX_PORT, TK_UART_RX_PIN);
}
