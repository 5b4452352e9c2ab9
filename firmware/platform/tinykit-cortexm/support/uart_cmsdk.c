/* Arm CMSDK APB UART (DDI 0479): the MPS2 and MPS3 images of QEMU and Renode. Polled with
 * interrupts masked for ever; the receive interrupt only ends WFI. See tk_board.h for why. */
#include "cortexm.h"
#include "tk_board.h"

#define UART_DATA TK_REGISTER(TK_UART_BASE + 0x00u)
#define UART_STATE TK_REGISTER(TK_UART_BASE + 0x04u) /* bit 0 transmit full, bit 1 receive full */
#define UART_CTRL TK_REGISTER(TK_UART_BASE + 0x08u)
#define UART_INTERRUPT                                                        \
    TK_REGISTER(TK_UART_BASE + 0x0Cu) /* write 1 to clear: bit 0 tx, bit 1 rx \
                                       */
#define UART_DIVIDER TK_REGISTER(TK_UART_BASE + 0x10u)

#define TX_FULL 1u
#define RX_FULL 2u

void tk_board_init(void) {
    tk_irq_mask();
    tk_clock_init(TK_CLOCK_HZ);
    UART_DIVIDER = (TK_CLOCK_HZ + TK_UART_BAUD / 2u) / TK_UART_BAUD;
    UART_CTRL = 1u | 2u | 8u; /* transmit, receive, receive interrupt */
    TK_NVIC_ISER(TK_UART_IRQ / 32u) = 1u << (TK_UART_IRQ % 32u);
}

int tk_board_read(void) {
    return UART_STATE & RX_FULL ? (int)(UART_DATA & 0xFFu) : -1;
}

void tk_board_write(uint8_t byte) {
    while (UART_STATE & TX_FULL) {
    }
    UART_DATA = byte;
}

void tk_board_sleep(void) {
    UART_INTERRUPT = RX_FULL;
    TK_SCB_ICSR = TK_ICSR_PENDSTCLR;
    TK_NVIC_ICPR(TK_UART_IRQ / 32u) = 1u << (TK_UART_IRQ % 32u);
    if ((UART_STATE & RX_FULL) == 0) {
        tk_wait_for_interrupt();
    }
    tk_clock_update();
}
