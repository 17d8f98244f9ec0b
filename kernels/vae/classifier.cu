// What the classifier of a VAE has beside its layers: numbers that are left out while it learns, and the cross entropy.
//
//   Launcher  src/families/vae/cuda/ops/classifier.rs
#include "batch.cuh"

struct DropoutParams {
    BatchRows batch;  // the step; its rows are not read
    bf16* values;     // [images, pixels, channels_up]: what a layer gave, or derivatives by its sums
    uint64_t numbers; // of the batch, those that nobody has among them
    uint32_t channels, channels_up;
    uint32_t layer;
    float rate;       // the fraction that is left out
    uint64_t seed;    // of the training
};
static_assert(sizeof(DropoutParams) == 64, "as in src/families/vae/cuda/ops/classifier.rs");

// The same numbers are left out in both directions: by chance that depends on a number's place in the batch. A thread has 4 of them,
// neighbours in memory, which need not be neighbours among those that somebody has.
KERNEL(vae_dropout, DropoutParams, 128, 8) {
    const uint64_t first = (static_cast<uint64_t>(block_index()) * block_threads() + thread_index()) * 4;
    if (first >= p.numbers) return;
    const uint64_t step = *p.batch.before + *p.batch.cursor + 1, seed = p.seed ^ (step << 32 | step >> 32);
    const float kept = 1.0f / (1.0f - p.rate);
    uint32_t words[4];
    uint64_t drawn = ~0ull;
    for (uint32_t i = 0; i < 4; i++) {
        const uint64_t pixel = (first + i) / p.channels_up, channel = (first + i) % p.channels_up;
        if (channel >= p.channels) continue;
        const uint64_t place = pixel * p.channels + channel;
        if (place / 4 != drawn) {
            drawn = place / 4;
            philox(static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32), drawn, p.layer, words, PURPOSE_DROPOUT);
        }
        // No index into registers.
        const uint32_t k = place % 4, word = k == 0 ? words[0] : k == 1 ? words[1] : k == 2 ? words[2] : words[3];
        bf16& value = p.values[first + i];
        value = to_bf16(unit(word) < p.rate ? 0.0f : to_float(value) * kept);
    }
}

struct CrossEntropyParams {
    BatchRows batch;
    const uint32_t* classes;  // [resident images]: 0 or 1
    const float* odds;        // [images, LONELY]: the logarithm of the odds of class 1; one channel is used
    float* cost;              // [images], nats
    float* right;             // [images]: whether the likelier class is the image's, 1 or 0
    bf16* delta;              // like `odds`: derivatives of the mean; NULL: not wanted
    uint32_t images;
    float scale;              // one over the images
};
static_assert(sizeof(CrossEntropyParams) == 72, "as in src/families/vae/cuda/ops/classifier.rs");

KERNEL(vae_cross_entropy, CrossEntropyParams, 128, 8) {
    const uint32_t image = block_index() * block_threads() + thread_index();
    if (image >= p.images) return;
    const bool is = p.classes[p.batch.row(image, p.images)] != 0;
    const float odds = p.odds[static_cast<uint64_t>(image) * LONELY], against = is ? -odds : odds;
    p.cost[image] = fmaxf(against, 0.0f) + log1pf(expf(-fabsf(against))) + odds * 0.0f;
    p.right[image] = (odds > 0.0f) == is ? 1.0f : 0.0f;
    if (p.delta == nullptr) return;
    const float chance = 1.0f / (1.0f + expf(-odds)), delta = p.scale * (chance - (is ? 1.0f : 0.0f));
    *reinterpret_cast<uint4*>(p.delta + static_cast<uint64_t>(image) * LONELY) = make_uint4(pack_bf16(delta, 0.0f), 0, 0, 0);
}
