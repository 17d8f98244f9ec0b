// The images of a batch, out of the resident data set (docs/kernels.md#gather_batch).
//
// One warp an image: zeros first, 16 bytes at a time, then conditions and positive pixels.

#include "common/device.cuh"
#include "target.cuh"

struct GatherParams {
    const uint64_t* start;  // [images + 1]
    const uint16_t* place;  // a positive pixel
    const bf16* shown;      // [channels] a positive pixel
    const uint32_t* target; // a positive pixel
    const float* limit;     // a positive pixel: `Mixture::limit`, of which the size is what is left before it; NULL: no total is known
    const uint32_t* certain; // [images] place from which on nothing is left, where `limit` is there
    const float* total;     // [images] GeV left at first; NULL: nobody asks what is left before a zero
    const bf16* conditions; // [images, condition_count]
    const uint32_t* rows;   // images of one batch after another
    const uint32_t* cursor; // which batch; NULL: the first
    bf16* shown_out;        // [batch, pitch]
    uint32_t* target_out;   // [batch, places]
    float* limit_out;       // [batch, places] of positive pixels; with `total` also of all others: what is left
    uint32_t batch, places, condition_count;
    uint32_t pitch;    // a multiple of 8
    uint32_t channels; // numbers shown of a pixel
    uint32_t padding;
};
static_assert(sizeof(GatherParams) == 128, "as in src/families/sarm/cuda/ops/gather.rs");

// The warp's share of zeros in `count` words, which need not begin nor end at 16 bytes.
DEVICE void zero(uint32_t* words, uint32_t count) {
    const uint32_t misaligned = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(words) / 4 % 4);
    const uint32_t head = min((4 - misaligned) % 4, count), vectors = (count - head) / 4;
    if (lane() < head) words[lane()] = 0;
    uint4* aligned = reinterpret_cast<uint4*>(words + head);
    for (uint32_t i = lane(); i < vectors; i += 32) aligned[i] = make_uint4(0, 0, 0, 0);
    const uint32_t done = head + vectors * 4;
    if (lane() < count - done) words[done + lane()] = 0;
}

// The warp: what is left before each zero of an image, where positive pixels have theirs. `left`: at first. In single precision,
// one pixel after another, as `Budget` of src/conditions/total.rs has it.
DEVICE void fill_left(float left, const uint32_t* target, float* limit, uint32_t places) {
    warp_barrier();
    for (uint32_t first = 0; first < places; first += 32) {
        const uint32_t place = first + lane();
        const uint32_t bits = place < places ? target[place] : 0;
        const float after = bits != 0 ? fabsf(limit[place]) - float_of_bits(bits) : 0.0f;
        const uint32_t positives = vote(bits != 0), earlier = positives & ((1u << lane()) - 1);
        // All lanes: that after the last positive pixel before this one, and after the last of all.
        const float given = shuffle(after, earlier != 0 ? highest_bit(earlier) : 0);
        const float last = shuffle(after, positives != 0 ? highest_bit(positives) : 0);
        if (place < places && bits == 0) limit[place] = earlier != 0 ? given : left;
        if (positives != 0) left = last;
    }
}

KERNEL(gather_batch, GatherParams, 128, 16) {
    const uint32_t image = block_index() * (block_threads() / 32) + warp();
    if (image >= p.batch) return;
    const size_t batch = p.cursor ? *p.cursor : 0;
    const size_t row = p.rows[batch * p.batch + image];
    const uint64_t start = p.start[row], end = p.start[row + 1];
    bf16* shown = p.shown_out + static_cast<size_t>(image) * p.pitch;
    uint32_t* target = p.target_out + static_cast<size_t>(image) * p.places;
    zero(reinterpret_cast<uint32_t*>(shown), p.pitch / 2);
    zero(target, p.places);
    // The zeros are there before anything is written over them.
    warp_barrier();
    for (uint32_t c = lane(); c < p.condition_count; c += 32) {
        shown[c] = p.conditions[row * p.condition_count + c];
    }
    for (uint64_t i = start + lane(); i < end; i += 32) {
        const uint32_t place = p.place[i];
        for (uint32_t c = 0; c < p.channels; c++) {
            shown[p.condition_count + place * p.channels + c] = p.shown[i * p.channels + c];
        }
        target[place] = p.target[i];
        if (p.limit) p.limit_out[static_cast<size_t>(image) * p.places + place] = p.limit[i];
    }
    if (!p.limit) return;
    if (p.total) fill_left(p.total[row], target, p.limit_out + static_cast<size_t>(image) * p.places, p.places);
    // Over what positive pixels may be there: too small to be told from rounding.
    warp_barrier();
    for (uint32_t place = p.certain[row] + lane(); place < p.places; place += 32) target[place] = CERTAIN;
}
