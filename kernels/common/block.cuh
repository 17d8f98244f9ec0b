// What all threads of a block find together.
#pragma once

#include "device.cuh"

// Which threads of the block are to keep what they hold: their places, in order, from `found` on, to which their number is added. `in_warp`:
// a number a warp, which nobody may write again before the block's next barrier.
DEVICE uint32_t place(bool kept, uint32_t* in_warp, uint32_t& found) {
    const uint32_t mine = vote(kept);
    if (lane() == 0) in_warp[warp()] = count_ones(mine);
    block_barrier();
    uint32_t at = found + count_ones(mine & ((1u << lane()) - 1));
    for (uint32_t i = 0; i < block_threads() / 32; i++) {
        const uint32_t count = in_warp[i];
        if (i < warp()) at += count;
        found += count;
    }
    return at;
}

// Sum over a block, in all of its threads, in a fixed order. `work`: a number a thread. All threads; a barrier must stand before `work` is
// used again.
DEVICE float block_sum(float mine, float* work) {
    work[thread_index()] = mine;
    block_barrier();
    float sum = 0.0f;
    for (uint32_t i = 0; i < block_threads(); i++) sum += work[i];
    return sum;
}
