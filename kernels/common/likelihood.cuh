// The maths of the likelihoods (src/likelihood/ states them), once for every kernel.
//
// Everything goes through logarithms, and every exponential is of a negative number: nothing overflows.
// Sums of large terms that cancel are left out of the sums: with the mean beyond an end of the range both the
// logistic and its mass are tails, and only the distance between them counts.
#pragma once

#include "device.cuh"

// Where ln s is held (LOG_SCALE of src/likelihood/mixture.rs).
constexpr float LOG_SCALE_LOW = -9.0f, LOG_SCALE_HIGH = 9.0f;

// The smallest pixel that is drawn, in units (SMALLEST there).
constexpr float SMALLEST = 1e-6f;

// The least width of a range of logarithms (NARROWEST there).
constexpr float NARROWEST = 1e-4f;

// In logarithmic space: the most that a pixel may take of `left` GeV so that another of `lower` fits. A place less, so that
// rounding takes nothing from it.
DEVICE float most_beside(float left, float lower) { return float_of_bits(float_bits(left - lower) - 1); }

// ln(1 - e^-r) for r > 0, what a logarithm bends by.
DEVICE float log_of_missing(float r) { return logf(-expm1f(-r)); }

// ln(e^r - 1), the variable of logarithmic space (`Space::Log` there), and its inverse.
DEVICE float bent_log(float r) { return r + log_of_missing(r); }
DEVICE float bent_exp(float y) { return fmaxf(y, 0.0f) + log1pf(expf(-fabsf(y))); }

// y of a pixel of `r` units as the end of a range, a mean of 0 lying at `origin`.
DEVICE float log_end(float r, float origin) { return fmaxf(bent_log(r) + origin, NARROWEST); }

struct GateCost {
    float cost;  // nats
    float slope; // by the logit
};

// The cost of a pixel's gate: softplus(logit) if the pixel is positive, softplus(-logit) if it is zero.
HOST_DEVICE GateCost gate_cost(float logit, bool positive) {
    const float signed_logit = positive ? logit : -logit;
    const float e = expf(-fabsf(signed_logit));
    const float small = e / (1.0f + e);
    const float sigmoid = signed_logit > 0.0f ? 1.0f - small : small;
    return {fmaxf(signed_logit, 0.0f) + log1pf(e), positive ? sigmoid : -sigmoid};
}

// What a pixel and the range are in the mixture's units. `upper` is infinite without upper truncation.
struct MixturePixel {
    float y, upper;
};

struct Logistic {
    float log_density;
    float by_mean, by_log_scale;
};

// ln of a logistic truncated to (0, upper) at y, with derivatives.
//
// With z = (y - mean) / s, a = -mean / s, b = (upper - mean) / s the density is
//     e^-z / (s (1 + e^-z)^2) / (sigmoid(b) sigmoid(-a) (1 - e^-(b-a))),
// whose logarithm is -distance - ln s + ln[(1 + e^-|a|) (1 + e^-|b|) / (1 + e^-|z|)^2] - ln(1 - e^-(b-a)),
// with the distance |z| for a mean inside the range, and that of y from the nearer end, over s, otherwise.
HOST_DEVICE Logistic truncated_logistic(MixturePixel pixel, float mean, float log_scale) {
    const float held = fminf(fmaxf(log_scale, LOG_SCALE_LOW), LOG_SCALE_HIGH);
    const float inverse = expf(-held);
    const bool below = mean < 0.0f, above = mean > pixel.upper;
    const float z = fabsf(pixel.y - mean) * inverse, a = fabsf(mean) * inverse;
    // The second of each pair: for a pixel that is itself outside, on the far side of the mean.
    const float distance = below   ? fmaxf(pixel.y, 2.0f * mean - pixel.y) * inverse
                           : above ? fmaxf(pixel.upper - pixel.y, pixel.upper + pixel.y - 2.0f * mean) * inverse
                                   : z;
    const float right_of_mean = pixel.y < mean ? -1.0f : 1.0f;

    const float ez = expf(-z), ea = expf(-a);
    const float tz = ez / (1.0f + ez), ta = ea / (1.0f + ea);
    float ratio = (1.0f + ea) / ((1.0f + ez) * (1.0f + ez));
    float log_density = -distance - held;
    float slope = (right_of_mean + (below ? -1.0f : above ? 1.0f : 0.0f)) - 2.0f * right_of_mean * tz + (below ? ta : -ta);
    float by_log_scale = distance - 1.0f - 2.0f * z * tz + a * ta;
    if (pixel.upper < INFINITY) {
        const float b = fabsf(pixel.upper - mean) * inverse, width = pixel.upper * inverse;
        const float eb = expf(-b), tb = eb / (1.0f + eb);
        const float missing = -expm1f(-width);
        ratio *= 1.0f + eb;
        log_density -= logf(missing);
        slope += above ? -tb : tb;
        by_log_scale += b * tb + width * ((1.0f - missing) / missing);
    }
    log_density += logf(ratio);
    const bool is_held = !(log_scale >= LOG_SCALE_LOW && log_scale <= LOG_SCALE_HIGH);
    return {log_density, slope * inverse, is_held ? 0.0f : by_log_scale};
}
