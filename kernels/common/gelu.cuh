// GELU by the hyperbolic tangent (Hendrycks and Gimpel 2016, section 2), which is x sigmoid(2 u) with
// u = sqrt(2/pi) (x + 0.044715 x^3). CPU twin: src/families/sarm/reference.rs
#pragma once

#include "device.cuh"

constexpr float GELU_SLOPE = 1.5957691216057308f;  // 2 sqrt(2/pi)
constexpr float GELU_CUBIC = 0.044715f;

// sigmoid(2 u) = 1 / (1 + 2^t). Right at both ends, for 2^t becomes 0 or infinite there, and the reciprocal of infinity 0.
DEVICE float gelu_gate(float x) {
    constexpr float LINEAR = -GELU_SLOPE * 1.4426950408889634f, CUBIC = LINEAR * GELU_CUBIC;
    const float t = x * fmaf(CUBIC * x, x, LINEAR);
    return fast_reciprocal(1.0f + fast_exp2(t));
}

DEVICE float gelu(float x) { return x * gelu_gate(x); }

DEVICE float gelu_derivative(float x) {
    // Beyond 16 it is 0 or 1 to the last bit; the square of something much larger times 0 would be NaN.
    x = min(max(x, -16.0f), 16.0f);
    const float gate = gelu_gate(x);
    const float slope = GELU_SLOPE * fmaf(3.0f * GELU_CUBIC * x, x, 1.0f);
    return fmaf(x * gate * (1.0f - gate), slope, gate);
}
