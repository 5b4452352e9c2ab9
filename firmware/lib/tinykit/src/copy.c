/* Elements that move: TRANSPOSE, SLICE, CONCATENATION and their kin, GATHER; int8, and int16 (of
 * int16x8 and of gradients). */
#include "gradient.h"
#include "tinykit/kernels.h"

#define OUTER 4 /* axes outside the innermost */

/* Where a walk is: its place along each outer axis, and the elements there. */
typedef struct {
    uint32_t place[OUTER];
    int32_t read, write;
} position;

static void next_row(const tk_copy *copy, position *at) {
    for (int32_t axis = OUTER - 1; axis >= 0; axis--) {
        at->read += copy->read[axis];
        at->write += copy->write[axis];
        if (++at->place[axis] < copy->size[axis]) {
            return;
        }
        at->place[axis] = 0;
        at->read -= (int32_t)copy->size[axis] * copy->read[axis];
        at->write -= (int32_t)copy->size[axis] * copy->write[axis];
    }
}

static uint32_t rows_of(const tk_copy *copy) {
    uint32_t rows = 1;
    for (int32_t axis = 0; axis < OUTER; axis++) {
        rows *= copy->size[axis];
    }
    return rows;
}

void tk_copy_s8(const tk_copy *copy, const int8_t *input, int8_t *output) {
    const int32_t size = (int32_t)copy->size[OUTER];
    const int32_t read = copy->read[OUTER], write = copy->write[OUTER];
    position at = {{0, 0, 0, 0}, (int32_t)copy->read_first, (int32_t)copy->write_first};
    __builtin_memset(output, copy->value, copy->filled);
    for (uint32_t rows = rows_of(copy); rows > 0; rows--) {
        const int8_t *x = input + at.read;
        int8_t *y = output + at.write;
        if (read == 1 && write == 1) {
            __builtin_memcpy(y, x, (size_t)size);
        } else {
            for (int32_t i = 0; i < size; i++) {
                y[i * write] = x[i * read];
            }
        }
        next_row(copy, &at);
    }
}

void tk_copy_s16(const tk_copy *copy, const int16_t *input, int16_t *output) {
    const int32_t size = (int32_t)copy->size[OUTER];
    const int32_t read = copy->read[OUTER], write = copy->write[OUTER];
    position at = {{0, 0, 0, 0}, (int32_t)copy->read_first, (int32_t)copy->write_first};
    for (uint32_t i = 0; i < copy->filled; i++) {
        output[i] = copy->value;
    }
    for (uint32_t rows = rows_of(copy); rows > 0; rows--) {
        const int16_t *x = input + at.read;
        int16_t *y = output + at.write;
        for (int32_t i = 0; i < size; i++) {
            y[i * write] = x[i * read];
        }
        next_row(copy, &at);
    }
}

void tk_gather_s8(const tk_gather *gather, const int8_t *input, int8_t *output) {
    for (uint32_t o = 0; o < gather->outer; o++) {
        for (uint32_t i = 0; i < gather->count; i++) {
            __builtin_memcpy(output, input + gather->index[i] * gather->inner, gather->inner);
            output += gather->inner;
        }
        input += gather->size * gather->inner;
    }
}

void tk_gather_grad_s16(const tk_gather_grad *gather, const int16_t *gradient, int16_t *result,
                        tk_trainer *trainer) {
    for (uint32_t o = 0; o < gather->outer; o++) {
        uint32_t first = 0;
        for (uint32_t j = 0; j < gather->size; j++) {
            for (uint32_t k = 0; k < gather->inner; k++) {
                int32_t sum = 0;
                for (uint32_t i = first; i < gather->end[j]; i++) {
                    sum += gradient[gather->reader[i] * gather->inner + k];
                }
                *result++ = tk_to_gradient(sum, gather->shift, &trainer->saturations);
            }
            first = gather->end[j];
        }
        gradient += gather->count * gather->inner;
    }
}
