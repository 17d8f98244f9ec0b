// Codes in training: drawn from what the encoder says of an image, and derivatives back through them. A thread an image.
//
//   Computes  z = m + e^(v / 2) noise,  divergence 1/2 sum (e^v + m^2 - 1 - v);  m means, v log variances
//   Launcher  src/families/vae/cuda/ops/latent.rs
#include "batch.cuh"

struct LatentParams {
    BatchRows batch;
    const float* codes;     // [images, pitch]: means, log variances
    bf16* input;            // [images, input_pitch], of the decoder: the codes come first
    float* cost;            // [images]: divergence times weight
    const float* by_input;  // like `input`: derivatives of the loss
    bf16* delta;            // like `codes`: likewise, of the mean over the batch; zeros behind
    uint32_t images, latents, pitch, input_pitch;
    float weight;           // of the divergence
    float scale;            // one over the images
};
static_assert(sizeof(LatentParams) == 88, "as in src/families/vae/cuda/ops/latent.rs");

DEVICE float2 noise(const LatentParams& p, uint32_t row, uint32_t pair) {
    uint32_t words[3];
    training_words(p.batch.stream(), row, pair, words);
    return normal_pair(words);
}

KERNEL(vae_latent, LatentParams, 64, 8) {
    const uint32_t image = block_index() * block_threads() + thread_index();
    if (image >= p.images) return;
    const uint32_t row = p.batch.row(image, p.images);
    const float* code = p.codes + static_cast<uint64_t>(image) * p.pitch;
    bf16* input = p.input + static_cast<uint64_t>(image) * p.input_pitch;
    float cost = 0.0f;
    const auto draw = [&](uint32_t i, float normal) {
        const float m = code[i], v = code[p.latents + i];
        input[i] = to_bf16(fmaf(expf(0.5f * v), normal, m));
        // e^v - 1 - v loses its digits where v is small, but they are then no part of the sum's.
        cost += 0.5f * (expf(v) + m * m - 1.0f - v);
    };
    for (uint32_t pair = 0; 2 * pair < p.latents; pair++) {
        const float2 normal = noise(p, row, pair);
        draw(2 * pair, normal.x);
        if (2 * pair + 1 < p.latents) draw(2 * pair + 1, normal.y);
    }
    p.cost[image] = p.weight * cost;
}

KERNEL(vae_latent_delta, LatentParams, 64, 8) {
    const uint32_t image = block_index() * block_threads() + thread_index();
    if (image >= p.images) return;
    const uint32_t row = p.batch.row(image, p.images);
    const float* code = p.codes + static_cast<uint64_t>(image) * p.pitch;
    const float* by_input = p.by_input + static_cast<uint64_t>(image) * p.input_pitch;
    bf16* delta = p.delta + static_cast<uint64_t>(image) * p.pitch;
    const float of_divergence = p.weight * p.scale;
    const auto back = [&](uint32_t i, float normal) {
        const float m = code[i], v = code[p.latents + i], by_z = by_input[i];
        delta[i] = to_bf16(fmaf(of_divergence, m, by_z));
        delta[p.latents + i] = to_bf16(0.5f * (by_z * normal * expf(0.5f * v) + of_divergence * (expf(v) - 1.0f)));
    };
    for (uint32_t pair = 0; 2 * pair < p.latents; pair++) {
        const float2 normal = noise(p, row, pair);
        back(2 * pair, normal.x);
        if (2 * pair + 1 < p.latents) back(2 * pair + 1, normal.y);
    }
    for (uint32_t i = 2 * p.latents; i < p.pitch; i++) delta[i] = to_bf16(0.0f);
}
