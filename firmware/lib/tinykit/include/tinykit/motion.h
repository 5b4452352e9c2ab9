/* Sensor samples (accelerometer, gyroscope) into a model's input: a sliding window of int8 rows,
 * each axis normalised by its mean and deviation in one fixed-point multiplication.  Tables are
 * made by tinykit.frontend.MotionWindow; all memory belongs to the caller. */
#ifndef TINYKIT_MOTION_H
#define TINYKIT_MOTION_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    uint32_t axes;
    uint32_t length;           /* rows of a window */
    uint32_t hop;              /* rows from window to window: at most length */
    const int16_t *mean;       /* [axes] */
    const int32_t *multiplier; /* [axes] at most 2^30 */
    const uint8_t *shift;      /* [axes] 1 to 46 */
    int32_t zero_point;
    int8_t *rows;     /* [length][axes] the caller's memory: the last rows, normalised */
    uint32_t *filled; /* [1] */
} tk_motion_window;

/* y = round((x - mean) * multiplier / 2^shift) + zero_point, saturated, for one row; halves are
 * rounded up. */
void tk_motion_normalize(const tk_motion_window *w, const int16_t *x, int8_t *y);
/* No rows yet. */
void tk_motion_reset(const tk_motion_window *w);
/* Takes one row of x[axes].  1: a window is complete and is written to y[length][axes]; else 0. */
uint32_t tk_motion_push(const tk_motion_window *w, const int16_t *x, int8_t *y);

#ifdef __cplusplus
}
#endif
#endif
