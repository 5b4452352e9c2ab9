/* Depthwise 3x3 convolutions by planes of packed words. */
#include "depthwise_packed.h"

#if TK_PACKED

#define SHORT 12 /* outputs of a row for which planes are not worth their while */

/* Outputs from (y, x) on, in two halves of rows x columns; `lacking` rows or columns of the second
 * half do not exist. */
typedef struct {
    int32_t y, x, rows, columns;
    int32_t below; /* the second half lies below the first one; 0: beside it */
    int32_t lacking;
} area;

/* Neighbouring columns of a plane that lie inside the input for one half or for both. */
typedef struct {
    int32_t at, n;
    int32_t in_a, in_b; /* the first half, the second */
} part;

/* What changes neither with the channel nor within an area. */
typedef struct {
    const tk_depthwise_conv2d *conv;
    const int8_t *input;
    int32_t ring;
    int32_t *plane;
    int32_t height, width;          /* of the plane */
    int32_t y, x, y_after, x_after; /* input positions of both halves' planes */
    part parts[3];
    int32_t count; /* of parts */
} source;

/* Cuts a plane's columns where one half's come into the input or leave it. */
static void find_parts(source *s) {
    const int32_t width = s->conv->window->input_width;
    s->count = 0;
    for (int32_t at = 0; at < s->width;) {
        const int32_t x[2] = {s->x + at, s->x_after + at};
        int32_t n = s->width - at, in[2];
        for (int32_t i = 0; i < 2; i++) {
            in[i] = x[i] >= 0 && x[i] < width;
            if (x[i] < width) {
                n = tk_min(n, x[i] < 0 ? -x[i] : width - x[i]);
            }
        }
        if (in[0] || in[1]) {
            s->parts[s->count++] = (part){at, n, in[0], in[1]};
        }
        at += n;
    }
}

/* n words of columns that lie inside the input for both halves (a, b), or for one. */
static inline void copy(int32_t *to, const int8_t *a, const int8_t *b, int32_t n, int32_t step,
                        int32_t padding) {
    int32_t *const end = to + n;
    if (a != NULL && b != NULL) {
        const int32_t apart = (int32_t)(b - a);
        do {
            *to++ = tk_two_pixels(a[0], a[apart]);
            a += step;
        } while (to != end);
    } else if (a != NULL) {
        for (; to != end; a += step) {
            *to++ = tk_two_pixels(*a, padding);
        }
    } else if (b != NULL) {
        for (; to != end; b += step) {
            *to++ = tk_two_pixels(padding, *b);
        }
    }
}

/* Walks down the input rows of a half of a plane. */
typedef struct {
    int32_t y;
    tk_row_walk rows; /* from the first row that exists */
} half_walk;

static half_walk walk_half(const source *s, int32_t y) {
    const tk_window *w = s->conv->window;
    return (half_walk){
        y, tk_walk_rows(tk_max(y, 0), s->ring, 1, w->input_width * s->conv->input_channels)};
}

/* The next row, or NULL. */
static inline const int8_t *next_row(half_walk *walk, const int8_t *input, int32_t height) {
    const int32_t y = walk->y++;
    if (y < 0 || y >= height) {
        return NULL;
    }
    const int8_t *row = input + walk->rows.offset;
    tk_next_row(&walk->rows);
    return row;
}

/* Fills the plane of a channel, except for words that lie in the padding for both halves. */
static void fill(const source *s, int32_t channel) {
    const int32_t channels = s->conv->input_channels, padding = s->conv->input_zero_point;
    const int32_t height = s->conv->window->input_height;
    half_walk walk_a = walk_half(s, s->y), walk_b = walk_half(s, s->y_after);
    const int8_t *input = s->input + channel;
    const int32_t apart = (s->x_after - s->x) * channels;
    int32_t *to = s->plane;
    for (int32_t i = 0; i < s->height; i++, to += s->width) {
        const int8_t *row_a = next_row(&walk_a, input, height);
        const int8_t *row_b = next_row(&walk_b, input, height);
        for (int32_t k = 0; k < s->count; k++) {
            const part *p = &s->parts[k];
            const int32_t column = (s->x + p->at) * channels;
            copy(to + p->at, p->in_a && row_a != NULL ? row_a + column : NULL,
                 p->in_b && row_b != NULL ? row_b + column + apart : NULL, p->n, channels, padding);
        }
    }
}

