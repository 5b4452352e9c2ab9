/* One step of an LSTM, for its forward pass and its gradient. */
#ifndef TINYKIT_LSTM_H
#define TINYKIT_LSTM_H

#include "tinykit/kernels.h"

#define TK_LSTM_GATES 4 /* input, forget, cell, output */

/* gates: [4][U]; cell_after may be cell. */
void tk_lstm_step(const tk_lstm *op, const int8_t *x, const int8_t *hidden, const int16_t *cell,
                  int16_t *gates, int16_t *cell_after);

/* tanh in Q0.15 of a cell state. */
int32_t tk_lstm_tanh(const tk_lstm *op, int32_t cell, int32_t shift);

#endif
