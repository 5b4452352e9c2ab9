/* Kernels of classical models: trees, nearest neighbours, support vectors, Gaussians.
 * F = features of the input, C = outputs.  Python reads the structs of this file, too. */
#ifndef TINYKIT_CLASSICAL_H
#define TINYKIT_CLASSICAL_H

#include "tinykit/tinykit.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Scores to int8 outputs.  Where there are several, the best scores' code is above all others', so
 * that the largest output belongs to the best score, however close the second is. */
typedef struct {
    int32_t multiplier;
    uint16_t count;
    int16_t zero_point;
    int8_t shift;
} tk_scores;

/* Decision trees, added up.  A node is a word; a tree's root comes first, a node's left child
 * directly behind it:
 *   bits 0-13   distance to the right child, or 0: a leaf, its value (signed) in bits 14-31
 *   bits 14-21  threshold + 128: to the left if feature <= threshold
 *   bits 22-31  feature
 * A leaf's value is a row of `values`; without those it is added to output tree % C. */
typedef struct {
    const int32_t *nodes;
    const int32_t *roots;  /* [trees] */
    const int16_t *values; /* [rows][C] or NULL */
    const int32_t *start;  /* [C]: the sums before the first tree */
    const tk_scores *scores;
    uint16_t trees;
} tk_tree_ensemble;

/* Votes of the `neighbours` nearest of some rows, by squared distance; the first of equals. */
typedef struct {
    const int8_t *rows;    /* [count][F] */
    const uint8_t *labels; /* [count], below C */
    const tk_scores *scores;
    uint32_t count;
    uint16_t features, neighbours;
} tk_nearest;

/* Sums of weights[v][column] * 2^(-distance * rate / 256), each into output[group][column].
 * Vectors lie group by group; for one-versus-one machines a group is a class. */
typedef struct {
    const int8_t *vectors;           /* [all][F] */
    const int16_t *weights;          /* [all][columns] */
    const uint16_t *members;         /* [groups] */
    const uint8_t *output;           /* [groups][columns], below C */
    const uint16_t *power;           /* [256]: 2^15 * 2^(-i / 256) */
    const int32_t *start;            /* [C] */
    int32_t multiplier, rate, limit; /* limit: squared distances from which on nothing is added */
    uint16_t features, groups, columns, outputs;
    int16_t zero_point;
    int8_t shift, rate_shift;
    uint8_t down; /* bits by which products are shifted before they are added */
} tk_radial;

/* One-versus-one decisions to votes: i against j, i < j, above the zero point is a vote for i. */
typedef struct {
    uint16_t classes;
    int16_t zero_point;
} tk_votes;

/* Log-densities of Gaussians.  Row i of component c makes a deviation from its weights for the
 * features 0 … i (only i unless `full`): (bias + sum) >> shift in 1/256 of a standard deviation. */
typedef struct {
    const int16_t *weights; /* [C][F], or if full [C][F * (F + 1) / 2] */
    const int32_t *bias;    /* [C][F] */
    const int8_t *shift;    /* [C][F]; negative: to the left */
    const int32_t *start;   /* [C]: the log-density at the mean, in 2^-17 */
    const tk_scores *scores;
    uint16_t features;
    uint8_t full;
} tk_gaussians;

void tk_scores_s8(const tk_scores *op, const int32_t *scores, int8_t *output);
/* scratch: [C] words */
void tk_tree_ensemble_s8(const tk_tree_ensemble *op, const int8_t *x, int8_t *output,
                         int32_t *sums);
/* scratch: [2 * neighbours + C] words */
void tk_nearest_s8(const tk_nearest *op, const int8_t *x, int8_t *output, int32_t *scratch);
/* scratch: [C] words */
void tk_radial_s8(const tk_radial *op, const int8_t *x, int8_t *output, int32_t *sums);
void tk_votes_s8(const tk_votes *op, const int8_t *decisions, int8_t *output);
/* scratch: [3 * C] words */
void tk_gaussians_s8(const tk_gaussians *op, const int8_t *x, int8_t *output, int32_t *scratch);

#ifdef __cplusplus
}
#endif

#endif