int32_t tk_packed_output(const tk_packed_tile *tile, int32_t acc) {
    const tk_output_range range = tk_range_of(INT8_MIN, INT8_MAX, tile->twice_zero >> 1);
    return tk_requantize(acc, tile->multiplier, -tile->shift - 1, &range);
}

/* What tk_packed_3x3 does, for any weights. */
static void plain_3x3(const tk_packed_tile *tile) {
    const int32_t words = tile->row / 4;
    for (int32_t y = 0; y < tile->rows; y++) {
        int8_t *to = tile->output + y * (tile->columns * tile->channels + tile->next);
        const int32_t *row = tile->plane + y * (tile->columns * tile->step + tile->next_row) / 4;
        for (int32_t x = 0; x < tile->columns; x++, to += tile->channels) {
            uint32_t a = (uint32_t)tile->start, b = (uint32_t)tile->start;
            for (int32_t i = 0; i < 9; i++) {
                const int32_t word = row[x * tile->step / 4 + i / 3 * words + i % 3];
                const int32_t low = (int16_t)(word & 0xFFFF);
                a += (uint32_t)(low * tile->weights[i]);
                b += (uint32_t)((word - low) / 65536 * tile->weights[i]);
            }
            to[tile->apart] = (int8_t)tk_packed_output(tile, (int32_t)b);
            *to = (int8_t)tk_packed_output(tile, (int32_t)a);
        }
    }
}

#if !defined(__thumb__)
void tk_packed_3x3(const tk_packed_tile *tile) {
    plain_3x3(tile);
}
#endif

/* The outputs of `rows` x `columns` windows in both halves. */
static void windows(tk_packed_tile *tile, int32_t rows, int32_t columns, int32_t pairs_fit) {
    const int32_t strided = tile->next_row + tile->columns * tile->step;
    const int32_t output = tile->next + tile->columns * tile->channels;
    if (rows > 0 && columns > 0) {
        tile->rows = rows;
        tile->columns = columns;
        tile->next_row = strided - columns * tile->step;
        tile->next = output - columns * tile->channels;
        if (pairs_fit) {
            tk_packed_3x3(tile);
        } else {
            plain_3x3(tile);
        }
    }
}

static int32_t magnitude(int32_t x) {
    return x < 0 ? -x : x;
}

/* Channel o of an area, whose plane is filled; weights: `count` bytes from tap to tap. */
static void channel(const source *s, const area *tiled, int32_t o, const int8_t *weights,
                    int32_t count, int8_t *output) {
    const tk_depthwise_conv2d *conv = s->conv;
    const tk_window *w = conv->window;
    const int32_t channels = conv->output_channels, at = conv->per_channel ? o : 0;
    int32_t words[9];
    int32_t sum = 0, together = 1, pairs_fit = 1;
    for (int32_t i = 0; i < 9; i += 3, weights += 3 * count) {
        const int32_t w0 = weights[0], w1 = weights[count], w2 = weights[2 * count];
        words[i] = w0;
        words[i + 1] = w1;
        words[i + 2] = w2;
        sum += w0 + w1 + w2;
        const int32_t two = magnitude(w0) + magnitude(w1);
        pairs_fit &= two <= 255;
        together &= two + magnitude(w2) <= 255;
    }
    const int32_t row = w->output_width * channels;
    const int32_t row_bytes = s->width * 4, step = w->stride_width * 4;
    tk_packed_tile tile = {
        .plane = s->plane,
        .weights = words,
        .output = output + o,
        .apart = tiled->below ? tiled->rows * row : tiled->columns * channels,
        .start = (int32_t)((uint32_t)conv->bias[o] - (uint32_t)(sum * conv->input_zero_point)),
        .multiplier = conv->multiplier[at],
        .shift = -conv->shift[at] - 1,
        .twice_zero = 2 * conv->output_zero_point + 1,
        .channels = channels,
        .columns = 0,
        .row = row_bytes,
        .step = step,
        .next_row = row_bytes * w->stride_height,
        .next = row,
        .together = together,
        .wide = conv->sums != TK_SUMS_NARROW,
    };
    const int32_t rows = tiled->rows - (tiled->below ? tiled->lacking : 0);
    const int32_t columns = tiled->columns - (tiled->below ? 0 : tiled->lacking);
    windows(&tile, rows, columns, pairs_fit);
    if (tiled->lacking > 0) { /* the second half's outputs are overwritten by the first's */
        tile.apart = 0;
        tile.output += tiled->below ? rows * row : columns * channels;
        tile.plane += tiled->below ? rows * s->width * w->stride_height : columns * w->stride_width;
        windows(&tile, tiled->rows - (tiled->below ? rows : 0),
                tiled->columns - (tiled->below ? 0 : columns), pairs_fit);
    }
}

