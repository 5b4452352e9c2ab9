/* DEPTHWISE_CONV_2D, int8. */
#include "depthwise_mve.h"
#include "depthwise_plain.h"
#include "planes.h"

/* Rows [first, last) of the output, from a ring of input rows. */
typedef struct {
    const int8_t *input;
    int8_t *output; /* of row `first` */
    int32_t ring, first, last;
} rows;

static tk_view view_of(const tk_depthwise_conv2d *conv, const rows *r, int32_t oy) {
    tk_view view;
    tk_view_row(&view, conv->window, r->ring, conv->input_channels, oy);
    return view;
}

#if TK_DSP
/* What tiles of a layer have in common, and scratch for their planes and weights. */
typedef struct {
    tk_tile tile;
    int16_t *planes;
    uint32_t *words;
    int32_t most; /* outputs of a tile */
} tiles;

static tiles tiles_of(const tk_depthwise_conv2d *conv, int16_t *scratch) {
    const tk_window *w = conv->window;
    uint32_t *words = (uint32_t *)(void *)scratch + w->kernel_height * TK_PLANE * 2;
    const tk_tile tile = {
        .planes = scratch,
        .words = words,
        .step = conv->per_channel ? 4 : 0,
        .twice_zero = 2 * conv->output_zero_point + 1,
        .channels = conv->output_channels,
        .wide = conv->sums != TK_SUMS_NARROW,
        .plane_bytes = w->kernel_height * TK_PLANE * 2,
        .words_row = w->kernel_width / 2 + 1,
        .words_bytes =
            w->kernel_height * (w->kernel_width / 2 + 1) * (w->stride_width == 2 ? 4 : 8),
    };
    return (tiles){tile, scratch, words, tk_plane_outputs(w->kernel_width, w->stride_width)};
}

/* Outputs [ox, ox + count) of channels o … o + 3. */
static void place_tile(const tk_depthwise_conv2d *conv, tk_tile *tile, int32_t o, int32_t ox,
                       int32_t count, int8_t *row) {
    const int32_t c = conv->per_channel ? o : 0;
    /* With stride 1 weights lie as pairs take them: the last of an odd number is half a pair. */
    tile->pairs = conv->window->stride_width == 1 ? (count + 1) / 2 : 0;
    tile->singles = count - 2 * tile->pairs;
    tile->bias = conv->bias + o;
    tile->multiplier = conv->multiplier + c;
    tile->shift = conv->shift + c;
    tile->output = row + ox * conv->output_channels + o;
}

/* Rows that fit one tile: channels outside, rows inside, weights taken apart once. */
static void rows_of_one_tile(const tk_depthwise_conv2d *conv, const block *b, const rows *r,
                             tiles *t) {
    const tk_window *w = conv->window;
    const int32_t width = w->output_width;
    const tk_under under = tk_planes_clear(t->planes, w, conv->input_channels, r->input, 0, width,
                                           conv->input_zero_point);
    const int32_t last = b->first + b->count - 4;
    for (int32_t next = b->first; next < last + 4; next += 4) {
        const int32_t o = tk_min(next, last);
        int8_t *output = r->output;
        tk_planes_words(b->weights + o - b->first, b->count, w, w->stride_width != 2, t->words);
        for (int32_t oy = r->first; oy < r->last; oy++) {
            const tk_view view = view_of(conv, r, oy);
            tk_planes_zero_outside(t->planes, under.size, w->kernel_height, &view);
            tk_planes_fill(t->planes, &view, &under, o);
            place_tile(conv, &t->tile, o, 0, width, output);
            tk_planes_tile(&t->tile, w);
            output += width * conv->output_channels;
        }
    }
}

/* One row of several tiles. */
static void row_of_tiles(const tk_depthwise_conv2d *conv, const block *b, const int8_t *input,
                         const tk_view *view, int8_t *output, tiles *t) {
    const tk_window *w = conv->window;
    const int32_t last = b->first + b->count - 4;
    for (int32_t ox = 0; ox < w->output_width; ox += t->most) {
        const int32_t count = tk_min(t->most, w->output_width - ox);
        const tk_under under = tk_planes_clear(t->planes, w, conv->input_channels, input, ox, count,
                                               conv->input_zero_point);
        for (int32_t next = b->first; next < last + 4; next += 4) {
            const int32_t o = tk_min(next, last);
            tk_planes_words(b->weights + o - b->first, b->count, w, w->stride_width != 2, t->words);
            tk_planes_fill(t->planes, view, &under, o);
            place_tile(conv, &t->tile, o, ox, count, output);
            tk_planes_tile(&t->tile, w);
        }
    }
}

/* The channels of a block, in fours that may overlap, if planes serve; returns the first left. */
static int32_t block_planes(const tk_depthwise_conv2d *conv, const block *b, const rows *r,
                            int16_t *scratch) {
    const tk_window *w = conv->window;
    if (conv->sums == TK_SUMS_ANY || conv->input_channels != conv->output_channels ||
        b->count < 4 || !tk_planes_serve(w)) {
        return b->first;
    }
    tiles t = tiles_of(conv, scratch);
    if (w->output_width <= t.most) {
        rows_of_one_tile(conv, b, r, &t);
    } else {
        int8_t *output = r->output;
        for (int32_t oy = r->first; oy < r->last; oy++) {
            const tk_view view = view_of(conv, r, oy);
            row_of_tiles(conv, b, r->input, &view, output, &t);
            output += w->output_width * conv->output_channels;
        }
    }
    return b->first + b->count;
}
#else
static int32_t block_planes(const tk_depthwise_conv2d *conv, const block *b, const rows *r,
                            int16_t *scratch) {
    (void)conv, (void)r, (void)scratch;
    return b->first;
}
#endif

static void depthwise(const tk_depthwise_conv2d *conv, const rows *r, int16_t *scratch) {
#if TK_MVE
    if (tk_mve_depthwise(conv, r->input, r->ring, r->first, r->last, r->output,
                         (int8_t *)scratch)) {
        return;
    }
#endif
    const block blocks[2] = {
        {conv->weights, 0, conv->split},
        {conv->weights_rest, conv->split, conv->output_channels - conv->split},
    };
    const int32_t bytes = conv->window->output_width * conv->output_channels;
    for (int32_t i = 0; i < 2 && blocks[i].count > 0; i++) {
        const block *b = &blocks[i];
        const int32_t left = block_planes(conv, b, r, scratch);
        int8_t *output = r->output;
        for (int32_t oy = r->first; oy < r->last && left < b->first + b->count; oy++) {
            tk_view view = view_of(conv, r, oy);
            tk_depthwise_row_plain(conv, b, r->input, &view, left, output);
            output += bytes;
        }
    }
#if TK_DSP
    tk_clamp_outputs(r->output, (r->last - r->first) * bytes, conv->activation_min,
                     conv->activation_max);
#endif
}

void tk_depthwise_conv2d_row_s8(const tk_depthwise_conv2d *conv, const int8_t *input, int32_t ring,
                                int32_t oy, int8_t *output, int16_t *scratch) {
    const rows r = {input, output, ring, oy, oy + 1};
    depthwise(conv, &r, scratch);
}

void tk_depthwise_conv2d_s8(const tk_depthwise_conv2d *conv, const int8_t *input, int8_t *output,
                            int16_t *scratch) {
    const tk_window *w = conv->window;
    const rows r = {input, output, w->input_height, 0, w->output_height};
    depthwise(conv, &r, scratch);
}
