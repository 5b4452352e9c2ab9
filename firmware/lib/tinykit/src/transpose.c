/* TRANSPOSE, int8 and int16 (of gradients). */
#include "tinykit/kernels.h"

#define OUTER 4 /* axes outside the innermost */

/* Where a row of the output is: its place along each outer axis, and where its input begins. */
typedef struct {
    uint32_t place[OUTER];
    uint32_t input;
} position;

static void next_row(const tk_transpose *transpose, position *at) {
    for (int32_t axis = OUTER - 1; axis >= 0; axis--) {
        at->input += transpose->stride[axis];
        if (++at->place[axis] < transpose->size[axis]) {
            return;
        }
        at->place[axis] = 0;
        at->input -= transpose->size[axis] * transpose->stride[axis];
    }
}

static uint32_t rows_of(const tk_transpose *transpose) {
    uint32_t rows = 1;
    for (int32_t axis = 0; axis < OUTER; axis++) {
        rows *= transpose->size[axis];
    }
    return rows;
}

void tk_transpose_s8(const tk_transpose *transpose, const int8_t *input, int8_t *output) {
    const uint32_t size = transpose->size[OUTER], stride = transpose->stride[OUTER];
    position at = {{0, 0, 0, 0}, 0};
    for (uint32_t rows = rows_of(transpose); rows > 0; rows--) {
        const int8_t *x = input + at.input;
        for (uint32_t i = 0; i < size; i++) {
            *output++ = x[i * stride];
        }
        next_row(transpose, &at);
    }
}

void tk_transpose_s16(const tk_transpose *transpose, const int16_t *input, int16_t *output) {
    const uint32_t size = transpose->size[OUTER], stride = transpose->stride[OUTER];
    position at = {{0, 0, 0, 0}, 0};
    for (uint32_t rows = rows_of(transpose); rows > 0; rows--) {
        const int16_t *x = input + at.input;
        for (uint32_t i = 0; i < size; i++) {
            *output++ = x[i * stride];
        }
        next_row(transpose, &at);
    }
}
