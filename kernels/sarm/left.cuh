// What is left of an image's total, as a pixel's gate and values are shown it: the functions of src/families/sarm/left.rs,
// which says why.
#pragma once

#include "common/device.cuh"

// The most functions that a model has: `Left::MOST` there.
constexpr uint32_t MOST_LEFT = 8;
// Of the logarithm: 2 over the octaves that it runs over (natural logarithms), and its range.
constexpr float LEFT_SLOPE = 0.15186265f, LEFT_LOW = -1.0f, LEFT_HIGH = 1.25f;

// The functions where this much is left: the share of the mean total, then Chebyshev polynomials in the logarithm.
struct LeftFunctions {
    float value[MOST_LEFT];

    HOST_DEVICE LeftFunctions(float left, float inverse_mean) {
        const float share = left * inverse_mean;
        // Nothing, or less by rounding, has a place too.
        const float logarithm = 1.0f + logf(fmaxf(share, 1e-30f)) * LEFT_SLOPE;
        const float at = fminf(fmaxf(logarithm, LEFT_LOW), LEFT_HIGH);
        value[0] = share;
        float before = 1.0f, here = at;
#pragma unroll
        for (uint32_t f = 1; f < MOST_LEFT; f++) {
            value[f] = here;
            const float next = 2.0f * at * here - before;
            before = here, here = next;
        }
    }

    // sum + the first `terms` of them with these weights
    HOST_DEVICE float add_to(float sum, const float* weights, uint32_t terms) const {
#pragma unroll
        for (uint32_t f = 0; f < MOST_LEFT; f++)
            if (f < terms) sum = fmaf(weights[f], value[f], sum);
        return sum;
    }
};
