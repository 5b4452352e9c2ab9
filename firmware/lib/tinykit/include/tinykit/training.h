/* Training: the state of a trainer, the loss, gradients and updates.
 *
 * Gradients are int16 with a static power-of-two exponent, and the loss's is made smaller where
 * they saturate; docs/training.md has the arithmetic.
 * Shapes as in kernels.h.  Kernels that round gradients count what saturates in the trainer. */
#ifndef TINYKIT_TRAINING_H
#define TINYKIT_TRAINING_H

#include "tinykit/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What survives from step to step beside the parameters. */
typedef struct {
    uint32_t step;        /* steps done */
    uint32_t pending;     /* samples of the running accumulation */
    uint32_t begun;       /* those of them that updated something */
    uint32_t saturations; /* gradients and states of the optimizer clamped to int16 */
    uint32_t held;        /* states among those of this step */
    uint32_t headroom;    /* bits by which gradients are kept smaller than calibrated */
    uint32_t calm;        /* steps since it changed, none of whose gradients saturated */
    uint32_t skipped;     /* steps that ended with their loss */
    uint16_t skips;       /* this step does */
    uint16_t rollbacks;   /* times that the guard went back; 255: or more */
    uint32_t updated;     /* weights and biases that this step changed */
    float rate;           /* this step's for plain SGD: of a sample's normalised gradients */
    float learning_rate;  /* this step's, of the mean of the samples' gradients */
    float normalisation;  /* gradients were divided by it */
    uint32_t classes;     /* in use, of a head that grows; else 0 */
    uint32_t counted;     /* of `updated`: those in tensors that are done */
    uint64_t moved;       /* sum of |change| in the tensor under way */
} tk_trainer;

/* The optimizer; schedule: 0 constant, 1 linear, 2 cosine down to zero over total_steps; 3 times
 * step_factor after every step_size steps. */
typedef struct {
    float learning_rate;
    float step_factor;
    uint32_t schedule, step_size, warmup_steps, total_steps;
    uint32_t accumulate;
    uint32_t wide; /* weights have masters of 32 bits */
    uint32_t seed;
    uint32_t classes;       /* labels are below it; 0: none are taken */
    uint32_t first_classes; /* in use from the beginning, of a head that grows; else 0 */
    uint32_t target_values; /* of a target that is a vector; 0: none are taken */
    uint32_t headroom;      /* bits that gradients may get beyond the calibrated ones */
} tk_optimizer;

/* A trained tensor with its residual: master = 256 * used + residual, or 2^24 * used + residual for
 * weights with wide masters. */
typedef struct {
    void *used;     /* int8 weights or int32 biases */
    void *residual; /* int8; int16 (weights) or int32 (biases) where samples accumulate; int32: wide
                     */
    uint32_t size;
} tk_trained;

/* All that learns, in one block of SRAM. */
typedef struct {
    const uint8_t *identity; /* 16 bytes */
    uint8_t *block;
    const uint8_t *initial; /* biases and weights; residuals start at zero */
    tk_trainer *trainer;
    const tk_optimizer *optimizer;
    const tk_trained *biases;
    const tk_trained *weights;
    tk_change *changes; /* of biases, then weights; their magnitudes are not kept */
    uint32_t block_bytes, initial_bytes;
    uint32_t bias_count, weight_count;
} tk_parameters;

/* What an optimizer beyond plain SGD keeps of one parameter, in the order of its elements. */
typedef struct {
    int16_t *momentum;  /* of the gradients, or Adam's mean of them; NULL: neither */
    int16_t *deviation; /* Adam's root of their mean square; NULL: not Adam */
    float gradient;     /* momentum's units times 2^15, per unit of the accumulator */
    float decay;        /* weight decay */
    float clip;         /* largest norm of the accumulators at normalisation 1; 0: any */
    float beta_1, beta_2;
    uint32_t epsilon; /* in units of the deviation, times 2^15 */
    uint16_t factor;  /* the momentum's, times 2^15 */
} tk_update_state;

/* How one parameter follows its gradient: by trainer.rate * constant / M update units per unit of
 * the accumulator, where M = multiplier * 2^(multiplier_shift - 31) is the forward pass's; with
 * momentum by trainer.learning_rate * constant / M per 2^-15 of its unit, with Adam per 2^-16. */
