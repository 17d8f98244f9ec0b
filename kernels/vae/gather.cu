// A batch of a VAE in training: images out of the resident ones, as the networks read them. A block an image.
//
//   Launcher  src/families/vae/cuda/ops/gather.rs
#include "batch.cuh"

struct VaeGatherParams {
    const uint64_t* start;    // entries of resident image i: start[i] .. start[i + 1]
    const uint16_t* pixel;    // of each entry
    const float* value;       // of each entry, units of the loss
    const float* conditions;  // [resident images, told]
    BatchRows batch;
    bf16* input;   // [images, pixels, channels]: pixel, conditions, zeros; NULL: not wanted
    bf16* lonely;  // [images, pixels, LONELY]: pixel, zeros; NULL: not wanted
    float* target; // [images, pixels]; NULL: not wanted
    bf16* code;    // [images, code_pitch]: conditions from `latents` on, then zeros; NULL: not wanted
    uint32_t images, pixels, told;
    uint32_t channels;  // a multiple of 8
    uint32_t latents, code_pitch;
};
static_assert(sizeof(VaeGatherParams) == 112, "as in src/families/vae/cuda/ops/gather.rs");

KERNEL(vae_gather, VaeGatherParams, 128, 8) {
    const uint32_t image = block_index(), row = p.batch.row(image, p.images);
    const float* told = p.conditions + static_cast<uint64_t>(row) * p.told;
    const uint64_t first = static_cast<uint64_t>(image) * p.pixels;
    bf16* input = p.input == nullptr ? nullptr : p.input + first * p.channels;
    bf16* lonely = p.lonely == nullptr ? nullptr : p.lonely + first * LONELY;
    float* target = p.target == nullptr ? nullptr : p.target + first;
    const uint32_t pieces = p.channels / 8;
    for (uint32_t i = thread_index(); input != nullptr && i < p.pixels * pieces; i += block_threads()) {
        const uint32_t channel = i % pieces * 8;
        const auto at = [&](uint32_t c) { return c >= 1 && c <= p.told ? told[c - 1] : 0.0f; };
        const auto pair = [&](uint32_t c) { return pack_bf16(at(channel + c), at(channel + c + 1)); };
        *reinterpret_cast<uint4*>(input + i * 8) = make_uint4(pair(0), pair(2), pair(4), pair(6));
    }
    for (uint32_t i = thread_index(); i < p.pixels; i += block_threads()) {
        if (target != nullptr) target[i] = 0.0f;
        if (lonely != nullptr) *reinterpret_cast<uint4*>(lonely + i * LONELY) = make_uint4(0, 0, 0, 0);
    }
    for (uint32_t i = p.latents + thread_index(); p.code != nullptr && i < p.code_pitch; i += block_threads())
        p.code[static_cast<uint64_t>(image) * p.code_pitch + i] = to_bf16(i < p.latents + p.told ? told[i - p.latents] : 0.0f);
    block_barrier();
    const uint64_t end = p.start[row + 1];
    for (uint64_t entry = p.start[row] + thread_index(); entry < end; entry += block_threads()) {
        const uint32_t pixel = p.pixel[entry];
        const float value = p.value[entry];
        if (target != nullptr) target[pixel] = value;
        if (input != nullptr) input[pixel * p.channels] = to_bf16(value);
        if (lonely != nullptr) lonely[pixel * LONELY] = to_bf16(value);
    }
}
