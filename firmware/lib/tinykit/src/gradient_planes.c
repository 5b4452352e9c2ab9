#include "gradient_planes.h"

#include "planes.h"

#if TK_DSP

#define UNIT 16 /* SMMULR divides by 2^32: 2^UNIT of it comes from the multiplier at the least */

/* One row of the result in four channels.  Each is a sum over the rows of its planes that hold
 * gradients, not zeros between them.  gradient_planes_row.S knows the order of the members. */
typedef struct {
    const int16_t *planes; /* of the first channel, from the first such row on */
    const uint32_t *words; /* of this row's weights, [rows][4 channels][2 * words_row] */
    const int32_t *multiplier;
    int16_t *output;
    int32_t step;        /* bytes from one such row of a plane to the next */
    int32_t words_bytes; /* of all these rows */
    int32_t plane_bytes;
    int32_t channel_bytes; /* from pixel to pixel of the output */
    int32_t width, left;   /* pixels; and sums are shifted left before they are multiplied */
    int32_t words_row;     /* words of columns that two neighbours see in a row: 2, 3 or 4 */
} tk_gradient_row;

/* How gradients lie in planes: with stride - 1 zeros between them, and zeros around. */
typedef struct {
    int32_t height, width, size; /* of a plane */
    int32_t top, left;           /* where the first gradient would be; may lie outside */
    tk_range rows, columns;      /* of the gradients that are inside */
} layout;

/* The positions i for which 0 <= at + i * stride < size. */
static tk_range positions_inside(int32_t at, int32_t stride, int32_t count, int32_t size) {
    tk_range range = {0, count};
    while (range.first < count && at + range.first * stride < 0) {
        range.first++;
    }
    while (range.last > range.first && at + (range.last - 1) * stride >= size) {
        range.last--;
    }
    return range;
}

static layout layout_of(const tk_window *w) {
    layout plane = {
        .height = w->input_height + w->kernel_height - 1,
        .width = ((w->input_width + 1) & ~1) + w->kernel_width / 2 * 2,
        .top = w->kernel_height - 1 - w->pad_top,
        .left = w->kernel_width - 1 - w->pad_left,
    };
    plane.size = plane.height * plane.width;
    plane.rows = positions_inside(plane.top, w->stride_height, w->output_height, plane.height);
    plane.columns = positions_inside(plane.left, w->stride_width, w->output_width,
                                     w->input_width + w->kernel_width - 1);
    return plane;
}

/* Four channels' gradients into planes that hold zeros everywhere else. */
static void fill(int16_t *planes, const layout *plane, const tk_depthwise_input_grad *conv,
                 const int16_t *gradient) {
    const tk_window *w = conv->window;
    const int32_t channels = conv->channels, size = plane->size, stride = w->stride_width;
    for (int32_t oy = plane->rows.first; oy < plane->rows.last; oy++) {
        const int32_t ox = plane->columns.first;
        const int16_t *from = gradient + (oy * w->output_width + ox) * channels;
        int16_t *to = planes + (plane->top + oy * w->stride_height) * plane->width + plane->left +
                      ox * stride;
        for (int32_t n = plane->columns.last - ox; n > 0; n--, to += stride, from += channels) {
            const uint32_t u = tk_load(from), v = tk_load(from + 2);
            to[0] = (int16_t)u;
            to[size] = (int16_t)(u >> 16);
            to[2 * size] = (int16_t)v;
            to[3 * size] = (int16_t)(v >> 16);
        }
    }
}

/* The kernel of four channels turned by half a turn: first its rows 0, stride, 2 * stride …, then
 * rows 1, 1 + stride …; `step` bytes from tap to tap. */
static void turned_words(const int8_t *weights, int32_t step, const tk_window *w, uint32_t *words) {
    tk_window row = *w;
    row.kernel_height = 1;
    for (int32_t first = 0; first < w->stride_height; first++) {
        for (int32_t ky = w->kernel_height - 1 - first; ky >= 0; ky -= w->stride_height) {
            const int8_t *last_tap = weights + ((ky + 1) * w->kernel_width - 1) * step;
            tk_planes_words(last_tap, -step, &row, 1, words);
            words += 8 * (w->kernel_width / 2 + 1);
        }
    }
}

