// The rates that bound every other kernel, measured on the card itself: copying, reading what all multiprocessors
// read, and bf16 matrix products.

#include "device.cuh"

// Copies `words` 16-byte words.
struct CopyRate {
    uint64_t from; // 16 bytes each [words]
    uint64_t to;   // 16 bytes each [words]
    uint64_t words;
};
static_assert(sizeof(CopyRate) == 24, "the same as in src/device/cuda/ops/rates.rs");

// Loads under way at once in a thread: enough to hide the latency of device memory.
constexpr uint32_t copies = 4;

KERNEL(copy_rate, CopyRate, 256, 4) {
    const uint4* from = reinterpret_cast<const uint4*>(p.from);
    uint4* to = reinterpret_cast<uint4*>(p.to);
    const uint64_t step = uint64_t(block_count()) * block_threads();
    uint64_t at = uint64_t(block_index()) * block_threads() + thread_index();
    for (; at + (copies - 1) * step < p.words; at += copies * step) {
        uint4 words[copies];
#pragma unroll
        for (uint32_t i = 0; i < copies; ++i) words[i] = from[at + i * step];
#pragma unroll
        for (uint32_t i = 0; i < copies; ++i) to[at + i * step] = words[i];
    }
    for (; at < p.words; at += step) to[at] = from[at];
}

// Every block reads the same words `rounds` times, each from a place of its own on: what a card gives when all its
// multiprocessors stream the same weights. One block a multiprocessor, and more words than its own cache holds:
// what it reads comes out of the second-level cache.
struct StreamRate {
    uint64_t from;  // 16 bytes each [words]
    uint64_t sums;  // out: u32 [blocks * threads], modulo 2^32
    uint32_t words; // a multiple of `copies` times the threads of a block
    uint32_t rounds;
};
static_assert(sizeof(StreamRate) == 24, "the same as in src/device/cuda/ops/rates.rs");

KERNEL(stream_rate, StreamRate, 1024, 1) {
    const uint4* from = reinterpret_cast<const uint4*>(p.from);
    const uint32_t start = uint32_t(uint64_t(block_index()) * p.words / block_count());
    uint32_t total = 0;
    for (uint32_t round = 0; round < p.rounds; ++round) {
        for (uint32_t at = thread_index(); at < p.words; at += copies * block_threads()) {
            uint4 words[copies];
#pragma unroll
            for (uint32_t i = 0; i < copies; ++i) {
                const uint32_t place = at + i * block_threads() + start;
                words[i] = from[place < p.words ? place : place - p.words];
            }
#pragma unroll
            for (uint32_t i = 0; i < copies; ++i) total += words[i].x ^ words[i].y ^ words[i].z ^ words[i].w;
        }
    }
    reinterpret_cast<uint32_t*>(p.sums)[block_index() * block_threads() + thread_index()] = total;
}

// Every warp multiplies fragments out of its registers `rounds` times: what mma.m16n8k16 can reach when nothing
// else is in its way. Operands are random, as a card does more with zeros than with numbers.
struct MatrixRate {
    uint64_t operands; // bf16 pairs u32 [12][32]: fragments of two left and two right operands
    uint64_t sums;     // out: f32 [blocks * threads]
    uint32_t rounds;
    uint32_t unused;
};
static_assert(sizeof(MatrixRate) == 24, "the same as in src/device/cuda/ops/rates.rs");

KERNEL(matrix_rate, MatrixRate, 256, 1) {
    const uint32_t* operands = reinterpret_cast<const uint32_t*>(p.operands);
    uint32_t left[2][4], right[2][2];
#pragma unroll
    for (uint32_t i = 0; i < 4; ++i) {
        left[0][i] = operands[i * 32 + lane()];
        left[1][i] = operands[(4 + i) * 32 + lane()];
    }
#pragma unroll
    for (uint32_t i = 0; i < 2; ++i) {
        right[0][i] = operands[(8 + i) * 32 + lane()];
        right[1][i] = operands[(10 + i) * 32 + lane()];
    }
    // Eight sums that do not wait for each other.
    float sums[8][4] = {};
    for (uint32_t round = 0; round < p.rounds; ++round) {
#pragma unroll
        for (uint32_t i = 0; i < 8; ++i) multiply_accumulate(sums[i], left[i % 2], right[i / 2 % 2]);
    }
    float total = 0.0f;
#pragma unroll
    for (uint32_t i = 0; i < 8; ++i) total += sums[i][0] + sums[i][1] + sums[i][2] + sums[i][3];
    reinterpret_cast<float*>(p.sums)[block_index() * block_threads() + thread_index()] = total;
}
