// What device.cuh promises, in kernels so small that their results are known: the emulation and a card must agree.

#include "device.cuh"

// One warp: 4-byte results of `values` f32 [32].
struct WarpContract {
    uint64_t values;
    uint64_t shuffled; // f32 [3][32]: from lane 5 more, from lane ^ 9, from 4 lanes up
    uint64_t voted;    // u32 [32]: values >= 0
};
static_assert(sizeof(WarpContract) == 24, "the same as in tests/cuda/kernels/contract.rs");

KERNEL(contract_warp, WarpContract, 32, 1) {
    const float value = reinterpret_cast<const float*>(p.values)[lane()];
    float* shuffled = reinterpret_cast<float*>(p.shuffled);
    shuffled[lane()] = shuffle(value, (lane() + 5) % 32);
    shuffled[32 + lane()] = shuffle_xor(value, 9);
    shuffled[64 + lane()] = shuffle_down(value, 4);
    reinterpret_cast<uint32_t*>(p.voted)[lane()] = vote(value >= 0.0f);
}

// One warp: sums [16][8] + left [16][16] right [16][8] from either storage order.
struct MatrixContract {
    uint64_t left;             // bf16 [16][16]
    uint64_t left_transposed;  // bf16 [16][16], its transpose
    uint64_t right;            // bf16 [16][8]
    uint64_t right_transposed; // bf16 [8][16], its transpose
    uint64_t sums;             // f32 [16][8]
    uint64_t results;          // f32 [4][16][8], which must be alike
};
static_assert(sizeof(MatrixContract) == 48, "the same as in tests/cuda/kernels/contract.rs");

// Bring `rows` of 16 bytes to shared memory.
DEVICE void bring(bf16* to, uint64_t from, uint32_t rows) {
    for (uint32_t i = lane(); i < rows; i += 32) {
        copy_async_16(to + 8 * i, reinterpret_cast<const bf16*>(from) + 8 * i, 16);
    }
    copy_async_commit();
}

DEVICE void store(const MatrixContract& p, uint32_t number, const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    const float* sums = reinterpret_cast<const float*>(p.sums);
    float* result = reinterpret_cast<float*>(p.results) + number * 128;
    const uint32_t row = lane() / 4, column = 2 * (lane() % 4);
    float d[4];
    for (uint32_t i = 0; i < 4; ++i) d[i] = sums[(row + i / 2 * 8) * 8 + column + i % 2];
    multiply_accumulate(d, a, b);
    for (uint32_t i = 0; i < 4; ++i) result[(row + i / 2 * 8) * 8 + column + i % 2] = d[i];
}

KERNEL(contract_matrix, MatrixContract, 32, 1) {
    bf16* left = shared_memory<bf16>();
    bf16* left_transposed = left + 256;
    bf16* right = left_transposed + 256;
    bf16* right_transposed = right + 128;
    bring(left, p.left, 32);
    bring(left_transposed, p.left_transposed, 32);
    bring(right, p.right, 16);
    bring(right_transposed, p.right_transposed, 16);

    uint32_t a[4], b[2], four[4];
    const uint32_t row = lane() % 8, matrix = lane() / 8;
    copy_async_wait<2>();
    warp_barrier();
    // Matrices in the order of the fragment: rows 0..8, rows 8..16, then columns 8..16 of both.
    load_matrix_x4(a, left + (row + matrix % 2 * 8) * 16 + matrix / 2 * 8);
    copy_async_wait<0>();
    warp_barrier();
    load_matrix_x2(b, right_transposed + row * 16 + matrix % 2 * 8);
    store(p, 0, a, b);
    load_matrix_x4_transposed(a, left_transposed + (row + matrix / 2 * 8) * 16 + matrix % 2 * 8);
    load_matrix_x2_transposed(b, right + (row + matrix % 2 * 8) * 8);
    store(p, 1, a, b);
    // Two fragments of the right side at once, both the same one here.
    load_matrix_x4(four, right_transposed + row * 16 + matrix % 2 * 8);
    store(p, 2, a, {four[0], four[1]});
    load_matrix_x4_transposed(four, right + (row + matrix % 2 * 8) * 8);
    store(p, 3, a, {four[2], four[3]});
}

// Copies of which only the first bytes are valid, and bfloat16: one warp.
struct CopyContract {
    uint64_t from;    // bf16 [17 * 8]: 17 rows of 16 bytes
    uint64_t copied;  // bf16 [17 * 8]: row i with its first i bytes (i even: whole numbers) and zeros
    uint64_t values;  // f32 [64]
    uint64_t rounded; // bf16 [64]
    uint64_t widened; // f32 [64]: of the rounded ones, by pairs
};
static_assert(sizeof(CopyContract) == 40, "the same as in tests/cuda/kernels/contract.rs");

KERNEL(contract_copy, CopyContract, 32, 1) {
    bf16* shared = shared_memory<bf16>();
    if (lane() < 17) {
        copy_async_16(shared + 8 * lane(), reinterpret_cast<const bf16*>(p.from) + 8 * lane(), lane());
    }
    copy_async_commit();
    copy_async_wait<0>();
    warp_barrier();
    for (uint32_t i = lane(); i < 17 * 8; i += 32) reinterpret_cast<bf16*>(p.copied)[i] = shared[i];

    const float2 value = reinterpret_cast<const float2*>(p.values)[lane()];
    const uint32_t pair = pack_bf16(value.x, value.y);
    reinterpret_cast<uint32_t*>(p.rounded)[lane()] = pair;
    reinterpret_cast<float2*>(p.widened)[lane()] = make_float2(unpack_low(pair), to_float(to_bf16(value.y)));
}

// Several blocks that wait for each other, twice: cooperative.
struct GridContract {
    uint64_t barrier; // GridBarrier, zeros
    uint64_t counter; // u32, zero: threads that have come
    uint64_t seen;    // u32 [2][threads in all]: what each thread finds there after either barrier
};
static_assert(sizeof(GridContract) == 24, "the same as in tests/cuda/kernels/contract.rs");

KERNEL(contract_grid, GridContract, 64, 1) {
    uint32_t* counter = reinterpret_cast<uint32_t*>(p.counter);
    uint32_t* seen = reinterpret_cast<uint32_t*>(p.seen) + block_index() * block_threads() + thread_index();
    GridBarrier* barrier = reinterpret_cast<GridBarrier*>(p.barrier);
    for (uint32_t round = 0; round < 2; ++round) {
        atomic_add(counter, 1);
        grid_barrier(barrier);
        seen[round * block_count() * block_threads()] = *counter;
        grid_barrier(barrier);
    }
}