typedef struct {
    void *used;
    void *residual;               /* NULL: int8 weights updated in place */
    const tk_update_state *state; /* NULL: plain SGD */
    const int32_t *multiplier;
    const int8_t *multiplier_shift;
    float constant;
    uint32_t seed;
    uint16_t tensor;
    uint8_t per_channel, stochastic, accumulate, wide;
    uint8_t simple; /* an int8 residual: neither wide nor accumulating */
} tk_update;

void tk_parameters_reset(const tk_parameters *p);
void tk_parameters_apply(const tk_parameters *p);
#define TK_SAVE_OVERHEAD 48
size_t tk_parameters_save(const tk_parameters *p, uint8_t *out, size_t bytes);
tk_status tk_parameters_load(const tk_parameters *p, const uint8_t *in, size_t bytes);

/* A step is begin, the generated calls, end; begin fails on a target that the loss
 * does not take. */
tk_status tk_step_begin(const tk_parameters *p, const tk_target *target, tk_step *step);
void tk_step_end(const tk_parameters *p, tk_step *step);

/* Behind the update of each trained tensor. */
void tk_change_end(tk_trainer *trainer, tk_change *change);
/* Of trained tensor `index`, biases first; zeros if there is none. */
tk_change tk_parameters_change(const tk_parameters *p, uint32_t index);

/* Past samples with their targets, as many as fit into `capacity` slots. */
typedef struct {
    uint32_t *filled; /* slots in use, the first ones */
    uint32_t *seen;   /* [groups]: samples that have come of each class, and of no class */
    int32_t *labels;  /* [capacity]; -1: the target lies behind the sample, or there is none */
    int8_t *samples;  /* [capacity][stride] */
    const tk_optimizer *optimizer;
    uint32_t capacity, groups;
    uint32_t sample_bytes, target_bytes, stride;
} tk_replay;
/* `step` seeds the choice: where a new sample goes, and which is drawn first, second … */
void tk_replay_insert(const tk_replay *r, uint32_t step, const int8_t *sample,
                      const tk_target *target);
const int8_t *tk_replay_draw(const tk_replay *r, uint32_t step, uint32_t number,
                             tk_target *target); /* NULL: there is none */
/* What the step of an old sample adds to the answer for the new one. */
void tk_replay_add(tk_step *step, const tk_step *old);

/* What a guard against divergence knows of the window of steps under way. */
typedef struct {
    uint64_t sum;  /* of its losses, in units of 2^-32 */
    uint64_t best; /* smallest sum of a whole window; UINT64_MAX: none yet */
    uint32_t steps;
} tk_guard_state;

/* limit: of a window's sum; and factor / 256 times the best one's, or `floor` if that is larger
 * (factor 0: none).  Sums are in units of 2^-32. */
typedef struct {
    uint64_t limit, floor;
    const tk_parameters *parameters;
    tk_guard_state *state;
    uint8_t *snapshot;  /* [kept_bytes] of the block, which a whole window has proven */
    uint8_t *candidate; /* [kept_bytes], those that this window began with; NULL: not kept, the
                         * snapshot is of the end of the last window */
    float rate_factor;  /* of the learning rate, for each time that it went back */
    uint32_t window, factor;
    uint32_t kept_bytes;
    uint32_t zeroed_from; /* in the block: fractions and momentum, which begin anew */
} tk_guard;
/* After parameters were reset or loaded: they are the snapshot. */
void tk_guard_reset(const tk_guard *g);
/* Behind the begin of a step, and behind its end. */
void tk_guard_begin(const tk_guard *g);
void tk_guard_end(const tk_guard *g, tk_step *step);
/* Back to the snapshot, without its fractions and momentum. */
void tk_guard_back(const tk_guard *g);

/* A row of outputs of a FULLY_CONNECTED (weights as in tk_conv2d) in steps of 2^-TK_FINE_LOGIT_BITS
 * of its int8 output's scale, without that one's zero point and ends. */
#define TK_FINE_LOGIT_BITS 4
typedef struct {
    const int8_t *weights;
    const int8_t *weights_rest; /* NULL when K = C */
    const int32_t *bias;        /* [O] */
    const int32_t *multiplier;  /* of the int8 output: [O], or [1] unless per_channel */
    const int8_t *shift;        /* likewise; at most 26 */
    uint16_t inputs, split, outputs;
    int16_t zero_point;
    uint8_t per_channel;
} tk_fine_logits;
void tk_fine_logits_s16(const tk_fine_logits *op, const int8_t *x, int16_t *logits);

/* A logit of one of both types. */
static inline int32_t tk_logit(const void *logits, uint32_t fine, uint32_t c) {
    return fine ? ((const int16_t *)logits)[c] : ((const int8_t *)logits)[c];
}

