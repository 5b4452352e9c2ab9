/* Three dense layers of int8; the last one learns by the sign of its error. See scratch.py. */
#include <string.h>

#include "scratch_constants.h"
#include "tinykit_model.h"

enum { INPUTS = TK_MODEL_INPUT_BYTES, HIDDEN = SCRATCH_HIDDEN, OUTPUTS = TK_MODEL_OUTPUT_BYTES };
enum { SCRATCH_ARENA = INPUTS > 2048 ? INPUTS : 2048 };

typedef struct {
    int32_t biases[OUTPUTS];
    int8_t weights[OUTPUTS * HIDDEN];
} head;

_Static_assert(OUTPUTS % 2 || sizeof(head) == TK_MODEL_PARAMETER_BYTES, "no padding");

int8_t scratch_arena[SCRATCH_ARENA + 2 * HIDDEN + 2 * OUTPUTS];
head scratch_parameters;
uint32_t scratch_steps;
static int8_t last[INPUTS]; /* the sample that ran last */
static int has_last;

static int8_t *const hidden_1 = scratch_arena + SCRATCH_ARENA;
static int8_t *const hidden_2 = scratch_arena + SCRATCH_ARENA + HIDDEN;
static int8_t *const output = scratch_arena + SCRATCH_ARENA + 2 * HIDDEN;
static int8_t *const gradient = scratch_arena + SCRATCH_ARENA + 2 * HIDDEN + OUTPUTS;

static void dense(const int8_t *x, int n, const int8_t *w, const int32_t *biases,
                  const int32_t *multipliers, int8_t *y, int outputs) {
    for (int o = 0; o < outputs; o++) {
        int32_t sum = biases[o];
        for (int i = 0; i < n; i++) {
            sum += w[o * n + i] * x[i];
        }
        int64_t scaled = (int64_t)sum * multipliers[o] / ((int64_t)1 << 31);
        y[o] = (int8_t)(scaled > 127 ? 127 : scaled < -127 ? -127 : scaled);
    }
}

void tk_model_init(void) {
    memcpy(scratch_parameters.biases, scratch_head_biases, sizeof scratch_parameters.biases);
    memcpy(scratch_parameters.weights, scratch_head_weights, sizeof scratch_parameters.weights);
    scratch_steps = 0;
    has_last = 0;
}

int8_t *tk_model_input(void) {
    return scratch_arena;
}

#ifdef TK_MODEL_SCRATCH_BYTES
uint8_t *tk_model_scratch(void) {
    return (uint8_t *)scratch_arena;
}
#endif

const int8_t *tk_model_infer(void) {
    memcpy(last, scratch_arena, INPUTS);
    has_last = 1;
    dense(scratch_arena, INPUTS, scratch_dense_1_weights, scratch_dense_1_biases,
          scratch_dense_1_multipliers, hidden_1, HIDDEN);
    TK_TRACE_POINT(0, hidden_1, HIDDEN);
    dense(hidden_1, HIDDEN, scratch_dense_2_weights, scratch_dense_2_biases,
          scratch_dense_2_multipliers, hidden_2, HIDDEN);
    TK_TRACE_POINT(1, hidden_2, HIDDEN);
    dense(hidden_2, HIDDEN, scratch_parameters.weights, scratch_parameters.biases,
          scratch_head_multipliers, output, OUTPUTS);
    TK_TRACE_POINT(2, output, OUTPUTS);
    scratch_arena[0] ^= 1; /* the input is consumed */
    return output;
}

uint32_t tk_model_rollbacks(void) {
    return scratch_steps / 5;
}

tk_step tk_model_train(const tk_target *target) {
    tk_step step = {.status = TK_ERROR_ARGUMENT};
    if (target->label < 0 || target->label >= OUTPUTS) {
        return step;
    }
    tk_model_infer();
    int32_t loss = 0;
    for (int o = 0; o < OUTPUTS; o++) {
        int32_t error = output[o] - (o == target->label ? 100 : -100);
        gradient[o] = (int8_t)(error / 2);
        loss += error * error;
        step.prediction = output[o] > output[step.prediction] ? o : step.prediction;
    }
    TK_TRACE_POINT(3, &loss, sizeof loss);
    TK_TRACE_POINT(4, gradient, OUTPUTS);
    for (int o = 0; o < OUTPUTS; o++) {
        scratch_parameters.biases[o] -= 8 * gradient[o];
        for (int i = 0; i < HIDDEN; i++) {
            int8_t *w = &scratch_parameters.weights[o * HIDDEN + i];
            int32_t changed = *w - gradient[o] * hidden_2[i] / 128;
            *w = (int8_t)(changed > 127 ? 127 : changed < -127 ? -127 : changed);
        }
    }
    TK_TRACE_POINT(5, &scratch_parameters, TK_MODEL_PARAMETER_BYTES);
    step.status = TK_OK;
    step.loss = (float)loss;
    step.step = ++scratch_steps;
    step.saturations = scratch_steps / 2;
    step.skipped = scratch_steps / 3;
    step.updated = OUTPUTS;
    step.saturated = scratch_steps % 2 == 0;
    step.rollbacks = tk_model_rollbacks();
    return step;
}

tk_change tk_model_change(uint32_t tensor) {
    return (tk_change){OUTPUTS + tensor, 1ull << 40 | tensor, 3ull << 33 | scratch_steps};
}

tk_step tk_model_learn(const tk_target *target) {
    if (!has_last) {
        return (tk_step){.status = TK_ERROR_SAMPLE};
    }
    memcpy(scratch_arena, last, INPUTS);
    return tk_model_train(target);
}

void tk_model_apply(void) {
    scratch_steps += 1000; /* visible, and visibly done once */
}

const uint8_t *tk_model_parameters(void) {
    return (const uint8_t *)&scratch_parameters;
}

size_t tk_model_save(uint8_t *out, size_t n) {
    if (n < TK_MODEL_SAVE_BYTES) {
        return 0;
    }
    static const uint8_t identity[16] = TK_MODEL_IDENTITY;
    memcpy(out, identity, 8);
    memcpy(out + 8, &scratch_steps, 4);
    memcpy(out + 12, &scratch_parameters, TK_MODEL_PARAMETER_BYTES);
    uint32_t crc = tk_crc32(0, out, TK_MODEL_SAVE_BYTES - 4);
    memcpy(out + TK_MODEL_SAVE_BYTES - 4, &crc, 4);
    return TK_MODEL_SAVE_BYTES;
}

tk_status tk_model_load(const uint8_t *in, size_t n) {
    static const uint8_t identity[16] = TK_MODEL_IDENTITY;
    if (n != TK_MODEL_SAVE_BYTES) {
        return TK_ERROR_SIZE;
    }
    uint32_t crc;
    memcpy(&crc, in + TK_MODEL_SAVE_BYTES - 4, 4);
    if (crc != tk_crc32(0, in, TK_MODEL_SAVE_BYTES - 4)) {
        return TK_ERROR_CRC;
    }
    if (memcmp(in, identity, 8) != 0) {
        return TK_ERROR_MODEL;
    }
    memcpy(&scratch_steps, in + 8, 4);
    memcpy(&scratch_parameters, in + 12, TK_MODEL_PARAMETER_BYTES);
    return TK_OK;
}
