/* UNIDIRECTIONAL_SEQUENCE_LSTM, int8 with gates of 16 bits. */
#include "lstm.h"

#include "pair_sums.h"
#include "requantize.h"
#include "sigmoid.h"

static int32_t to_int16(int32_t x) {
    return tk_clamp(x, INT16_MIN, INT16_MAX);
}

/* tanh in Q0.15 of cell * 2^(shift - 12). */
int32_t tk_lstm_tanh(const tk_lstm *op, int32_t cell, int32_t shift) {
    const int32_t x = 3 * cell;
    return tk_tanh(op->sigmoid,
                   shift >= 0 ? x * (1 << shift) : (x + (1 << (-shift - 1))) >> -shift);
}

/* What goes into gate `gate` [U], then its function: sigmoid, or tanh for the cell's. */
static void make_gate(const tk_lstm *op, const tk_lstm_gate *gate, const int8_t *x,
                      const int8_t *hidden, int32_t is_cell, int16_t *result) {
    for (int32_t u = 0; u < op->units; u += 2) {
        int32_t sums[2] = {0, 0}, back[2] = {0, 0};
        tk_pair_sums(gate->weights, u, x, op->inputs, op->input_zero_point, sums);
        tk_pair_sums(gate->recurrent, u, hidden, op->units, op->hidden_zero_point, back);
        for (int32_t i = 0; i < 2 && u + i < op->units; i++) {
            const int32_t sum = (int32_t)((uint32_t)sums[i] + (uint32_t)gate->bias[u + i]);
            const int32_t first = to_int16(tk_multiply(sum, gate->multiplier, gate->shift));
            const int32_t second =
                to_int16(tk_multiply(back[i], gate->recurrent_multiplier, gate->recurrent_shift));
            const int32_t total = to_int16(first + second);
            const int32_t value =
                is_cell ? tk_lstm_tanh(op, total, 0) : tk_sigmoid(op->sigmoid, 3 * total);
            result[u + i] = (int16_t)value;
        }
    }
}

void tk_lstm_step(const tk_lstm *op, const int8_t *x, const int8_t *hidden, const int16_t *cell,
                  int16_t *gates, int16_t *cell_after) {
    const int32_t units = op->units;
    make_gate(op, op->input, x, hidden, 0, gates);
    make_gate(op, op->forget, x, hidden, 0, gates + units);
    make_gate(op, op->cell, x, hidden, 1, gates + 2 * units);
    make_gate(op, op->output, x, hidden, 0, gates + 3 * units);
    for (int32_t u = 0; u < units; u++) {
        const int32_t kept = gates[units + u] * cell[u], added = gates[u] * gates[2 * units + u];
        const int32_t first = to_int16(tk_multiply(kept, op->forget_multiplier, op->forget_shift));
        const int32_t second =
            to_int16(tk_multiply(added, op->update_multiplier, op->update_shift));
        int32_t value = to_int16(first + second);
        if (op->clip) {
            value = tk_clamp(value, -op->clip, op->clip);
        }
        cell_after[u] = (int16_t)value;
    }
}

void tk_lstm_s8(const tk_lstm *op, const int8_t *input, const int8_t *hidden, const int16_t *cell,
                int8_t *output, int16_t *cell_after, int16_t *scratch) {
    const int32_t units = op->units;
    const int16_t *open = scratch + 3 * units; /* the output gate */
    const tk_output_range range = tk_range_of(INT8_MIN, INT8_MAX, op->hidden_zero_point);
    for (int32_t t = 0; t < op->steps; t++) {
        tk_lstm_step(op, input, hidden, cell, scratch, cell_after);
        for (int32_t u = 0; u < units; u++) {
            const int32_t product = tk_lstm_tanh(op, cell_after[u], op->tanh_shift) * open[u];
            output[u] =
                (int8_t)tk_requantize(product, op->hidden_multiplier, op->hidden_shift, &range);
        }
        input += op->inputs;
        hidden = output;
        cell = cell_after;
        output += units;
    }
}
