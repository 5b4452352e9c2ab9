#include "scalar.h"

#define LN2_HIGH 0.693359375f
#define LN2_LOW -2.12194440e-4f

float tk_exp(float x) {
    if (x < -87.0f) {
        return 0.0f;
    }
    const int32_t n = (int32_t)(x * 1.44269504f - 0.5f);
    float r = x - (float)n * LN2_HIGH;
    r = r - (float)n * LN2_LOW;
    float p = 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    return p * tk_bits_float((uint32_t)(n + 127) << 23);
}

float tk_log(float x) {
    const uint32_t bits = tk_float_bits(x);
    int32_t n = (int32_t)(bits >> 23) - 127;
    float m = tk_bits_float((bits & 0x7FFFFFu) | 0x3F800000u);
    if (m > 1.41421356f) {
        m = m * 0.5f;
        n++;
    }
    const float t = (m - 1.0f) / (m + 1.0f);
    const float s = t * t;
    float p = 1.0f / 9.0f;
    p = p * s + 1.0f / 7.0f;
    p = p * s + 1.0f / 5.0f;
    p = p * s + 1.0f / 3.0f;
    p = p * s + 1.0f;
    return (float)n * LN2_HIGH + ((float)n * LN2_LOW + 2.0f * t * p);
}
