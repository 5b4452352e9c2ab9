/* Sessions and sequence numbers: which request is new, which is the last one again. */
#include "link.h"

#include <string.h>

#include <tinykit/tinykit.h>

void tk_link_init(tk_link *link) {
    memset(link, 0, sizeof *link);
    link->trace_last = -1;
    tk_frame_init(&link->receiver, link->buffer, sizeof link->buffer);
}

/* Sends `length` bytes of payload that already lie in the buffer, with the header's session. */
static void answer(tk_link *link, uint8_t kind, uint8_t status, uint16_t sequence,
                   uint32_t length) {
    uint8_t *frame = (uint8_t *)link->buffer;
    frame[0] = kind;
    frame[1] = status;
    frame[2] = (uint8_t)sequence;
    frame[3] = (uint8_t)(sequence >> 8);
    tk_put32(frame + 4, link->session);
    uint32_t end = TK_LINK_HEADER + length;
    tk_put32(frame + end, tk_crc32(0, frame, end));
    tk_frame_send(frame, end + TK_LINK_CRC);
}

static void answer_last(tk_link *link, uint8_t status, uint32_t length) {
    answer(link, (uint8_t)(link->kind | TK_LINK_REPLY), status, link->sequence, length);
}

void tk_link_working(tk_link *link) {
    answer_last(link, TK_LINK_WORKING, 0);
}

void tk_link_fault(tk_link *link, uint32_t exception, uint32_t pc, uint32_t cfsr) {
    uint8_t *payload = tk_link_payload(link);
    tk_put32(payload, exception);
    tk_put32(payload + 4, pc);
    tk_put32(payload + 8, cfsr);
    answer(link, TK_LINK_FAULT, TK_LINK_OK, link->sequence, 12);
}

/* A new request: does it, answers, and stores the reply if doing it twice would be wrong. */
static void accept(tk_link *link, uint8_t kind, uint16_t sequence, uint32_t crc, uint32_t length) {
    link->kind = kind;
    link->sequence = sequence;
    link->request_crc = crc;
    tk_link_reply reply = tk_link_perform(link, kind, length);
    link->status = reply.status;
    link->stored = reply.store && reply.length <= sizeof link->reply;
    if (link->stored) {
        link->reply_length = (uint8_t)reply.length;
        memcpy(link->reply, tk_link_payload(link), reply.length);
    }
    answer_last(link, reply.status, reply.length);
}

static void repeat(tk_link *link, uint32_t length) {
    link->repeated++;
    if (link->stored) {
        memcpy(tk_link_payload(link), link->reply, link->reply_length);
        answer_last(link, link->status, link->reply_length);
    } else { /* it only reads: reading again is the same */
        tk_link_reply reply = tk_link_perform(link, link->kind, length);
        answer_last(link, reply.status, reply.length);
    }
}

/* A HELLO with a session number that is not the current one begins anew. */
static void begin(tk_link *link, uint32_t session) {
    link->session = session;
    link->stored = false;
    link->holds = TK_HOLDS_NOTHING;
    link->trace_last = -1;
}

static void receive(tk_link *link, uint32_t frame_length) {
    const uint8_t *frame = (const uint8_t *)link->buffer;
    if (frame_length < TK_LINK_HEADER + TK_LINK_CRC) {
        link->dropped++;
        return;
    }
    uint32_t end = frame_length - TK_LINK_CRC;
    uint32_t crc = tk_get32(frame + end);
    if (crc != tk_crc32(0, frame, end)) {
        link->dropped++;
        return;
    }
    uint8_t kind = frame[0];
    uint16_t sequence = (uint16_t)(frame[2] | frame[3] << 8);
    uint32_t session = tk_get32(frame + 4);
    uint32_t length = end - TK_LINK_HEADER;
    if (kind == TK_LINK_HELLO && session != 0 && session != link->session) {
        begin(link, session);
        accept(link, kind, sequence, crc, length);
    } else if (session == 0 || session != link->session) {
        answer(link, (uint8_t)(kind | TK_LINK_REPLY), TK_LINK_SESSION, sequence, 0);
    } else if (sequence == link->sequence && crc == link->request_crc) {
        repeat(link, length);
    } else if (sequence == (uint16_t)(link->sequence + 1)) {
        accept(link, kind, sequence, crc, length);
    } else {
        answer(link, (uint8_t)(kind | TK_LINK_REPLY), TK_LINK_SEQUENCE, sequence, 0);
    }
}

void tk_link_feed(tk_link *link, uint8_t byte) {
    switch (tk_frame_feed(&link->receiver, byte)) {
    case TK_FRAME_READY:
        receive(link, link->receiver.length);
        tk_frame_restart(&link->receiver);
        break;
    case TK_FRAME_BAD:
        link->dropped++;
        break;
    case TK_FRAME_MORE:
        break;
    }
}
