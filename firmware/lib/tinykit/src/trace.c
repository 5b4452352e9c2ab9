#include "tinykit/tinykit.h"

#if TK_TRACE
int32_t tk_trace_last = -1;
uint32_t tk_trace_crc;

void tk_trace_point(int32_t op, const void *data, size_t bytes) {
    if (op <= tk_trace_last) {
        tk_trace_crc = tk_crc32(tk_trace_crc, data, bytes);
    }
}
#endif
