// What is left of an image's total, as a pixel's gate and values are shown it: the functions of src/families/sarm/left.rs,
// which says why.
#pragma once

#include "common/device.cuh"

// The most functions that a model has: `Left::MOST` there.
constexpr uint32_t MOST_LEFT = 8;
// Of the logarithm: 2 over the octaves that it runs over (natural logarithms), and its range.
constexpr float LEFT_SLOPE = 0.15186264f, LEFT_LOW = -1.0f, LEFT_HIGH = 1.25f;

// Where this much is left: its share of the mean total, and its logarithm as the functions have it.
struct LeftPlace {
    float share, logarithm;

    HOST_DEVICE LeftPlace(float left, float inverse_mean) : share(left * inverse_mean) {
        // Nothing, or less by rounding, has a place too.
        const float all = 1.0f + logf(fmaxf(share, 1e-30f)) * LEFT_SLOPE;
        logarithm = fminf(fmaxf(all, LEFT_LOW), LEFT_HIGH);
    }

    // Calls each(f, value) for the first `terms` functions, or all: the share, then Chebyshev polynomials in the logarithm.
    template <class Each> HOST_DEVICE void functions(uint32_t terms, const Each& each) const {
        each(0u, share);
        float before = 1.0f, here = logarithm;
        for (uint32_t f = 1; f < terms; f++) {
            each(f, here);
            const float next = 2.0f * logarithm * here - before;
            before = here, here = next;
        }
    }

    // sum + the first `terms` of them with these weights; for where registers are dear
    HOST_DEVICE float add_to(float sum, const float* weights, uint32_t terms) const {
        functions(terms, [&](uint32_t f, float value) { sum = fmaf(weights[f], value, sum); });
        return sum;
    }
};

// All of the functions there.
struct LeftFunctions {
    float value[MOST_LEFT];

    HOST_DEVICE LeftFunctions(float left, float inverse_mean) {
        LeftPlace(left, inverse_mean).functions(MOST_LEFT, [&](uint32_t f, float v) { value[f] = v; });
    }

    // sum + the first `terms` of them with these weights
    HOST_DEVICE float add_to(float sum, const float* weights, uint32_t terms) const {
#pragma unroll
        for (uint32_t f = 0; f < MOST_LEFT; f++)
            if (f < terms) sum = fmaf(weights[f], value[f], sum);
        return sum;
    }
};
