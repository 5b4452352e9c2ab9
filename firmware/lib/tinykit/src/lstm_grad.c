/* Gradient of an LSTM through the steps of one run, back to its input. */
#include "fixed_point.h"
#include "gradient.h"
#include "lstm.h"

#define ONE (1 << 15)
#define LIMIT (1 << 30) /* of gradients inside, which have TK_LSTM_BITS bits more */

/* a * b, b in Q0.15, |b| <= 1, rounded. */
static int32_t times(int32_t a, int32_t b) {
    return (int32_t)(((int64_t)a * b + (ONE >> 1)) >> 15);
}

static int32_t saturated(int64_t x, tk_trainer *trainer) {
    if (x > LIMIT || x < -LIMIT) {
        trainer->saturations++;
        return x > 0 ? LIMIT : -LIMIT;
    }
    return (int32_t)x;
}

/* Sum over the units of gradient [U] * weights [U, n] at place i; weights in pairs. */
static int64_t column_sum(const int8_t *weights, const int16_t *gradient, int32_t units, int32_t n,
                          int32_t i) {
    int64_t sum = 0;
    const int8_t *w = weights + 2 * i;
    for (int32_t u = 0; u < units; u++) {
        sum += gradient[u] * w[u & 1];
        w += u & 1 ? 2 * (n + (n & 1)) : 0;
    }
    return sum;
}

/* One unit in one step; the gradient of the cell state before comes back. */
static int32_t back_through(const tk_lstm_grad *op, int32_t out, int32_t into_cell,
                            const int16_t *gates, int32_t cell, int32_t before, int16_t *result,
                            tk_trainer *trainer) {
    const tk_lstm *lstm = op->forward;
    const int32_t units = lstm->units, all = lstm->steps * units;
    const int32_t i = gates[0], f = gates[units], g = gates[2 * units], o = gates[3 * units];
    const int32_t tanh = tk_lstm_tanh(lstm, cell, lstm->tanh_shift);
    const int32_t through = times(times(out, o), ONE - times(tanh, tanh));
    const int32_t low = lstm->clip ? -lstm->clip : INT16_MIN;
    const int32_t high = lstm->clip ? lstm->clip : INT16_MAX;
    int32_t gradient = saturated((int64_t)into_cell + through, trainer);
    if (cell <= low || cell >= high) {
        gradient = 0;
    }
    const int32_t kept =
        saturated(tk_shift_round((int64_t)gradient * before, op->cell_shift), trainer);
    const int32_t into[TK_LSTM_GATES] = {
        times(times(gradient, g), times(i, ONE - i)),
        times(kept, times(f, ONE - f)),
        times(times(gradient, i), ONE - times(g, g)),
        times(times(out, tanh), times(o, ONE - o)),
    };
    for (int32_t gate = 0; gate < TK_LSTM_GATES; gate++) {
        result[gate * all] = tk_to_gradient(into[gate], TK_LSTM_BITS, &trainer->saturations);
    }
    return times(gradient, f);
}

void tk_lstm_grad_s16(const tk_lstm_grad *op, const int16_t *gradient, const int8_t *x,
                      const int8_t *y, const int8_t *hidden, const int16_t *cell, int16_t *result,
                      int32_t *scratch, tk_trainer *trainer) {
    const tk_lstm *lstm = op->forward;
    const int32_t units = lstm->units, steps = lstm->steps, all = steps * units;
    int32_t *out = scratch, *into_cell = out + units;
    int16_t *gates = (int16_t *)(into_cell + units), *cells = gates + TK_LSTM_GATES * all;
    const int8_t *recurrent[TK_LSTM_GATES] = {lstm->input->recurrent, lstm->forget->recurrent,
                                              lstm->cell->recurrent, lstm->output->recurrent};
    for (int32_t t = 0; t < steps; t++) {
        tk_lstm_step(lstm, x + t * lstm->inputs, t ? y + (t - 1) * units : hidden,
                     t ? cells + (t - 1) * units : cell, gates + t * TK_LSTM_GATES * units,
                     cells + t * units);
    }
    for (int32_t u = 0; u < units; u++) {
        into_cell[u] = 0;
    }
    for (int32_t t = steps - 1; t >= 0; t--) {
        const int32_t first = t * units;
        for (int32_t u = 0; u < units; u++) {
            int64_t sum = 0;
            for (int32_t gate = 0; gate < TK_LSTM_GATES && t + 1 < steps; gate++) {
                const int16_t *later = result + gate * all + first + units;
                sum += op->scale[gate] * column_sum(recurrent[gate], later, units, units, u);
            }
            sum = tk_shift_round(sum, op->recurrent_shift);
            sum += tk_shift_round(gradient[first + u], op->gradient_shift);
            out[u] = saturated(sum, trainer);
            if (y[first + u] == INT8_MIN || y[first + u] == INT8_MAX) {
                out[u] = 0;
            }
        }
        for (int32_t u = 0; u < units; u++) {
            const int32_t before = t ? cells[first - units + u] : cell[u];
            into_cell[u] = back_through(op, out[u], into_cell[u], gates + TK_LSTM_GATES * first + u,
                                        cells[first + u], before, result + first + u, trainer);
        }
    }
}

void tk_lstm_input_grad_s16(const tk_lstm_input_grad *op, const int16_t *gradient, int16_t *result,
                            tk_trainer *trainer) {
    const int8_t *weights[TK_LSTM_GATES] = {op->input, op->forget, op->cell, op->output};
    const int32_t units = op->units, inputs = op->inputs, all = op->steps * units;
    for (int32_t t = 0; t < op->steps; t++) {
        for (int32_t i = 0; i < inputs; i++) {
            int64_t sum = 0;
            for (int32_t gate = 0; gate < TK_LSTM_GATES; gate++) {
                const int16_t *into = gradient + gate * all + t * units;
                sum += op->scale[gate] * column_sum(weights[gate], into, units, inputs, i);
            }
            *result++ = tk_to_gradient(sum, op->shift, &trainer->saturations);
        }
    }
}
