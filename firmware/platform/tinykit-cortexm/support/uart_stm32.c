/* STM32 USART. TK_STM32_USART 1: SR/DR (F1, F2, F4, L1); 2: ISR/RDR/TDR (F0, F3, F7, G0, H7, L4).
 * An interrupt fills a ring; see tk_board.h for why. */
#include "cortexm.h"
#include "stm32.h"
#include "tk_board.h"

_Static_assert((TK_BOARD_RX_BYTES & (TK_BOARD_RX_BYTES - 1u)) == 0, "the ring is a power of two");

#if TK_STM32_USART == 1
#define UART_STATUS TK_REGISTER(TK_UART_BASE + 0x00u)
#define UART_RECEIVE TK_REGISTER(TK_UART_BASE + 0x04u)
#define UART_TRANSMIT TK_REGISTER(TK_UART_BASE + 0x04u)
#define UART_BAUD TK_REGISTER(TK_UART_BASE + 0x08u)
#define UART_CONTROL TK_REGISTER(TK_UART_BASE + 0x0Cu)
#define CONTROL_ON ((1u << 13) | (1u << 3) | (1u << 2)) /* UE TE RE */
#elif TK_STM32_USART == 2
#define UART_CONTROL TK_REGISTER(TK_UART_BASE + 0x00u)
#define UART_BAUD TK_REGISTER(TK_UART_BASE + 0x0Cu)
#define UART_STATUS TK_REGISTER(TK_UART_BASE + 0x1Cu)
#define UART_CLEAR TK_REGISTER(TK_UART_BASE + 0x20u)
#define UART_RECEIVE TK_REGISTER(TK_UART_BASE + 0x24u)
#define UART_TRANSMIT TK_REGISTER(TK_UART_BASE + 0x28u)
#define CONTROL_ON ((1u << 3) | (1u << 2) | 1u) /* TE RE UE */
#else
#error "TK_STM32_USART must be 1 or 2"
#endif

#define RXNEIE (1u << 5)
#define ORE (1u << 3)
#define RXNE (1u << 5)
#define TXE (1u << 7)

void tk_uart_interrupt(void);

static volatile uint8_t ring[TK_BOARD_RX_BYTES];
static volatile uint32_t ring_head; /* written by the interrupt, counts bytes put in */
static volatile uint32_t ring_tail; /* written by the reader, counts bytes taken out */

/* Call with interrupts masked, or from the interrupt. -1 when the register holds nothing. */
static int take_received(void) {
    uint32_t status = UART_STATUS;
    int byte = status & RXNE ? (int)(UART_RECEIVE & 0xFFu) : -1;
    if (status & ORE) { /* a byte was lost: the frame's CRC will say so */
#if TK_STM32_USART == 1
        (void)UART_RECEIVE; /* reading SR, then DR clears it */
#else
        UART_CLEAR = ORE;
#endif
    }
    return byte;
}

void tk_uart_interrupt(void) {
    if (ring_head - ring_tail == TK_BOARD_RX_BYTES) {
        UART_CONTROL = CONTROL_ON; /* full: the byte stays where it is until there is room */
        return;
    }
    int byte = take_received();
    if (byte >= 0) {
        ring[ring_head % TK_BOARD_RX_BYTES] = (uint8_t)byte;
        ring_head++;
    }
}

void tk_board_init(void) {
    tk_irq_mask();
    uint32_t uart_hz;
    tk_clock_init(tk_stm32_clock(&uart_hz));
    tk_stm32_pins();
    UART_BAUD = (uart_hz + TK_UART_BAUD / 2u) / TK_UART_BAUD;
    UART_CONTROL = CONTROL_ON | RXNEIE;
    TK_NVIC_ISER(TK_UART_IRQ / 32u) = 1u << (TK_UART_IRQ % 32u);
    tk_irq_unmask();
}

int tk_board_read(void) {
    int byte;
    tk_irq_mask();
    if (ring_tail != ring_head) {
        byte = ring[ring_tail % TK_BOARD_RX_BYTES];
        ring_tail++;
        UART_CONTROL = CONTROL_ON | RXNEIE;
    } else {
        byte = take_received();
    }
    tk_irq_unmask();
    return byte;
}

void tk_board_write(uint8_t byte) {
    while ((UART_STATUS & TXE) == 0) {
    }
    UART_TRANSMIT = byte;
}

void tk_board_sleep(void) {
    tk_irq_mask();
    if (ring_tail == ring_head && (UART_STATUS & RXNE) == 0) {
        tk_wait_for_interrupt();
    }
    tk_irq_unmask();
}
