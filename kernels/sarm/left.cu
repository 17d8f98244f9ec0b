// The weights of what is left of a total: their gradient, and Adam (docs/kernels.md#left_update).
//
// One block a pixel. Every thread looks after an image in turn, for the gate; images where the pixel is positive are listed,
// and each weight of a value has a thread that adds over the list. So every sum has one order, whatever the schedule.

#include "common/adam.cuh"
#include "cells.cuh"
#include "left.cuh"

constexpr uint32_t LEFT_THREADS = 256;

struct LeftStage {
    const bf16* delta;              // [images, pitch], as the likelihood left it
    float *value, *first, *second;  // [pixels][numbers][terms], and Adam's moments; no moments: `value` takes the gradient
    uint32_t pitch;
    uint32_t pixels;
    uint32_t first_place;
    uint32_t first_block;
};
static_assert(sizeof(LeftStage) == 48, "as in src/families/sarm/cuda/ops/left.rs");

struct LeftParams {
    const AdamRates* rates; // [steps]
    const uint32_t* cursor; // which step; NULL: the first
    const uint32_t* target; // [images, places]
    const float* limit;     // [images, places], its size is what is left
    uint32_t images, places;
    uint32_t numbers;       // of a pixel, its gate first
    uint32_t terms;         // functions of what is left
    float inverse_mean;     // one over the mean total in GeV
    uint32_t stage_count;
    LeftStage stages[MOST_STAGES];
};
static_assert(sizeof(LeftParams) == 56 + 48 * MOST_STAGES, "as in src/families/sarm/cuda/ops/left.rs");

struct LeftShared {
    float functions[LEFT_THREADS][MOST_LEFT];    // of the listed images
    uint32_t image[LEFT_THREADS];                // which they are
    float gate[LEFT_THREADS / 32][MOST_LEFT];    // of the warps
    uint32_t counts[LEFT_THREADS / 32];
    uint32_t unused[24];
};
static_assert(sizeof(LeftShared) == 4 * (LEFT_THREADS * (MOST_LEFT + 1) + 8 * MOST_LEFT + 32), "as in src/families/sarm/cuda/ops/left.rs");

// What becomes of the sum `gradient` of weight number `i`.
DEVICE void conclude(const LeftParams& p, const LeftStage& stage, size_t i, float gradient) {
    if (!stage.first) {
        stage.value[i] = gradient;
        return;
    }
    const AdamRates rates = p.rates[p.cursor ? *p.cursor : 0].without_decay();
    const AdamState state = adam({stage.value[i], stage.first[i], stage.second[i]}, gradient, rates);
    stage.value[i] = state.value, stage.first[i] = state.first, stage.second[i] = state.second;
}

KERNEL(left_update, LeftParams, LEFT_THREADS, 4) {
    LeftShared& shared = *shared_memory<LeftShared>();
    float* const sums = reinterpret_cast<float*>(&shared + 1); // [numbers - 1][terms]
    uint32_t s = 0;
    while (s + 1 < p.stage_count && block_index() >= p.stages[s + 1].first_block) ++s;
    const LeftStage& stage = p.stages[s];
    const uint32_t pixel = block_index() - stage.first_block, of_values = (p.numbers - 1) * p.terms;
    const bf16* const delta = stage.delta + pixel * p.numbers;
    for (uint32_t i = thread_index(); i < of_values; i += LEFT_THREADS) sums[i] = 0.0f;
    float gate[MOST_LEFT] = {};
    for (uint32_t first = 0; first < p.images; first += LEFT_THREADS) {
        const uint32_t image = first + thread_index();
        const size_t place = static_cast<size_t>(image) * p.places + stage.first_place + pixel;
        const uint32_t target = image < p.images ? p.target[place] : CERTAIN;
        const bool positive = target != 0 && target != CERTAIN;
        const uint32_t positives = vote(positive);
        if (lane() == 0) shared.counts[warp()] = count_ones(positives);
        block_barrier();
        uint32_t before = 0, entries = 0;
        for (uint32_t w = 0; w < LEFT_THREADS / 32; ++w) {
            if (w == warp()) before = entries;
            entries += shared.counts[w];
        }
        if (target != CERTAIN) {
            const LeftFunctions functions(fabsf(p.limit[place]), p.inverse_mean);
            const float slope = to_float(delta[static_cast<size_t>(image) * stage.pitch]);
            const uint32_t entry = before + count_ones(positives & ((1u << lane()) - 1));
#pragma unroll
            for (uint32_t f = 0; f < MOST_LEFT; ++f) {
                gate[f] = fmaf(slope, functions.value[f], gate[f]);
                if (positive) shared.functions[entry][f] = functions.value[f];
            }
            if (positive) shared.image[entry] = image;
        }
        block_barrier();
        for (uint32_t i = thread_index(); entries > 0 && i < of_values; i += LEFT_THREADS) {
            const uint32_t number = 1 + i / p.terms, f = i % p.terms;
            float sum = sums[i];
            for (uint32_t e = 0; e < entries; ++e) {
                const float slope = to_float(delta[static_cast<size_t>(shared.image[e]) * stage.pitch + number]);
                sum = fmaf(slope, shared.functions[e][f], sum);
            }
            sums[i] = sum;
        }
        // The next list is written behind a barrier; the next counts when these have been read.
    }
#pragma unroll
    for (uint32_t f = 0; f < MOST_LEFT; ++f) {
        const float sum = warp_sum(gate[f]);
        if (lane() == 0) shared.gate[warp()][f] = sum;
    }
    block_barrier();
    const size_t of_pixel = static_cast<size_t>(pixel) * p.numbers * p.terms;
    if (thread_index() < p.terms) {
        float sum = 0.0f;
        for (uint32_t w = 0; w < LEFT_THREADS / 32; ++w) sum += shared.gate[w][thread_index()];
        conclude(p, stage, of_pixel + thread_index(), sum);
    }
    for (uint32_t i = thread_index(); i < of_values; i += LEFT_THREADS) conclude(p, stage, of_pixel + p.terms + i, sums[i]);
}