/* All channels of an area; output: of its first pixel. */
static void area_outputs(source *s, const area *tiled, int8_t *output) {
    const tk_depthwise_conv2d *conv = s->conv;
    const tk_window *w = conv->window;
    s->height = (tiled->rows - 1) * w->stride_height + 3;
    s->width = (tiled->columns - 1) * w->stride_width + 3;
    s->y = tiled->y * w->stride_height - w->pad_top;
    s->x = tiled->x * w->stride_width - w->pad_left;
    s->y_after = s->y + (tiled->below ? tiled->rows * w->stride_height : 0);
    s->x_after = s->x + (tiled->below ? 0 : tiled->columns * w->stride_width);
    find_parts(s);
    const int32_t padding = conv->input_zero_point;
    for (int32_t i = 0; i < s->height * s->width; i++) {
        s->plane[i] = tk_two_pixels(padding, padding);
    }
    for (int32_t o = 0; o < conv->output_channels; o++) {
        fill(s, o);
        if (o < conv->split) {
            channel(s, tiled, o, conv->weights + o, conv->split, output);
        } else {
            channel(s, tiled, o, conv->weights_rest + o - conv->split,
                    conv->output_channels - conv->split, output);
        }
    }
}

/* How many rows each half of an area has whose planes are so many columns wide. */
static int32_t rows_of_half(int32_t plane_width, int32_t stride) {
    const int32_t height = TK_PLANE_AREA / plane_width;
    return height < 3 ? 0 : (height - 3) / stride + 1;
}

/* The size of the areas of `rows` rows of outputs: the fewest words to fill, counting 24 for each
 * area on its own. */
static area best_area(const tk_window *w, int32_t rows) {
    area best = {0, 0, 1, 0, 0, 0};
    int32_t least = INT32_MAX;
    const int32_t width = w->output_width;
    for (int32_t across = 1; rows > 1 && across <= (width + 3) / 4; across++) {
        const int32_t columns = (width + across - 1) / across;
        const int32_t plane_width = (columns - 1) * w->stride_width + 3;
        const int32_t half = tk_min(rows_of_half(plane_width, w->stride_height), (rows + 1) / 2);
        if (half > 0) {
            const int32_t down = (rows + 2 * half - 1) / (2 * half);
            const int32_t words = plane_width * ((half - 1) * w->stride_height + 3);
            if (across * down * (words + 24) < least) {
                least = across * down * (words + 24);
                best = (area){0, 0, half, columns, 1, 0};
            }
        }
    }
    if (!best.below) {
        const int32_t most = (TK_PLANE_WIDTH - 3) / w->stride_width + 1;
        best.columns = tk_min(most, (width + 1) / 2);
    }
    return best;
}

/* Channel o of a short row of stride 1, column by column: each input meets three windows while it
 * is at hand.  rows: what the windows see of the channel; those outside are any, with `outside`. */
