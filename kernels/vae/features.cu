// The perceptual term of one layer of the classifier: sum |F(p) - F(x)|^2 / (2 N) over the N numbers of an image, and derivatives by F(p).
// A block an image.
//
//   Launcher  src/families/vae/cuda/ops/features.rs
#include "batch.cuh"

struct FeaturesParams {
    const float* of_true;  // [images, numbers]
    const float* of_made;  // likewise
    float* cost;           // [images]: the term times weight
    bf16* delta;           // like them: derivatives of the mean loss; NULL: not wanted
    uint32_t images;
    uint32_t numbers;      // those of channels that nobody has among them, which are 0
    float weight;          // over 2 N
    float by;              // weight over N and the images
    float slope;           // of the layer's activation, to be gone through; 1: it is not
    uint32_t unused;
};
static_assert(sizeof(FeaturesParams) == 56, "as in src/families/vae/cuda/ops/features.rs");

KERNEL(vae_features, FeaturesParams, 128, 8) {
    const uint64_t first = static_cast<uint64_t>(block_index()) * p.numbers;
    float squares = 0.0f;
    for (uint32_t i = thread_index(); i < p.numbers; i += block_threads()) {
        const float made = p.of_made[first + i], difference = made - p.of_true[first + i];
        squares += difference * difference;
        if (p.delta != nullptr) p.delta[first + i] = to_bf16(p.by * difference * (made > 0.0f ? 1.0f : p.slope));
    }
    const float sum = block_sum(squares, shared_memory<float>());
    if (thread_index() == 0) p.cost[block_index()] = p.weight * sum;
}
