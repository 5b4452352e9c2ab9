/* PAD, int8. */
#include "tinykit/kernels.h"

static int8_t *fill(int8_t *output, int32_t value, int32_t count) {
    __builtin_memset(output, value, (size_t)count);
    return output + count;
}

void tk_pad_row_s8(const tk_pad *pad, const int8_t *input, int32_t ring, int32_t oy,
                   int8_t *output) {
    const int32_t channels = pad->front + pad->channels + pad->back;
    const int32_t y = oy - pad->top;
    if (y < 0 || y >= pad->height) {
        fill(output, pad->value, (pad->left + pad->width + pad->right) * channels);
        return;
    }
    const int8_t *row = input + (y < ring ? y : y % ring) * pad->width * pad->channels;
    output = fill(output, pad->value, pad->left * channels);
    if (channels == pad->channels) {
        __builtin_memcpy(output, row, (size_t)(pad->width * channels));
        output += pad->width * channels;
    } else {
        for (int32_t x = 0; x < pad->width; x++) {
            output = fill(output, pad->value, pad->front);
            __builtin_memcpy(output, row, pad->channels);
            output = fill(output + pad->channels, pad->value, pad->back);
            row += pad->channels;
        }
    }
    fill(output, pad->value, pad->right * channels);
}

void tk_pad_s8(const tk_pad *pad, const int8_t *input, int8_t *output) {
    const int32_t rows = pad->top + pad->height + pad->bottom;
    const int32_t bytes =
        (pad->left + pad->width + pad->right) * (pad->front + pad->channels + pad->back);
    for (int32_t oy = 0; oy < rows; oy++) {
        tk_pad_row_s8(pad, input, pad->height, oy, output);
        output += bytes;
    }
}
