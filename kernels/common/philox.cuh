// Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, SC'11). Rust twin: src/random.rs
#pragma once

#include "device.cuh"

// Purposes in the last word of the counter, as `Purpose` has them: drawing pixels, training VAEs, what their classifiers leave out.
constexpr uint32_t PURPOSE_DRAW = 0, PURPOSE_VAE = 11, PURPOSE_DROPOUT = 13;

// The first three random words of place `item` of image `n`, or all four.
template <uint32_t WORDS>
HOST_DEVICE void philox(uint32_t key_low, uint32_t key_high, uint64_t n, uint32_t item, uint32_t (&words)[WORDS],
                        uint32_t purpose = PURPOSE_DRAW) {
    static_assert(WORDS == 3 || WORDS == 4, "what a call makes");
    uint32_t c0 = static_cast<uint32_t>(n), c1 = static_cast<uint32_t>(n >> 32), c2 = item, c3 = purpose;
#pragma unroll
    for (uint32_t round = 0; round < 10; round++) {
        const uint64_t a = static_cast<uint64_t>(0xD2511F53u) * c0, b = static_cast<uint64_t>(0xCD9E8D57u) * c2;
        c0 = static_cast<uint32_t>(b >> 32) ^ c1 ^ key_low;
        c1 = static_cast<uint32_t>(b);
        c2 = static_cast<uint32_t>(a >> 32) ^ c3 ^ key_high;
        c3 = static_cast<uint32_t>(a);
        key_low += 0x9E3779B9u, key_high += 0xBB67AE85u;
    }
    words[0] = c0, words[1] = c1, words[2] = c2;
    if constexpr (WORDS == 4) words[3] = c3;
}

// A word as a number strictly between 0 and 1, on the midpoints that a float holds exactly.
HOST_DEVICE float unit(uint32_t word) { return (static_cast<float>(word >> 9) + 0.5f) * (1.0f / 8388608.0f); }

// A word as a number above 0 and up to 1, all of its bits used.
DEVICE float whole_unit(uint32_t word) { return fmaf(static_cast<float>(word), 1.0f / 4294967296.0f, 0.5f / 4294967296.0f); }

// Two normal numbers of three words (Box and Muller 1958), those of `normal` of src/random.rs but for rounding.
DEVICE float2 normal_pair(const uint32_t (&words)[3]) {
    // Half a turn back, where the card's approximations are good to 1e-6, and round again by the sign.
    const float radius = -sqrtf(-2.0f * logf(whole_unit(words[0]))), angle = 6.2831853f * (whole_unit(words[2]) - 0.5f);
    return make_float2(radius * fast_cos(angle), radius * fast_sin(angle));
}
