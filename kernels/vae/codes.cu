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

// A word as a number above 0 and up to 1, all of its bits used.
DEVICE float whole_unit(uint32_t word) { return fmaf(static_cast<float>(word), 1.0f / 4294967296.0f, 0.5f / 4294967296.0f); }

KERNEL(vae_codes, CodesParams, 128, 8) {
    const uint32_t pairs = p.pitch / 2;
    const uint64_t thread = static_cast<uint64_t>(block_index()) * block_threads() + thread_index();
    const uint32_t image = static_cast<uint32_t>(thread / pairs), pair = static_cast<uint32_t>(thread % pairs);
    if (image >= p.images) return;
    const uint64_t number = p.first_image + image;
    float drawn[2] = {0.0f, 0.0f};
    if (p.codes == nullptr && 2 * pair < p.latents) {
        uint32_t words[3];
        philox(p.seed_low, p.seed_high, number, pair, words);
        // Half a turn back, where the card's approximations are good to 1e-6, and round again by the sign.
        const float radius = -sqrtf(-2.0f * logf(whole_unit(words[0]))), angle = 6.2831853f * (whole_unit(words[2]) - 0.5f);
        drawn[0] = radius * fast_cos(angle), drawn[1] = radius * fast_sin(angle);
    }
    const float* told = p.conditions + number % p.condition_rows * p.conditions_each;
    const auto value = [&](uint32_t i, float normal) {
        if (i < p.latents) return p.codes == nullptr ? normal : p.codes[static_cast<uint64_t>(image) * p.latents + i];
        return i < p.latents + p.conditions_each ? told[i - p.latents] : 0.0f;
    };
    uint32_t* to = reinterpret_cast<uint32_t*>(p.output + static_cast<uint64_t>(image) * p.pitch);
    to[pair] = pack_bf16(value(2 * pair, drawn[0]), value(2 * pair + 1, drawn[1]));
}
