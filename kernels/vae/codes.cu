// What the decoder is given: an image's code and conditions, side by side, as bf16.
//
// A code is normal numbers, those of `normals` of src/random.rs but for rounding, or one that the host sends. A thread a pair.
#include "common/philox.cuh"

struct CodesParams {
    const float* codes;       // [images, latents]; NULL: normal numbers
    const float* conditions;  // [condition rows, conditions]; image i has row i % rows
    bf16* output;             // [images, pitch]: latents, conditions, zeros
    uint64_t first_image;
    uint64_t condition_rows;  // at least 1
    uint32_t images, latents, conditions_each;
    uint32_t pitch;           // even
    uint32_t seed_low, seed_high;
};
static_assert(sizeof(CodesParams) == 64, "as in src/families/vae/cuda/ops/codes.rs");

KERNEL(vae_codes, CodesParams, 128, 8) {
    const uint32_t pairs = p.pitch / 2;
    const uint64_t thread = static_cast<uint64_t>(block_index()) * block_threads() + thread_index();
    const uint32_t image = static_cast<uint32_t>(thread / pairs), pair = static_cast<uint32_t>(thread % pairs);
    if (image >= p.images) return;
    const uint64_t number = p.first_image + image;
    float2 drawn = make_float2(0.0f, 0.0f);
    if (p.codes == nullptr && 2 * pair < p.latents) {
        uint32_t words[3];
        philox(p.seed_low, p.seed_high, number, pair, words);
        drawn = normal_pair(words);
    }
    const float* told = p.conditions + number % p.condition_rows * p.conditions_each;
    const auto value = [&](uint32_t i, float normal) {
        if (i < p.latents) return p.codes == nullptr ? normal : p.codes[static_cast<uint64_t>(image) * p.latents + i];
        return i < p.latents + p.conditions_each ? told[i - p.latents] : 0.0f;
    };
    uint32_t* to = reinterpret_cast<uint32_t*>(p.output + static_cast<uint64_t>(image) * p.pitch);
    to[pair] = pack_bf16(value(2 * pair, drawn.x), value(2 * pair + 1, drawn.y));
}