/* Losses.  Logits are int8, or int16 where `fine`.  scratch: 4 bytes a logit.  The step ends with
 * it where max |p - y| < skip_below, or the loss is above guard_loss (0: never). */
typedef struct {
    float scale;
    float skip_below, guard_loss;
    uint32_t classes;
    uint32_t fine;
} tk_softmax_cross_entropy;
void tk_softmax_cross_entropy_s8(const tk_softmax_cross_entropy *loss, const void *logits,
                                 int16_t *gradient, float *scratch, const tk_target *target,
                                 tk_trainer *trainer, tk_step *step);

/* Both over the first trainer.classes of one row alone; what is not in use has probability and
 * gradient 0. */
void tk_growing_softmax_s8(const tk_softmax *softmax, const int8_t *input, int8_t *output,
                           const tk_trainer *trainer);
void tk_growing_softmax_cross_entropy_s8(const tk_softmax_cross_entropy *loss, const void *logits,
                                         int16_t *gradient, float *scratch, const tk_target *target,
                                         tk_trainer *trainer, tk_step *step);

/* One logit a class that may hold or not; a target value v means (v + 128) / 255.  A label among
 * several classes is that class alone; with one logit it is 0 or 1 itself. */
typedef struct {
    float scale;
    float skip_below, guard_loss;
    int32_t zero_point;
    uint32_t outputs;
    uint32_t fine;
} tk_sigmoid_cross_entropy;
void tk_sigmoid_cross_entropy_s8(const tk_sigmoid_cross_entropy *loss, const void *logits,
                                 int16_t *gradient, float *scratch, const tk_target *target,
                                 tk_trainer *trainer, tk_step *step);

/* Differences (y - zero_point) * multiplier - (t - target_zero_point) * target_multiplier, in units
 * of the larger scale / 2^20. */
typedef struct {
    float guard_loss;
    float loss_scale;     /* loss by sum of squares, in (64 units)^2 */
    float gradient_scale; /* derivative by difference */
    int32_t multiplier, target_multiplier;
    int32_t zero_point, target_zero_point;
    uint32_t size;
} tk_mean_squared_error;
void tk_mean_squared_error_s8(const tk_mean_squared_error *loss, const int8_t *y, int16_t *gradient,
                              const tk_target *target, tk_trainer *trainer, tk_step *step);
/* The same against a tensor: an autoencoder's own input. */
void tk_reconstruction_error_s8(const tk_mean_squared_error *loss, const int8_t *y,
                                const int8_t *expected, int16_t *gradient, tk_trainer *trainer,
                                tk_step *step);

/* Centres [classes, size] of the embeddings of each class, in units of 1/128 code, and how many
 * samples they are means of (0: not in use), `window` at most.  square, by_margin: of squared
 * distances, in real units and in margins; twice: of distances.  scratch: 4 bytes a class. */
typedef struct {
    float square, by_margin, twice;
    float margin, guard_loss;
    uint32_t classes, size;
    int32_t window;
} tk_class_centres;
void tk_class_centres_s8(const tk_class_centres *op, const int8_t *y, const int16_t *centres,
                         const int16_t *counts, int8_t *output, float *scratch);
void tk_triplet_s8(const tk_class_centres *op, const int8_t *y, int16_t *centres, int16_t *counts,
                   int16_t *gradient, const tk_target *target, tk_trainer *trainer, tk_step *step);

/* Activations: the gradient passes where low < y < high. */
typedef struct {
    uint32_t size;
    int16_t low, high;
} tk_activation_limits;
void tk_activation_mask(const tk_activation_limits *limits, const int8_t *y, uint8_t *bits);
void tk_activation_grad(const tk_activation_limits *limits, const int16_t *gradient,
                        const int8_t *y, int16_t *result);
void tk_activation_grad_bits(const tk_activation_limits *limits, const int16_t *gradient,
                             const uint8_t *bits, int16_t *result);

typedef struct {
    uint32_t size;
    int8_t shift_a, shift_b, shift;
} tk_gradient_add;
void tk_gradient_add_s16(const tk_gradient_add *add, const int16_t *a, const int16_t *b,
                         int16_t *result, tk_trainer *trainer);

typedef struct {
    const tk_window *window;
    uint16_t channels;
    int8_t shift;
} tk_pool_grad;
void tk_average_pool_grad_s16(const tk_pool_grad *pool, const int16_t *gradient, int16_t *result,
                              tk_trainer *trainer);
