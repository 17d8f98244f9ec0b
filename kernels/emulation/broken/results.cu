// Results that are wrong, or that depend on who comes first.

#include "broken.h"

// One warp: 16x8 products of in's first 256 values (rows of 16) and its next 128 (columns of 16), all in bf16.
KERNEL(wrong_fragment, Broken, 32, 1) {
    const float* left = in(p);
    const float* right = in(p) + 256;
    const uint32_t row = lane() / 4, pair = 2 * (lane() % 4);
    uint32_t a[4], b[2];
    for (uint32_t i = 0; i < 4; ++i) {
        // The rows vary first in the fragment's registers, then the columns.
        const uint32_t down = p.broken ? i / 2 : i % 2, across = p.broken ? i % 2 : i / 2;
        const float* at = left + (row + 8 * down) * 16 + pair + 8 * across;
        a[i] = pack_bf16(at[0], at[1]);
    }
    for (uint32_t i = 0; i < 2; ++i) {
        const float* at = right + row * 16 + pair + 8 * i;
        b[i] = pack_bf16(at[0], at[1]);
    }
    float d[4] = {};
    multiply_accumulate(d, a, b);
    for (uint32_t i = 0; i < 4; ++i) out(p)[(row + i / 2 * 8) * 8 + pair + i % 2] = d[i];
}

// The sum of all, one value a block, in the order in which blocks come, or in that of their numbers.
KERNEL(sum_in_order_of_arrival, Broken, 32, 1) {
    if (p.broken) {
        if (thread_index() == 0) out(p)[0] += in(p)[block_index()];
    } else if (block_index() == 0 && thread_index() == 0) {
        for (uint32_t i = 0; i < p.count; ++i) out(p)[0] += in(p)[i];
    }
}

// The same with the threads of a block, who ask for their turns.
KERNEL(sum_in_order_of_threads, Broken, 128, 1) {
    uint32_t* turn = shared_memory<uint32_t>();
    float* values = reinterpret_cast<float*>(turn + 1);
    if (thread_index() == 0) *turn = 0;
    block_barrier();
    const uint32_t mine = p.broken ? atomic_add(turn, 1) : thread_index();
    values[mine] = in(p)[thread_index()];
    block_barrier();
    if (thread_index() == 0) {
        for (uint32_t i = 0; i < p.count; ++i) out(p)[0] += values[i];
    }
}
