/* tk_board.h for a program of the host: the serial port is stdin and stdout. */
#include <stdlib.h>
#include <unistd.h>

#include "tk_board.h"

static uint8_t received[4096], sent[8192];
static size_t received_end, received_at, sent_end;

static void flush(void) {
    for (size_t at = 0; at < sent_end;) {
        ssize_t n = write(1, sent + at, sent_end - at);
        if (n <= 0) {
            exit(0);
        }
        at += (size_t)n;
    }
    sent_end = 0;
}

void tk_board_init(void) {
}

int tk_board_read(void) {
    return received_at < received_end ? received[received_at++] : -1;
}

void tk_board_write(uint8_t byte) {
    if (sent_end == sizeof sent) {
        flush();
    }
    sent[sent_end++] = byte;
}

void tk_board_sleep(void) {
    flush();
    ssize_t n = read(0, received, sizeof received);
    if (n <= 0) {
        exit(0);
    }
    received_at = 0;
    received_end = (size_t)n;
}

uint32_t tk_board_cycles(void) {
    static uint32_t cycles;
    return cycles += 1000;
}

uint32_t tk_board_stack_used(void) {
    return 123;
}
