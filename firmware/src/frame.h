/* Frames on a byte stream: consistent overhead byte stuffing (Cheshire & Baker 1999), 0 as
 * delimiter.
 *
 * The receiver decodes byte by byte into one buffer. Whatever arrives (noise, half a frame, a frame
 * that is too long) costs at most the frame it is in: the next delimiter starts afresh. */
#ifndef TK_FRAME_H
#define TK_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint8_t *data;     /* the decoded bytes */
    uint32_t capacity; /* of data, in bytes */
    uint32_t length;   /* bytes decoded so far */
    uint8_t left;      /* bytes of the current block still to come; 0: a block's code comes next */
    bool zero;         /* a zero stands between the current block and the next one */
    bool broken;       /* this frame is too long: drop it at its delimiter */
} tk_frame_receiver;

typedef enum {
    TK_FRAME_MORE,  /* nothing complete yet */
    TK_FRAME_READY, /* data[0 .. length) is a frame; call tk_frame_restart when done with it */
    TK_FRAME_BAD,   /* a cut or oversized frame ended here and was dropped */
} tk_frame_event;

void tk_frame_init(tk_frame_receiver *receiver, void *data, size_t capacity);
void tk_frame_restart(tk_frame_receiver *receiver);
tk_frame_event tk_frame_feed(tk_frame_receiver *receiver, uint8_t byte);

/* Writes delimiter, encoded data and delimiter through tk_board_write. */
void tk_frame_send(const uint8_t *data, size_t n);

#endif
