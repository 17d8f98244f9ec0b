// What the decoder's last layer costs, and derivatives by what it gives. A block an image.
//
//   Bernoulli  - sum t ln q + (1 - t) ln(1 - q), t = min(x, 1), q = p held between EDGE and 1 - EDGE: src/families/vae/pass.rs
//   Mixture    -ln p of the pixels, a gate and a mixture of truncated logistics each; of images that are told their total seen at a scale:
//              src/families/vae/total.rs
//   Launcher   src/families/vae/cuda/ops/loss.rs
#include "batch.cuh"
#include "common/likelihood.cuh"

// How near to 0 and 1 a pixel's chance comes: EDGE of src/families/vae/pass.rs
constexpr float EDGE = 1e-7f;
// How far the logarithm of a scale goes, over the root of the pixels and at the most; items from SCALES on draw it:
// src/families/vae/total.rs
constexpr float SPREAD = 2.0f, WIDEST = 0.5f;
constexpr uint32_t SCALES = 1u << 31;

struct BernoulliParams {
    const float* output;       // [images, pixels, LONELY], one channel used
    const float* target;       // [images, pixels], units of the loss
    float* cost;               // [images]: the term times weight
    bf16* picture;             // like `output`, for the classifier; NULL: not wanted
    const float* by_features;  // like `output`: derivatives of the perceptual term; NULL: zeros
    bf16* delta;               // like `output`: derivatives of the mean loss by the sums under the ReLU
    uint32_t images, pixels;
    float weight, scale;       // of the term; one over the images
};
static_assert(sizeof(BernoulliParams) == 64, "as in src/families/vae/cuda/ops/loss.rs");

KERNEL(vae_bernoulli, BernoulliParams, 128, 8) {
    const uint64_t first = static_cast<uint64_t>(block_index()) * p.pixels;
    float cost = 0.0f;
    for (uint32_t i = thread_index(); i < p.pixels; i += block_threads()) {
        const float x = p.target[first + i], made = p.output[(first + i) * LONELY];
        const float q = fminf(fmaxf(made, EDGE), 1.0f - EDGE), t = fminf(x, 1.0f);
        cost -= t > 0.0f ? t * logf(q) + (1.0f - t) * log1pf(-q) : log1pf(-q);
        // What is no number must not become one.
        cost += made * 0.0f;
        if (p.picture != nullptr)
            *reinterpret_cast<uint4*>(p.picture + (first + i) * LONELY) = make_uint4(pack_bf16(made, 0.0f), 0, 0, 0);
    }
    const float sum = block_sum(cost, shared_memory<float>());
    if (thread_index() == 0) p.cost[block_index()] = p.weight * sum;
}

KERNEL(vae_bernoulli_delta, BernoulliParams, 128, 8) {
    const uint64_t first = static_cast<uint64_t>(block_index()) * p.pixels;
    for (uint32_t i = thread_index(); i < p.pixels; i += block_threads()) {
        const float x = p.target[first + i], made = p.output[(first + i) * LONELY];
        float by_made = p.by_features == nullptr ? 0.0f : p.by_features[(first + i) * LONELY];
        if (made >= EDGE && made <= 1.0f - EDGE) by_made += p.weight * p.scale * (made - fminf(x, 1.0f)) / (made * (1.0f - made));
        // What is no number stays none.
        const float delta = made <= 0.0f ? 0.0f : by_made + made * 0.0f;
        *reinterpret_cast<uint4*>(p.delta + (first + i) * LONELY) = make_uint4(pack_bf16(delta, 0.0f), 0, 0, 0);
    }
}

struct VaeMixtureParams {
    BatchRows batch;
    const float* output;  // [images, pixels, pitch]: gate, then logits, means and log scales of the components
    const float* target;  // [images, pixels], units of the loss
    float* cost;          // [images]
    bf16* delta;          // like `output`: derivatives of the mean loss; zeros behind. NULL: not wanted
    uint32_t images, pixels, pitch;  // pitch: a multiple of 8
    uint32_t components;
    uint32_t is_told;     // whether images are told their total
    float unit;           // GeV, of the loss
    float scale;          // one over the images
    // As `MixtureRange` of common/draw.cuh has them.
    float inverse_unit, log_unit, upper, origin, lower;
};
static_assert(sizeof(VaeMixtureParams) == 104, "as in src/families/vae/cuda/ops/loss.rs");

// Sums of exponentials, the largest of which counts as 1.
struct LogSum {
    float largest = -INFINITY, sum = 0.0f;

