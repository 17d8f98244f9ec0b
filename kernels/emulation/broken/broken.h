// Kernels with one defect each, which the tests must see; with `broken` 0 the same kernel is sound and must pass.
#pragma once

#include "common/device.cuh"

struct Broken {
    uint64_t in;  // f32 [count]
    uint64_t out; // f32 [count]
    uint32_t count;
    uint32_t broken;
};
static_assert(sizeof(Broken) == 24, "the same as in tests/cuda/kernels/broken.rs");

DEVICE const float* in(const Broken& p) { return reinterpret_cast<const float*>(p.in); }
DEVICE float* out(const Broken& p) { return reinterpret_cast<float*>(p.out); }
// This thread in the grid.
DEVICE uint32_t place() { return block_index() * block_threads() + thread_index(); }
