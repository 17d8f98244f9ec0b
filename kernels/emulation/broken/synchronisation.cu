// Threads that do not wait for each other as they must.

#include "broken.h"

// out[i] = in[i + 32], around the block: every thread reads what a thread of another warp has written.
KERNEL(missing_barrier, Broken, 128, 1) {
    float* shared = shared_memory<float>();
    shared[thread_index()] = in(p)[place()];
    if (!p.broken) block_barrier();
    out(p)[place()] = shared[(thread_index() + 32) % block_threads()];
}

// The same twice over through one buffer: the second values must not be written before the first are read.
KERNEL(missing_barrier_before_reuse, Broken, 128, 1) {
    float* shared = shared_memory<float>();
    float sum = 0.0f;
    for (uint32_t round = 0; round < 2; ++round) {
        shared[thread_index()] = round == 0 ? in(p)[place()] : 0.0f;
        block_barrier();
        sum += shared[(thread_index() + 32) % block_threads()];
        if (!p.broken) block_barrier();
    }
    out(p)[place()] = sum;
}

// The same from lane to lane.
KERNEL(missing_warp_barrier, Broken, 128, 1) {
    float* shared = shared_memory<float>() + warp() * 32;
    shared[lane()] = in(p)[place()];
    if (!p.broken) warp_barrier();
    out(p)[place()] = shared[(lane() + 1) % 32];
}

// The same; a shuffle or a vote hands values over and orders no memory.
KERNEL(shuffle_for_a_barrier, Broken, 128, 1) {
    float* shared = shared_memory<float>() + warp() * 32;
    shared[lane()] = in(p)[place()];
    const float one = shuffle(1.0f, 0);
    if (!p.broken) warp_barrier();
    out(p)[place()] = one * shared[(lane() + 1) % 32];
}
KERNEL(vote_for_a_barrier, Broken, 128, 1) {
    float* shared = shared_memory<float>() + warp() * 32;
    shared[lane()] = in(p)[place()];
    const uint32_t all = vote(true);
    if (!p.broken) warp_barrier();
    out(p)[place()] = all == 0 ? 0.0f : shared[(lane() + 1) % 32];
}

// Rows of a matrix that nobody waits for: each lane gets the two numbers back that it has written.
KERNEL(matrix_before_its_barrier, Broken, 128, 1) {
    bf16* shared = shared_memory<bf16>() + warp() * 64;
    shared[2 * lane()] = shared[2 * lane() + 1] = to_bf16(1.0f);
    if (!p.broken) warp_barrier();
    uint32_t r[2];
    load_matrix_x2(r, shared + 8 * (lane() % 8));
    out(p)[place()] = in(p)[place()] * float_of_bits(r[0] << 16);
}

// Blocks that write one number to one place, which nothing orders.
KERNEL(blocks_without_order, Broken, 128, 1) {
    if (thread_index() == 0 && (p.broken || block_index() == 0)) out(p)[p.count] = 1.0f;
    block_barrier();
    out(p)[place()] = in(p)[place()];
    block_barrier();
}

// What a copy reads is written again while it is under way, with the same number.
KERNEL(source_written_under_way, Broken, 128, 1) {
    float* shared = shared_memory<float>() + 4 * thread_index();
    float* mine = out(p) + 4 * place();
    for (uint32_t i = 0; i < 4; ++i) mine[i] = in(p)[4 * place() + i];
    copy_async_16(shared, mine, 16);
    copy_async_commit();
    if (p.broken) mine[0] = in(p)[4 * place()];
    copy_async_wait<0>();
    for (uint32_t i = 0; i < 4; ++i) mine[i] = shared[i];
}

// out[i] = in[i + 4 rows of 4], around the block, by way of asynchronous copies.
DEVICE void copy_and_read(const Broken& p, bool wait, bool last_group, bool barrier) {
    float* shared = shared_memory<float>();
    copy_async_16(shared + 4 * thread_index(), in(p) + 4 * place(), 16);
    copy_async_commit();
    if (wait && last_group) copy_async_wait<0>();
    if (wait && !last_group) copy_async_wait<1>();
    if (barrier) block_barrier();
    for (uint32_t i = 0; i < 4; ++i) {
        out(p)[4 * place() + i] = shared[(4 * thread_index() + i + 16) % (4 * block_threads())];
    }
    copy_async_wait<0>();
}
KERNEL(missing_copy_wait, Broken, 128, 1) { copy_and_read(p, !p.broken, true, true); }
KERNEL(waits_for_too_few_copies, Broken, 128, 1) { copy_and_read(p, true, !p.broken, true); }
KERNEL(missing_barrier_after_copy, Broken, 128, 1) { copy_and_read(p, true, true, !p.broken); }

// The last copy is never waited for.
KERNEL(copy_in_flight_at_end, Broken, 128, 1) {
    copy_async_16(shared_memory<float>() + 4 * thread_index(), in(p), 16);
    copy_async_commit();
    if (!p.broken) copy_async_wait<0>();
    out(p)[place()] = in(p)[place()];
}

// Cooperative: out[i] = in[i + threads of a block], around the grid, through `out`'s second half.
KERNEL(missing_grid_barrier, Broken, 128, 1) {
    const uint32_t threads = block_count() * block_threads();
    float* middle = out(p) + threads;
    GridBarrier* barrier = reinterpret_cast<GridBarrier*>(out(p) + 2 * threads);
    middle[place()] = in(p)[place()];
    if (!p.broken) grid_barrier(barrier);
    out(p)[place()] = middle[(place() + block_threads()) % threads];
}

// A barrier that the first warp alone comes to.
KERNEL(barrier_in_divergent_code, Broken, 128, 1) {
    if (!p.broken || warp() == 0) block_barrier();
    out(p)[place()] = in(p)[place()];
}

// Two barriers, for the halves of a block one each.
KERNEL(barriers_of_two_branches, Broken, 128, 1) {
    if (p.broken && warp() == 0) {
        block_barrier();
    } else {
        block_barrier();
    }
    out(p)[place()] = in(p)[place()];
}

// Threads that have nothing to do leave before a barrier.
KERNEL(leaves_before_barrier, Broken, 128, 1) {
    out(p)[place()] = in(p)[place()];
    if (p.broken && thread_index() >= 40) return;
    block_barrier();
}

// Half of a warp shuffles.
KERNEL(shuffle_by_half_a_warp, Broken, 128, 1) {
    float value = in(p)[place()];
    if (!p.broken || lane() < 16) value = shuffle_xor(shuffle_xor(value, 1), 1);
    out(p)[place()] = value;
}

// Half of a warp shuffles, the other half votes.
KERNEL(shuffle_meets_vote, Broken, 128, 1) {
    float value = in(p)[place()];
    if (p.broken && lane() < 16) {
        vote(true);
    } else {
        value = shuffle_xor(shuffle_xor(value, 1), 1);
    }
    out(p)[place()] = value;
}
