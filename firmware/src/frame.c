#include "frame.h"

#include "tk_board.h"

enum { DELIMITER = 0, LONGEST_BLOCK = 254 };

void tk_frame_restart(tk_frame_receiver *receiver) {
    receiver->length = 0;
    receiver->left = 0;
    receiver->zero = false;
    receiver->broken = false;
}

void tk_frame_init(tk_frame_receiver *receiver, void *data, size_t capacity) {
    receiver->data = data;
    receiver->capacity = (uint32_t)capacity;
    tk_frame_restart(receiver);
}

static void keep(tk_frame_receiver *receiver, uint8_t byte) {
    if (receiver->length < receiver->capacity) {
        receiver->data[receiver->length++] = byte;
    } else {
        receiver->broken = true;
    }
}

tk_frame_event tk_frame_feed(tk_frame_receiver *receiver, uint8_t byte) {
    if (byte == DELIMITER) {
        bool cut = receiver->left != 0 || receiver->broken;
        if (!cut && receiver->length > 0) {
            return TK_FRAME_READY;
        }
        tk_frame_restart(receiver); /* two delimiters in a row are no frame at all */
        return cut ? TK_FRAME_BAD : TK_FRAME_MORE;
    }
    if (receiver->left > 0) {
        receiver->left--;
        keep(receiver, byte);
    } else { /* the code of the next block: its length + 1 */
        if (receiver->zero) {
            keep(receiver, 0);
        }
        receiver->left = (uint8_t)(byte - 1);
        receiver->zero = byte != LONGEST_BLOCK + 1; /* the longest block stands for no zero */
    }
    return TK_FRAME_MORE;
}

static void write_all(const uint8_t *data, size_t n) {
    for (size_t i = 0; i < n; i++) {
        tk_board_write(data[i]);
    }
}

void tk_frame_send(const uint8_t *data, size_t n) {
    tk_board_write(DELIMITER); /* ends whatever a reset or a fault has cut off before */
    size_t start = 0;
    for (bool more = true; more;) {
        size_t run = 0;
        while (run < LONGEST_BLOCK && start + run < n && data[start + run] != 0) {
            run++;
        }
        tk_board_write((uint8_t)(run + 1));
        write_all(data + start, run);
        start += run;
        if (run == LONGEST_BLOCK) {
            more = start < n;
        } else if (start < n) {
            start++; /* the zero that the code stands for */
        } else {
            more = false;
        }
    }
    tk_board_write(DELIMITER);
}
