/* The device's end of the link: takes bytes, answers requests about the one model in this firmware.
 *
 * A request that changes something is done exactly once, however often its frame or its reply is
 * lost. Nothing that the host sends is trusted; nothing waits for the host. */
#ifndef TK_LINK_H
#define TK_LINK_H

#include "frame.h"
#include "protocol.h"

typedef enum {
    TK_HOLDS_NOTHING,
    TK_HOLDS_INPUT,
    TK_HOLDS_OUTPUT,
    TK_HOLDS_SAVED,
} tk_link_holds;

typedef struct {
    tk_frame_receiver receiver;
    uint32_t session;     /* chosen by the host; 0: none yet */
    uint32_t request_crc; /* of the last request's frame */
    uint16_t sequence;    /* of the last request */
    uint8_t kind;         /* of the last request */
    uint8_t status;       /* of its reply */
    bool stored;          /* its reply is in `reply` */
    uint8_t reply_length; /* bytes of `reply` in use */
    uint8_t reply[4 + TK_LINK_INLINE_OUTPUT];
    tk_link_holds holds;   /* what the model's scratch memory holds for the host */
    const int8_t *output;  /* valid while holds is TK_HOLDS_OUTPUT */
    uint32_t saved_length; /* valid while holds is TK_HOLDS_SAVED */
    uint32_t cycles;       /* of the last inference or step; 0 where the core has no counter */
    uint32_t step;         /* as the last training step said; 0 after RESET and LOAD */
    uint32_t saturations;  /* likewise */
    uint32_t saturated;    /* likewise: in that step alone */
    uint32_t dropped;      /* frames cut, damaged or too long */
    uint32_t repeated;     /* requests answered again from store */
    int32_t trace_last;
    uint32_t buffer[(TK_LINK_HEADER + TK_LINK_PAYLOAD + TK_LINK_CRC) / 4];
} tk_link;

void tk_link_init(tk_link *link);

/* Takes one received byte; answers when it completes a request. */
void tk_link_feed(tk_link *link, uint8_t byte);

/* Reports a processor fault to the host. For a fault handler: uses nothing but `link`. */
void tk_link_fault(tk_link *link, uint32_t exception, uint32_t pc, uint32_t cfsr);

/* One reply in the making: status, and the payload's length; the payload is in link->buffer. */
typedef struct {
    uint8_t status;
    bool store; /* keep it for a repeated request; at most sizeof link->reply bytes */
    uint32_t length;
} tk_link_reply;

/* Does what the request in link->buffer asks, once (requests.c). */
tk_link_reply tk_link_perform(tk_link *link, uint8_t kind, uint32_t length);

/* Tells the host that its request was heard and takes a while. The request in link->buffer is gone.
 */
void tk_link_working(tk_link *link);

/* Where payloads lie: behind the header. */
static inline uint8_t *tk_link_payload(tk_link *link) {
    return (uint8_t *)link->buffer + TK_LINK_HEADER;
}

static inline uint32_t tk_get32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline void tk_put32(uint8_t *p, uint32_t value) {
    p[0] = (uint8_t)value;
    p[1] = (uint8_t)(value >> 8);
    p[2] = (uint8_t)(value >> 16);
    p[3] = (uint8_t)(value >> 24);
}

/* The model runs between these two; emulators count instructions from one to the other. */
void tk_marker_begin(void);
void tk_marker_end(void);

#endif
