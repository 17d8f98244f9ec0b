// Drawn images, each in its own slot, to the sparse images that the host wants (docs/kernels.md#compact).
//
// compact_starts, one block: exclusive prefix sums of the counts. compact_pixels, a warp an image: its pixels in
// ascending order, by a bitmap of the image in shared memory.

#include "device.cuh"

struct CompactParams {
    const uint16_t* slot_pixel; // [images, pixels]: the first counts[image] of each row, distinct, in any order
    const float* slot_value;    // [images, pixels]
    const uint32_t* counts;     // [images], up to `pixels` each
    uint32_t* starts;           // [images + 1]
    uint16_t* out_pixel;        // [starts[images]]
    float* out_value;           // [starts[images]]
    uint32_t images, pixels;    // images * pixels < 2^32, pixels up to 65536
};
static_assert(sizeof(CompactParams) == 56, "as in src/device/cuda/ops/compact.rs");

// The sum of `value` over this lane and those before it.
DEVICE uint32_t sum_up_to(uint32_t value) {
#pragma unroll
    for (uint32_t n = 1; n < 32; n *= 2) {
        const uint32_t before = shuffle(value, (lane() - n) % 32);
        if (lane() >= n) value += before;
    }
    return value;
}

// Four counts from `at` on; 0 for images that there are not.
DEVICE uint4 four_counts(const CompactParams& p, uint32_t at) {
    if (at + 4 <= p.images) return *reinterpret_cast<const uint4*>(p.counts + at);
    return make_uint4(at < p.images ? p.counts[at] : 0, at + 1 < p.images ? p.counts[at + 1] : 0,
                      at + 2 < p.images ? p.counts[at + 2] : 0, 0);
}

// 1024 threads, so that the sums of its warps are one to a lane.
KERNEL(compact_starts, CompactParams, 1024, 1) {
    uint32_t* sums = shared_memory<uint32_t>(); // [2, 32]
    const uint32_t stride = 4 * block_threads();
    uint32_t carried = 0, round = 0;
    uint4 next = four_counts(p, 4 * thread_index());
    for (uint32_t first = 0; first < p.images; first += stride, round ^= 1) {
        const uint32_t at = first + 4 * thread_index();
        const uint4 count = next;
        // On its way while this round's sums are made.
        next = four_counts(p, at + stride);
        const uint32_t mine = count.x + count.y + count.z + count.w;
        const uint32_t up_to_me = sum_up_to(mine);
        // Two rows in turn: whoever writes one again has passed the barrier after which all had read it.
        if (lane() == 31) sums[32 * round + warp()] = up_to_me;
        block_barrier();
        const uint32_t of_warp = sums[32 * round + lane()], up_to_warp = sum_up_to(of_warp);
        uint4 start;
        start.x = carried + shuffle(up_to_warp - of_warp, warp()) + up_to_me - mine;
        start.y = start.x + count.x;
        start.z = start.y + count.y;
        start.w = start.z + count.z;
        if (at + 4 <= p.images) {
            *reinterpret_cast<uint4*>(p.starts + at) = start;
        } else {
            if (at < p.images) p.starts[at] = start.x;
            if (at + 1 < p.images) p.starts[at + 1] = start.y;
            if (at + 2 < p.images) p.starts[at + 2] = start.z;
        }
        carried += shuffle(up_to_warp, 31);
    }
    if (thread_index() == 0) p.starts[p.images] = carried;
}

KERNEL(compact_pixels, CompactParams, 128, 8) {
    // Of each warp: 32 pixels a word, and how many pixels are in the words before it.
    const uint32_t words = 32 * divide_up(p.pixels, 1024);
    uint32_t* bits = reinterpret_cast<uint32_t*>(shared_memory<unsigned char>() + warp() * words * 6);
    uint16_t* before = reinterpret_cast<uint16_t*>(bits + words);
    const uint32_t image = block_index() * (block_threads() / 32) + warp();
    if (image >= p.images) return;
    const uint32_t count = p.counts[image], start = p.starts[image];
    if (count == 0) return;
    const uint16_t* pixel = p.slot_pixel + static_cast<size_t>(image) * p.pixels;
    const float* value = p.slot_value + static_cast<size_t>(image) * p.pixels;

    for (uint32_t word = lane(); word < words; word += 32) bits[word] = 0;
    warp_barrier();
    // Pixels are distinct: to add a bit is to set it, in whatever order.
    for (uint32_t i = lane(); i < count; i += 32) atomic_add(&bits[pixel[i] / 32], 1u << pixel[i] % 32);
    warp_barrier();
    uint32_t carried = 0;
    for (uint32_t word = lane(); word < words; word += 32) {
        const uint32_t mine = count_ones(bits[word]), up_to_me = sum_up_to(mine);
        before[word] = static_cast<uint16_t>(carried + up_to_me - mine);
        carried += shuffle(up_to_me, 31);
    }
    warp_barrier();
    for (uint32_t i = lane(); i < count; i += 32) {
        const uint32_t smaller = bits[pixel[i] / 32] & ((1u << pixel[i] % 32) - 1);
        const uint32_t to = start + before[pixel[i] / 32] + count_ones(smaller);
        p.out_pixel[to] = pixel[i];
        p.out_value[to] = value[i];
    }
}