/* scratch: 4 * H * W bytes. */
void tk_max_pool_grad_s16(const tk_pool_grad *pool, const int16_t *gradient, const int8_t *x,
                          int16_t *result, int32_t *scratch, tk_trainer *trainer);

/* result = gradient * table[x + 128]; the result may be the gradient. */
typedef struct {
    const int16_t *table; /* [256] */
    uint32_t size;
    int8_t shift;
} tk_lookup_grad;
void tk_lookup_grad_s16(const tk_lookup_grad *lookup, const int16_t *gradient, const int8_t *x,
                        int16_t *result, tk_trainer *trainer);

/* result = sum of gradient * (constant + scale_a * (a - zero_point_a) + scale_b * (b - …)).  The
 * first five axes are the result's, the others those that are summed over, ones in front of each;
 * for each the distance of neighbours, 0 where a tensor repeats.  Products are below 2^40. */
typedef struct {
    const uint32_t *size;     /* [10] */
    const uint32_t *stride;   /* [10], of the gradient */
    const uint32_t *stride_a; /* [10] */
    const uint32_t *stride_b; /* [10] */
    int32_t constant, scale_a, scale_b;
    int16_t zero_point_a, zero_point_b;
    int8_t shift;
    uint8_t factors;   /* 0: neither a nor b is read; 1: a; 2: both */
    uint8_t condition; /* the factor is 0 unless: 1: a < b, 2: a <= b, 3: a > b, 4: a >= b */
} tk_linear_grad;
void tk_linear_grad_s16(const tk_linear_grad *op, const int16_t *gradient, const int8_t *a,
                        const int8_t *b, int16_t *result, tk_trainer *trainer);

/* SOFTMAX backward, row by row: p * (gradient - sum of gradient * p) * beta, with p = q / sum of q
 * for q = y + 128; beta = multiplier * 2^-15. */
typedef struct {
    uint32_t rows;
    int32_t multiplier;
    uint16_t depth;
    int8_t shift;
} tk_softmax_grad;
void tk_softmax_grad_s16(const tk_softmax_grad *op, const int16_t *gradient, const int8_t *y,
                         int16_t *result, tk_trainer *trainer);

/* LOG_SOFTMAX backward, row by row: gradient - p * sum of gradients, with p = q / sum of q for q
 * from a table of exp(y) in Q0.24. */
typedef struct {
    const int32_t *table; /* [256] */
    uint32_t rows;
    uint16_t depth;
    int8_t shift;
} tk_log_softmax_grad;
void tk_log_softmax_grad_s16(const tk_log_softmax_grad *op, const int16_t *gradient,
                             const int8_t *y, int16_t *result, tk_trainer *trainer);

/* The part inside the padding; height, width, channels are those of the padded tensor. */
typedef struct {
    uint16_t height, width, channels;
    uint16_t top, bottom, left, right, front, back;
} tk_pad_grad;
void tk_pad_grad_s16(const tk_pad_grad *pad, const int16_t *gradient, int16_t *result);

/* GATHER backward, [outer, count, inner] to [outer, size, inner]: slice j is the sum of the slices
 * reader[end[j - 1]] … reader[end[j] - 1], shifted right. */
typedef struct {
    const uint16_t *reader; /* [count] */
    const uint16_t *end;    /* [size] */
    uint32_t outer, size, count, inner;
    int8_t shift;
} tk_gather_grad;
void tk_gather_grad_s16(const tk_gather_grad *gather, const int16_t *gradient, int16_t *result,
                        tk_trainer *trainer);

/* BATCH_MATMUL backward: sums as in tk_batch_matmul of the gradient and the other factor, times
 * multiplier, shifted right. */
typedef struct {
    const uint32_t *size;     /* [5] */
    const uint32_t *stride_a; /* [5] */
    const uint32_t *stride_b; /* [5] */
    int16_t zero_point, multiplier;
    int8_t shift;
} tk_batch_matmul_grad;
void tk_batch_matmul_grad_s16(const tk_batch_matmul_grad *op, const int16_t *gradient,
                              const int8_t *other, int16_t *result, tk_trainer *trainer);

/* RESIZE_BILINEAR backward: sums over output pixels of gradient * their shares, shifted right. */
typedef struct {
    const tk_resize_bilinear *forward;
    int8_t shift;
} tk_resize_bilinear_grad;
void tk_resize_bilinear_grad_s16(const tk_resize_bilinear_grad *op, const int16_t *gradient,
                                 int16_t *result, tk_trainer *trainer);