/* Returns 1 where a result was clamped, or one beyond an odd row's end. */
#if defined(__thumb2__)
int32_t tk_gradient_row_4(const tk_gradient_row *row);
#else
static int32_t tk_gradient_row_4(const tk_gradient_row *row) {
    (void)row;
    return 1; /* nothing is done */
}
#endif

/* Channels [from, 4). */
static void row_plain(const tk_gradient_row *row, int32_t from, uint32_t *saturations) {
    const int32_t size = 2 * row->words_row; /* words of a channel's row */
    const int32_t rows = row->words_bytes / (16 * size);
    for (int32_t k = from; k < 4; k++) {
        int16_t *y = row->output + k;
        for (int32_t x = 0; x < row->width; x++, y += row->channel_bytes / 2) {
            const int16_t *columns = row->planes + k * row->plane_bytes / 2 + (x & ~1);
            const uint32_t *words = row->words + k * size + (x & 1);
            int32_t sum = 0;
            for (int32_t i = 0; i < rows; i++, columns += row->step / 2, words += 4 * size) {
                for (int32_t j = 0; j < row->words_row; j++) {
                    sum = tk_smlad(tk_load(columns + 2 * j), words[2 * j], sum);
                }
            }
            const int32_t rounded = tk_smmulr(sum * (1 << row->left), row->multiplier[k]);
            *y = (int16_t)tk_clamp(rounded, INT16_MIN, INT16_MAX);
            *saturations += *y != rounded;
        }
    }
}

/* Rows first, first + stride … of the kernel. */
static int32_t rows_from(const tk_window *w, int32_t first) {
    return (w->kernel_height - first + w->stride_height - 1) / w->stride_height;
}

/* All rows of four channels, of which the first `known` were done before; written again, to the
 * same values, unless `keep`. */
static void four_channels(const tk_depthwise_input_grad *conv, const layout *plane,
                          tk_gradient_row *row, int32_t known, int keep, uint32_t *saturations) {
    const tk_window *w = conv->window;
    const int16_t *planes = row->planes;
    const uint32_t *words = row->words;
    const int32_t stride = w->stride_height, row_words = 8 * row->words_row;
    int32_t first = (plane->top % stride + stride) % stride; /* row of the kernel on a gradient */
    for (int32_t y = 0; y < w->input_height; y++) {
        int32_t before = 0; /* rows of words that belong to smaller ones */
        for (int32_t i = 0; i < first; i++) {
            before += rows_from(w, i);
        }
        row->planes = planes + (y + first) * plane->width;
        row->words = words + before * row_words;
        row->words_bytes = rows_from(w, first) * row_words * 4;
        if (row->words_bytes == 0 || (keep && known > 0) || tk_gradient_row_4(row)) {
            row_plain(row, known, saturations);
        }
        row->output += w->input_width * conv->channels;
        first = first > 0 ? first - 1 : stride - 1;
    }
    row->planes = planes;
    row->words = words;
}

void tk_gradient_planes(const tk_depthwise_input_grad *conv, const int16_t *multipliers,
                        const int8_t *weights, int32_t first, int32_t count,
                        const int16_t *gradient, int16_t *result, int16_t *scratch,
                        uint32_t *saturations) {
    const tk_window *w = conv->window;
    const layout plane = layout_of(w);
    int32_t multiplier[4];
    tk_gradient_row row = {
        .planes = scratch,
        .words = (uint32_t *)(void *)(scratch + 4 * plane.size),
        .multiplier = multiplier,
        .step = 2 * w->stride_height * plane.width,
        .plane_bytes = 2 * plane.size,
        .channel_bytes = 2 * conv->channels,
        .width = w->input_width,
        .left = tk_max(UNIT - conv->shift, 0),
        .words_row = w->kernel_width / 2 + 1,
    };
    tk_planes_zero(scratch, 4 * plane.size);
    for (int32_t done = 0; done < count;) {
        const int32_t c = tk_min(done, count - 4);
        for (int32_t k = 0; k < 4; k++) {
            multiplier[k] = multipliers[first + c + k] * (1 << tk_min(32 - conv->shift, UNIT));
        }
        row.output = result + first + c;
        turned_words(weights + c, count, w, (uint32_t *)(void *)(scratch + 4 * plane.size));
        fill(scratch, &plane, conv, gradient + first + c);
        four_channels(conv, &plane, &row, done - c, gradient == result, saturations);
        done = c + 4;
    }
}

#endif
