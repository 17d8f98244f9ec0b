// Adam (Kingma and Ba 2015) with decoupled weight decay (Loshchilov and Hutter 2019). Rust twin: `AdamRule::step` of
// src/nn/adam/mod.rs, which makes the constants of a step too.
#pragma once

#include "device.cuh"

// Constants of one step: the learning rate over 1 - BETA_1^t, 1 over 1 - BETA_2^t, and what decaying weights keep of
// themselves.
struct AdamRates {
    float step_size;
    float second_scale;
    float keep;

    DEVICE AdamRates without_decay() const { return {step_size, second_scale, 1.0f}; }
};

struct AdamState {
    float value;   // the parameter
    float first;   // its moments
    float second;
};

constexpr float BETA_1 = 0.9f, BETA_2 = 0.999f, EPSILON = 1e-8f;

// One step of one parameter. A gradient of 0 leaves a parameter with moments 0 as it is.
DEVICE AdamState adam(AdamState s, float gradient, AdamRates rates) {
    s.first = BETA_1 * s.first + (1.0f - BETA_1) * gradient;
    s.second = BETA_2 * s.second + (1.0f - BETA_2) * gradient * gradient;
    s.value = rates.keep * s.value - rates.step_size * s.first / (sqrtf(s.second * rates.second_scale) + EPSILON);
    return s;
}

// Number `at` of an arena and the three after it.
DEVICE float4& four(float* arena, uint64_t at) { return *reinterpret_cast<float4*>(arena + at); }

// Four weights side by side, and their moments.
struct FourStates {
    float4 value, first, second;
};

DEVICE FourStates adam_four(const FourStates& s, float4 gradient, AdamRates rates) {
    const AdamState x = adam({s.value.x, s.first.x, s.second.x}, gradient.x, rates);
    const AdamState y = adam({s.value.y, s.first.y, s.second.y}, gradient.y, rates);
    const AdamState z = adam({s.value.z, s.first.z, s.second.z}, gradient.z, rates);
    const AdamState w = adam({s.value.w, s.first.w, s.second.w}, gradient.w, rates);
    return {make_float4(x.value, y.value, z.value, w.value), make_float4(x.first, y.first, z.first, w.first),
            make_float4(x.second, y.second, z.second, w.second)};
}