/* SVDF backward, to the features of this run: gradient of a filter's output * its newest time
 * weight * multiplier, shifted right. */
typedef struct {
    const int16_t *time; /* [F][M] */
    int16_t multiplier;
    uint16_t filters, memory, rank;
    int8_t shift;
} tk_svdf_grad;
void tk_svdf_grad_s16(const tk_svdf_grad *op, const int16_t *gradient, int16_t *result,
                      tk_trainer *trainer);

/* LSTM backward through the steps of one run, to what goes into the four gates: [4][steps][U].
 * Inside, gradients are int32 with TK_LSTM_BITS bits more than the result's; the incoming gradient
 * is shifted right by gradient_shift to them; sums over recurrent weights are multiplied by
 * `scale`, of each gate, and shifted right by recurrent_shift. scratch: (10 * steps + 8) * U bytes.
 */
#define TK_LSTM_BITS 8
typedef struct {
    const tk_lstm *forward;
    const int16_t *scale; /* [4] */
    int8_t gradient_shift, recurrent_shift;
    int8_t cell_shift; /* the cell state's scale is 2^-cell_shift */
} tk_lstm_grad;
void tk_lstm_grad_s16(const tk_lstm_grad *op, const int16_t *gradient, const int8_t *x,
                      const int8_t *y, const int8_t *hidden, const int16_t *cell, int16_t *result,
                      int32_t *scratch, tk_trainer *trainer);

/* From there to the input: the sum over gates and units of gradient * weight * scale of the gate,
 * shifted right. */
typedef struct {
    const int8_t *input, *forget, *cell, *output; /* weights of the gates, as in tk_lstm_gate */
    const int16_t *scale;                         /* [4] */
    uint16_t steps, inputs, units;
    int8_t shift;
} tk_lstm_input_grad;
void tk_lstm_input_grad_s16(const tk_lstm_input_grad *op, const int16_t *gradient, int16_t *result,
                            tk_trainer *trainer);

/* Convolutions backward.  Each output channel's gradient is multiplied by its weight scale,
 * m / 2^15 with m = round(scale * M), M as in tk_update, and shifted right by scale_shift, into
 * scratch: 2 * O * (1 + ring * OW) bytes, where `ring` rows of outputs see one row of inputs; for
 * one tap with stride 1 four pixels are taken at once (one, if there are less): 2 * O + 8 (or 2) *
 * up2(O) bytes. */
typedef struct {
    const tk_window *window;
    const int8_t *weights;
    const int8_t *weights_rest;
    const int32_t *multiplier;
    const int8_t *multiplier_shift;
    float scale;
    uint16_t input_channels, split, output_channels;
    uint16_t ring;
    int8_t scale_shift, shift;
    uint8_t per_channel;
    uint8_t narrow; /* the sums fit an int32, and 0 <= shift <= 31 */
} tk_conv2d_input_grad;
void tk_conv2d_input_grad_s16(const tk_conv2d_input_grad *conv, const int16_t *gradient,
                              int16_t *result, int16_t *scratch, tk_trainer *trainer);

typedef struct {
    const tk_window *window;
    const tk_update *update;
    uint16_t input_channels, split, output_channels;
    int16_t input_zero_point;
    uint8_t fold_shift;
    uint8_t planes; /* 1: kernel and stride 1, 2 … 256 outputs in their inputs' places, and scratch
                     * of 8 * (K / 4) * (OH * OW / 2 * 2) bytes; 0: no scratch */
} tk_conv2d_update;
void tk_conv2d_update_s16(const tk_conv2d_update *conv, const int16_t *gradient, const int8_t *x,
                          int16_t *scratch, tk_trainer *trainer);
void tk_conv2d_update_state_s16(const tk_conv2d_update *conv, const int16_t *gradient,
                                const int8_t *x, int16_t *scratch, tk_trainer *trainer);

/* m multiplies the finished sum.  The result may lie exactly on the gradient where both have one
 * shape.  scratch, in bytes: 2 * up2(O), and 8 * KH * KW + 4 * O, with 8 * OH * OW more where the
 * shapes are one; or, with planes, what gradient_planes.h needs, if that is more. */
typedef struct {
    const tk_window *window;
    const int8_t *weights;
    const int8_t *weights_rest;
    const int32_t *multiplier;
    const int8_t *multiplier_shift;
    float scale;
    uint16_t channels, depth_multiplier, split;
    int8_t shift;
    uint8_t per_channel;
    uint8_t planes; /* 1: one output channel an input channel, undilated, KW in 2 … 7, shift in
                     * 1 … 32, and sums fit an int32 after a shift to the left by 16 - shift */
} tk_depthwise_input_grad;
void tk_depthwise_input_grad_s16(const tk_depthwise_input_grad *conv, const int16_t *gradient,
                                 int16_t *result, int16_t *scratch, tk_trainer *trainer);

