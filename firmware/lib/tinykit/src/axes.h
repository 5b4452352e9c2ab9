/* Walks over the elements of several tensors that broadcast against each other. */
#ifndef TINYKIT_AXES_H
#define TINYKIT_AXES_H

#include <stdint.h>

#define TK_AXES 5

/* Indices of all axes but the last, and where up to three tensors are. */
typedef struct {
    uint32_t index[TK_AXES - 1];
    uint32_t offset[3];
} tk_walk;

/* To the next line; 0 after the last one. */
static inline int tk_walk_next(tk_walk *walk, const uint32_t *size, const uint32_t *const *stride,
                               int tensors) {
    for (int axis = TK_AXES - 2; axis >= 0; axis--) {
        walk->index[axis]++;
        for (int t = 0; t < tensors; t++) {
            walk->offset[t] += stride[t][axis];
        }
        if (walk->index[axis] < size[axis]) {
            return 1;
        }
        walk->index[axis] = 0;
        for (int t = 0; t < tensors; t++) {
            walk->offset[t] -= size[axis] * stride[t][axis];
        }
    }
    return 0;
}

#endif
