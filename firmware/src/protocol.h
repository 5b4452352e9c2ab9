/* What goes over the wire. tinykit/link/messages.py says the same in Python; a test compares both.
 *
 * A frame, before stuffing: a header of 8 bytes, a payload, the CRC-32 of both; little-endian.
 *
 *     kind (1)  status (1)  sequence (2)  session (4)  payload (0 .. TK_LINK_PAYLOAD)  crc (4)
 *
 * The host asks, the device answers with kind | TK_LINK_REPLY and the same sequence number. The
 * host picks a session number at HELLO and counts its requests; a request with the number of the
 * last one is that request sent again, and is answered without doing it again. */
#ifndef TK_PROTOCOL_H
#define TK_PROTOCOL_H

#define TK_LINK_VERSION 3

/* Largest payload of one frame, in bytes: a multiple of 4, of 96 .. 4096. */
#ifndef TK_LINK_PAYLOAD
#define TK_LINK_PAYLOAD 512
#endif

enum {
    TK_LINK_HEADER = 8,
    TK_LINK_CRC = 4,
    TK_LINK_INLINE_OUTPUT = 32, /* outputs up to this size come with the reply to INFER */
    TK_LINK_LONGEST_NAME = 48,
};

/* Requests: payload -> payload of the reply. u16, u32, i32: little-endian integers. */
enum {
    TK_LINK_HELLO = 0x01,       /* u16 version -> tinykit/link/messages.py: Hello */
    TK_LINK_COUNTERS = 0x02,    /* -> Counters */
    TK_LINK_WRITE_INPUT = 0x10, /* u32 offset, bytes -> */
    TK_LINK_INFER = 0x11,       /* u32 crc of the input -> u32 crc of the output, output if short */
    TK_LINK_READ_OUTPUT = 0x12, /* u32 offset, u32 length -> bytes */
    TK_LINK_TRAIN = 0x13,       /* u32 crc of the input, i32 label[, u32 crc of values] -> Step */
    TK_LINK_APPLY = 0x14,       /* -> */
    TK_LINK_RESET = 0x15,       /* -> */
    TK_LINK_WRITE_TARGET = 0x16, /* u32 offset, bytes -> */
    TK_LINK_LEARN = 0x17,        /* i32 label[, u32 crc of values]: of the last sample -> Step */
    TK_LINK_BEGIN = 0x18,        /* a new recording -> */
    TK_LINK_PUSH = 0x19, /* int16 samples -> u32 taken, u32 1 if the input is complete, u32 crc */
    TK_LINK_READ_PARAMETERS = 0x20,  /* u32 offset, u32 length -> bytes */
    TK_LINK_CHECK_PARAMETERS = 0x21, /* -> u32 crc of all parameters */
    TK_LINK_SAVE = 0x22,             /* -> u32 length, u32 crc of the saved form */
    TK_LINK_READ_SAVED = 0x23,       /* u32 offset, u32 length -> bytes */
    TK_LINK_WRITE_SAVED = 0x24,      /* u32 offset, bytes -> */
    TK_LINK_LOAD = 0x25,             /* u32 length, u32 crc of what was written -> */
    TK_LINK_TELEMETRY = 0x28,        /* u32 first tensor -> messages.py: Telemetry */
    TK_LINK_TRACE = 0x30,            /* i32 last operator (-1: off) -> u32 crc of the last run */
    TK_LINK_REPLY = 0x80,            /* bit set in the kind of every reply */
    TK_LINK_FAULT = 0xFF,            /* unasked: u32 exception, u32 pc, u32 cfsr */
};

enum {
    TK_LINK_OK = 0,
    TK_LINK_WORKING = 1,      /* heard; the answer follows when the model has run */
    TK_LINK_UNKNOWN = 2,      /* no such request */
    TK_LINK_LENGTH = 3,       /* the payload has the wrong length */
    TK_LINK_RANGE = 4,        /* offset and length reach outside */
    TK_LINK_SESSION = 5,      /* not the session of the last HELLO: the device was restarted */
    TK_LINK_SEQUENCE = 6,     /* neither the next request nor the last one again */
    TK_LINK_PROTOCOL = 7,     /* another version; payload: u16 the device's own */
    TK_LINK_CONTENT = 8,      /* the data written is not the data announced by the checksum */
    TK_LINK_ORDER = 9,        /* nothing to read: it was never made, or has been overwritten */
    TK_LINK_UNSUPPORTED = 10, /* this firmware was built without it */
    TK_LINK_MODEL = 11,       /* the model refused; payload starts with u32 tk_status */
};

/* Flags in the reply to HELLO. */
enum { TK_LINK_TRAINS = 1, TK_LINK_TRACES = 2, TK_LINK_LEARNS = 4, TK_LINK_HEARS = 8 };

#endif