typedef struct {
    const tk_window *window;
    const tk_update *update;
    uint16_t channels, depth_multiplier, split;
    int16_t input_zero_point;
    uint8_t fold_shift;
} tk_depthwise_update;
void tk_depthwise_update_s16(const tk_depthwise_update *conv, const int16_t *gradient,
                             const int8_t *x, tk_trainer *trainer);
void tk_depthwise_update_state_s16(const tk_depthwise_update *conv, const int16_t *gradient,
                                   const int8_t *x, tk_trainer *trainer);

/* Gradients of int8 and float32 (gradients_plain.h).  A layer, of which each kernel reads its part.
 * scale: for M as in tk_conv2d_input_grad; float32: the weight scale by M.  shift: of sums to the
 * right, to gradients or accumulators; float32: accumulators are sums * 2^shift. */
typedef struct {
    const tk_window *window;
    const int8_t *weights;
    const int8_t *weights_rest;
    const int32_t *multiplier;
    const int8_t *multiplier_shift;
    const tk_update *update;
    float scale;
    uint16_t input_channels, split, output_channels;
    uint16_t depth_multiplier; /* 0: not a depthwise layer */
    int16_t input_zero_point;
    int8_t shift;
    uint8_t per_channel;
} tk_plain_layer;
/* factors: int16 or float for each output channel. */
void tk_plain_input_grad_s8(const tk_plain_layer *layer, const int8_t *gradient, int8_t *result,
                            int16_t *factors, tk_trainer *trainer);
void tk_plain_input_grad_f32(const tk_plain_layer *layer, const float *gradient, float *result,
                             float *factors, tk_trainer *trainer);
void tk_plain_weight_update_s8(const tk_plain_layer *layer, const int8_t *gradient, const int8_t *x,
                               tk_trainer *trainer);
void tk_plain_weight_update_f32(const tk_plain_layer *layer, const float *gradient, const int8_t *x,
                                tk_trainer *trainer);
void tk_plain_bias_update_s8(const tk_plain_layer *layer, const int8_t *gradient,
                             tk_trainer *trainer);
void tk_plain_bias_update_f32(const tk_plain_layer *layer, const float *gradient,
                              tk_trainer *trainer);
void tk_plain_activation_grad_s8(const tk_activation_limits *limits, const int8_t *gradient,
                                 const int8_t *y, int8_t *result);
void tk_plain_activation_grad_f32(const tk_activation_limits *limits, const float *gradient,
                                  const int8_t *y, float *result);
void tk_plain_activation_grad_bits_s8(const tk_activation_limits *limits, const int8_t *gradient,
                                      const uint8_t *bits, int8_t *result);
void tk_plain_activation_grad_bits_f32(const tk_activation_limits *limits, const float *gradient,
                                       const uint8_t *bits, float *result);
void tk_plain_average_grad_s8(const tk_pool_grad *pool, const int8_t *gradient, int8_t *result,
                              tk_trainer *trainer);
void tk_plain_average_grad_f32(const tk_pool_grad *pool, const float *gradient, float *result,
                               tk_trainer *trainer);
void tk_plain_add_s8(const tk_gradient_add *add, const int8_t *a, const int8_t *b, int8_t *result,
                     tk_trainer *trainer);
void tk_plain_add_f32(const tk_gradient_add *add, const float *a, const float *b, float *result);

/* int16 gradients to int8, shifted right, or to float32, times 2^-shift. */
typedef struct {
    uint32_t size;
    int8_t shift;
} tk_plain_convert;
void tk_plain_convert_s8(const tk_plain_convert *op, const int16_t *gradient, int8_t *result,
                         tk_trainer *trainer);
void tk_plain_convert_f32(const tk_plain_convert *op, const int16_t *gradient, float *result);

typedef struct {
    const tk_update *update;
    uint32_t pixels;
    uint16_t channels;
} tk_bias_update;
void tk_bias_update_s16(const tk_bias_update *bias, const int16_t *gradient, tk_trainer *trainer);
void tk_bias_update_state_s16(const tk_bias_update *bias, const int16_t *gradient,
                              tk_trainer *trainer);

#ifdef __cplusplus
}
#endif

#endif
