/* The firmware: one model, one serial port, asleep while nothing is asked of it. */
#include "link.h"
#include "tinykit_model.h"
#include "tk_board.h"

static tk_link link_state;

/* Called by the platform's fault handlers; when it returns, the platform restarts the board. */
void tk_fault(uint32_t exception, uint32_t pc, uint32_t cfsr) {
    tk_link_fault(&link_state, exception, pc, cfsr);
}

int main(void) {
    tk_board_init();
    tk_model_init();
    tk_link_init(&link_state);
    for (;;) {
        int byte = tk_board_read();
        if (byte >= 0) {
            tk_link_feed(&link_state, (uint8_t)byte);
        } else {
            tk_board_sleep();
        }
    }
}