static void short_channel(const tk_depthwise_conv2d *conv, const int8_t *const rows[3],
                          const uint8_t outside[3], const int8_t *weights, int32_t count, int32_t o,
                          const tk_output_range *range, int8_t *output) {
    const tk_window *w = conv->window;
    const int32_t channels = conv->input_channels, zero_point = conv->input_zero_point;
    const int32_t at = conv->per_channel ? o : 0;
    int32_t taps[3][3];
    int32_t sum = 0;
    for (int32_t ky = 0; ky < 3; ky++, weights += 3 * count) {
        for (int32_t kx = 0; kx < 3; kx++) {
            taps[ky][kx] = outside[ky] ? 0 : weights[kx * count];
            sum += taps[ky][kx];
        }
    }
    const uint32_t start = (uint32_t)conv->bias[o] - (uint32_t)(sum * zero_point);
    const int32_t multiplier = conv->multiplier[at], shift = conv->shift[at];
    const int8_t *x0 = rows[0] + o, *x1 = rows[1] + o, *x2 = rows[2] + o;
    uint32_t one = 0, two = 0; /* sums over the first column of a window, and over the first two */
    for (int32_t x = -(int32_t)w->pad_left, left = w->output_width + 2; left > 0; x++, left--) {
        int32_t a = zero_point, b = zero_point, c = zero_point;
        if (x >= 0 && x < w->input_width) {
            a = *x0;
            b = *x1;
            c = *x2;
            x0 += channels;
            x1 += channels;
            x2 += channels;
        }
        if (left <= w->output_width) {
            const int32_t last = a * taps[0][2] + b * taps[1][2] + c * taps[2][2];
            *output =
                (int8_t)tk_requantize((int32_t)(two + (uint32_t)last), multiplier, shift, range);
            output += channels;
        }
        two = one + (uint32_t)(a * taps[0][1] + b * taps[1][1] + c * taps[2][1]);
        one = start + (uint32_t)(a * taps[0][0] + b * taps[1][0] + c * taps[2][0]);
    }
}

static void short_row(const tk_depthwise_conv2d *conv, const int8_t *input, int32_t ring,
                      int32_t oy, int8_t *output) {
    const tk_window *w = conv->window;
    const tk_output_range range =
        tk_range_of(conv->activation_min, conv->activation_max, conv->output_zero_point);
    const int32_t y = oy * w->stride_height - w->pad_top;
    const int8_t *rows[3];
    uint8_t outside[3];
    for (int32_t ky = 0; ky < 3; ky++) {
        outside[ky] = y + ky < 0 || y + ky >= w->input_height;
        rows[ky] =
            input + (outside[ky] ? 0 : (y + ky) % ring * w->input_width * conv->input_channels);
    }
    const int32_t split = conv->split, rest = conv->output_channels - split;
    for (int32_t o = 0; o < conv->output_channels; o++) {
        if (o < split) {
            short_channel(conv, rows, outside, conv->weights + o, split, o, &range, output + o);
        } else {
            short_channel(conv, rows, outside, conv->weights_rest + o - split, rest, o, &range,
                          output + o);
        }
    }
}

void tk_packed_depthwise(const tk_depthwise_conv2d *conv, const int8_t *input, int32_t ring,
                         int32_t oy, int32_t rows, int8_t *output, int32_t *plane) {
    const int32_t width = conv->window->output_width, channels = conv->output_channels;
    if (rows == 1 && conv->window->stride_width == 1 && width <= SHORT) {
        short_row(conv, input, ring, oy, output);
        return;
    }
    const area best = best_area(conv->window, rows);
    source s = {.conv = conv, .input = input, .ring = ring, .plane = plane};
    for (int32_t y = 0; y < rows; y += best.below ? 2 * best.rows : 1) {
        area now = best;
        now.y = oy + y;
        if (best.below) {
            now.rows = tk_min(best.rows, (rows - y + 1) / 2);
            now.lacking = tk_max(0, y + 2 * now.rows - rows);
        }
        for (int32_t x = 0; x < width; x += best.below ? best.columns : 2 * best.columns) {
            now.x = x;
            if (best.below) {
                now.columns = tk_min(best.columns, width - x);
            } else {
                now.columns = tk_min(best.columns, (width - x + 1) / 2);
                now.lacking = tk_max(0, x + 2 * now.columns - width);
            }
            area_outputs(&s, &now, output + (y * width + x) * channels);
        }
    }
    const int32_t low = conv->activation_min, high = conv->activation_max;
    for (int32_t i = 0; i < rows * width * channels && (low > INT8_MIN || high < INT8_MAX); i++) {
        output[i] = (int8_t)tk_clamp(output[i], low, high);
    }
}

#endif
