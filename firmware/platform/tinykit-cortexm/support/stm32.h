/* Clock and pins of the STM32 families that boards use (RM0090 for F405, RM0385 for F746). */
#ifndef TK_STM32_H
#define TK_STM32_H

#include <stdint.h>

/* Runs the core as fast as the board's manifest says (TK_STM32_PLL_N etc.) from the internal 16 MHz
 * oscillator. If the PLL does not lock (an emulator without a clock controller), stays at 16 MHz.
 * Returns the core's clock in Hz and sets *uart_hz to the clock of USART1 (APB2). */
uint32_t tk_stm32_clock(uint32_t *uart_hz);

/* Clocks USART1 and its ports, and puts its two pins into alternate function 7. */
void tk_stm32_pins(void);

#endif
