// What the masked linear kernels have in common: problems of one launch, and vectors of 4 results.
#pragma once

#include "common/device.cuh"
#include "common/tile.cuh"
#include "mask.cuh"

// Problems in one launch: PROBLEMS of src/families/sarm/cuda/ops/linear/mod.rs
constexpr uint32_t PROBLEMS = 16;

// The problem that this block works on: the last one whose first block is not beyond it.
template <class Params> DEVICE uint32_t problem_of(const Params& p) {
    uint32_t i = 0;
    while (i + 1 < p.count && p.problems[i + 1].first_block <= block_index()) i++;
    return i;
}

// Step of a staircase that item `number` stands on, and its place there: steps are `count(0)`, `count(1)` ... items
// wide. Every lane counts one, so that a search costs the same few instructions for up to 32 steps.
struct Stair {
    uint32_t step, place;
};
template <class Count> DEVICE Stair find_stair(uint32_t number, uint32_t steps, const Count& count) {
    for (uint32_t first = 0; first < steps; first += 32) {
        const uint32_t mine = first + lane() < steps ? count(first + lane()) : 0;
        uint32_t end = mine;  // of this step, counted from the first of the 32
#pragma unroll
        for (uint32_t n = 1; n < 32; n *= 2) {
            const uint32_t before = shuffle(end, lane() - n);
            if (lane() >= n) end += before;
        }
        const uint32_t behind = count_ones(vote(end <= number));
        if (behind < 32) return {first + behind, number - shuffle(end - mine, behind)};
        number -= shuffle(end, 31);
    }
    return {steps, number};
}

// Zeros for the columns from `end` on, of four from `column` on.
DEVICE float4 zero_past(float4 v, uint32_t column, uint32_t end) {
    return make_float4(column < end ? v.x : 0.0f, column + 1 < end ? v.y : 0.0f, column + 2 < end ? v.z : 0.0f,
                       column + 3 < end ? v.w : 0.0f);
}
