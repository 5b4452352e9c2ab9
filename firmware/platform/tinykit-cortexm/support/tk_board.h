/* What the firmware needs of a board: a serial port, sleep, a clock, the stack's high-water mark.
 *
 * Receiving, and why it is done this way
 *
 * A byte must not be lost on a real USART (one byte of buffer, 87 us at 115200 baud), must wake the
 * core from WFI, and must also arrive where there is no interrupt controller (Unicorn).
 *
 *  - STM32 (uart_stm32.c): an interrupt moves each byte into a ring of TK_BOARD_RX_BYTES. When the
 *    ring is full the receive interrupt is masked until the reader has made room: an emulator then
 *    holds its bytes back, and a real USART reports an overrun, which the link's CRC finds.
 *    tk_board_read() also looks at the receive register itself when the ring is empty, so that the
 *    same code works without an interrupt controller.
 *  - CMSDK (uart_cmsdk.c; emulated MPS2 and MPS3 boards only): interrupts stay masked in the core
 *    for ever and tk_board_read() polls. QEMU and Renode hold bytes back until the register is
 *    free. No interrupt is ever taken, so instruction counts repeat exactly.
 *
 * tk_board_sleep() is the same everywhere: with PRIMASK set it looks once more for a byte and then
 * executes WFI, which an interrupt that becomes pending ends although it is masked. A byte that
 * arrives between the look and the WFI is therefore not slept over. The wrapping SysTick also ends
 * it (at least once a second), so that a caller can watch the time.
 */
#ifndef TK_BOARD_H
#define TK_BOARD_H

#include <stdint.h>

/* Bytes the receive interrupt can hold for a reader who is busy. A power of two. */
#ifndef TK_BOARD_RX_BYTES
#define TK_BOARD_RX_BYTES 128u
#endif

/* Clock, pins, serial port (TK_UART_BAUD, 8N1), SysTick, cycle counter. Call it first. */
void tk_board_init(void);

/* The next byte received, or -1 when there is none. Never waits. */
int tk_board_read(void);

/* Sends one byte; waits until the transmitter takes it. */
void tk_board_write(uint8_t byte);

/* Sleeps until a byte arrives, or for at most one turn of SysTick; returns at once if one waits. */
void tk_board_sleep(void);

/* Milliseconds since tk_board_init(), modulo 2^32. Right as long as it is called, or the firmware
 * sleeps, at least once per turn of SysTick (2^24 cycles) where interrupts are masked; longer gaps
 * lose whole turns. Stands still where SysTick is not modelled (Unicorn). */
uint32_t tk_board_milliseconds(void);

/* Core cycles modulo 2^32, from the DWT where it counts, else from SysTick (see above). */
uint32_t tk_board_cycles(void);

/* Core clock in Hz. */
uint32_t tk_board_clock(void);

/* Bytes of the stack that have ever been used, and the bytes it has. */
uint32_t tk_board_stack_used(void);
uint32_t tk_board_stack_size(void);

/* Restarts the firmware. */
_Noreturn void tk_board_reset(void);

/* Called after a fault, on a fresh stack, with interrupts masked: the exception's number (3 hard
 * fault, 4 memory, 5 bus, 6 usage, 16 + n an interrupt nobody handles), the address that faulted
 * (0 when it could not be saved, as after a stack overflow) and the fault status register CFSR.
 * The weak default does nothing. When it returns, the board restarts. */
void tk_fault(uint32_t exception, uint32_t pc, uint32_t cfsr);

#endif