    DEVICE void add(float log) {
        const float most = fmaxf(largest, log);
        // The first ones of all may be as small as there are.
        sum = most == -INFINITY ? 0.0f : sum * expf(largest - most) + expf(log - most);
        largest = most;
        if (!(log == log)) sum = log;
    }
    DEVICE float log() const { return largest + logf(sum); }
};

// -ln of the density of a pixel of x GeV, x > 0, and derivatives by its numbers, each times `scale`, where they are wanted.
DEVICE float mixture_cost(const VaeMixtureParams& p, float x, const float* numbers, bf16* delta) {
    const uint32_t k = p.components;
    MixturePixel pixel{x * p.inverse_unit, p.upper};
    float log_unit = p.log_unit;
    if (p.lower > 0.0f) {
        const float bend = log_of_missing(pixel.y);
        pixel.y += bend + p.origin;
        log_unit += bend;
    }
    LogSum all, joint;
    for (uint32_t c = 0; c < k; c++) {
        const Logistic logistic = truncated_logistic(pixel, numbers[k + c] + p.origin, numbers[2 * k + c]);
        all.add(numbers[c]);
        joint.add(numbers[c] + logistic.log_density);
    }
    const float log_all = all.log(), log_joint = joint.log();
    if (delta != nullptr) {
        for (uint32_t c = 0; c < k; c++) {
            const Logistic logistic = truncated_logistic(pixel, numbers[k + c] + p.origin, numbers[2 * k + c]);
            const float responsibility = expf(numbers[c] + logistic.log_density - log_joint), scaled = -p.scale * responsibility;
            delta[c] = to_bf16(p.scale * (expf(numbers[c] - log_all) - responsibility));
            delta[k + c] = to_bf16(scaled * logistic.by_mean);
            delta[2 * k + c] = to_bf16(scaled * logistic.by_log_scale);
        }
    }
    return log_all - log_joint + log_unit;
}

KERNEL(vae_mixture, VaeMixtureParams, 128, 4) {
    float* work = shared_memory<float>();                                 // a number a thread
    uint32_t* in_warp = reinterpret_cast<uint32_t*>(work + block_threads());  // [2, 32]
    uint16_t* open = reinterpret_cast<uint16_t*>(in_warp + 64);              // [pixels]
    const uint32_t image = block_index();
    const uint64_t first = static_cast<uint64_t>(image) * p.pixels;
    const float* target = p.target + first;
    const float* output = p.output + first * p.pitch;
    bf16* delta = p.delta == nullptr ? nullptr : p.delta + first * p.pitch;
    float cost = 0.0f, total = 0.0f;
    uint32_t found = 0, round = 0;
    for (uint32_t start = 0; start < p.pixels; start += block_threads(), round ^= 1) {
        const uint32_t pixel = start + thread_index();
        const float x = pixel < p.pixels ? target[pixel] : 0.0f;
        const bool positive = x > 0.0f;
        total += x;
        if (pixel < p.pixels) {
            const GateCost gate = gate_cost(output[static_cast<uint64_t>(pixel) * p.pitch], positive);
            cost += gate.cost;
            if (delta != nullptr) {
                bf16* to = delta + static_cast<uint64_t>(pixel) * p.pitch;
                for (uint32_t i = 0; i < p.pitch; i += 8) *reinterpret_cast<uint4*>(to + i) = make_uint4(0, 0, 0, 0);
                *to = to_bf16(gate.slope * p.scale);
            }
        }
        // Two rows in turn: whoever writes one again has passed the barrier after which all had read it.
        const uint32_t at = place(positive, in_warp + 32 * round, found);
        if (positive) open[at] = static_cast<uint16_t>(pixel);
    }
    block_barrier();
    float log_scale = 0.0f, beside = 0.0f;
    if (p.is_told != 0 && found > 0) {
        const float sum = block_sum(total, work), count = static_cast<float>(found);
        block_barrier();
        const float most = fminf(SPREAD / sqrtf(count), WIDEST);
        uint32_t words[3];
        training_words(p.batch.stream(), p.batch.row(image, p.images), SCALES, words);
        log_scale = (2.0f * whole_unit(words[0]) - 1.0f) * most;
        beside = logf(sum * p.unit) + count * log_scale + logf(2.0f * most);
    }
    const float unit = p.unit * expf(log_scale);
    for (uint32_t i = thread_index(); i < found; i += block_threads()) {
        const uint64_t at = static_cast<uint64_t>(open[i]) * p.pitch + 1;
        cost += mixture_cost(p, target[open[i]] * unit, output + at, delta == nullptr ? nullptr : delta + at);
    }
    const float sum = block_sum(cost, work);
    if (thread_index() == 0) p.cost[image] = sum - beside;
}
