// The decoder's last layer, a convolution with windows of 4 x 4 and no padding, and what becomes of it: pixels, or the pixels
// that a gate opens, drawn of a mixture of logistics. A block an image.
//
//   First channel  one number of a pixel would be one column of a product. So each input pixel is multiplied by the 16 places of
//                  the window, a column each, and an output adds up 16 of these numbers, in the order of the places
//   Others         of a sparse decoder: 16 open pixels are the rows of a product, their windows its terms
//   Totals         an image that is told one is scaled to it: all of its pixels times one factor; those that come too small are
//                  zeros, for which the others make up
//   Leaves         the nonzero pixels of an image, in the order of the pixels, in its slot
//   Launcher       src/families/vae/cuda/ops/pixels.rs
#include "common/block.cuh"
#include "common/draw.cuh"
#include "common/philox.cuh"

// Rows and columns of the window, and its places.
constexpr uint32_t SIDE = 4, PLACES = SIDE * SIDE;
// A row of products in shared memory: 2 more than it needs, so that neighbouring pixels lie in different banks.
constexpr uint32_t PRODUCTS_PITCH = PLACES + 2;
// Open pixels that a warp looks at together.
constexpr uint32_t ROWS = 16;
// Items of the counter from here on draw pixels: PIXELS of src/families/vae/sampler.rs
constexpr uint32_t PIXELS = 1u << 20;

struct PixelsParams {
    const bf16* input;      // [images, height, width, channels]
    const bf16* first;      // [PLACES, channels]: the weights of the first channel
    const bf16* weights;    // sparse: [numbers_up, PLACES, channels], of the others; zeros past `numbers`
    const float* bias;      // [1 + numbers_up], the first channel's first
    uint16_t* slot_pixel;   // [images, pixels]
    float* slot_value;      // [images, pixels]
    uint32_t* counts;       // [images]
    const float2* totals;   // [condition rows] GeV, and what is nothing; NULL: no total is told. Image i has row i % rows
    uint64_t condition_rows;
    uint64_t first_image;
    uint32_t height, width; // of the input; an image has 3 less of each
    uint32_t channels;      // a multiple of 16
    uint32_t components;    // of a mixture; 0: the first channel is the pixel
    uint32_t numbers_up;    // 3 components, and up to a multiple of 8
    uint32_t seed_low, seed_high;
    float unit;             // GeV
    float smallest;         // GeV: pixels below are zeros, where the first channel is the pixel or the image is told a total
    // As `MixtureRange` of draw.cuh has them.
    float upper, largest, origin, lower;
    uint32_t room;          // numbers of shared memory for products, or mixtures
};
static_assert(sizeof(PixelsParams) == 136, "as in src/families/vae/cuda/ops/pixels.rs");

// Two channels side by side.
DEVICE uint32_t load_pair(const bf16* from) { return *reinterpret_cast<const uint32_t*>(from); }

// Of 8 outputs a warp's fragment of weights [outputs, pitch], terms from `term` on.
DEVICE void load_weights(uint32_t (&b)[2], const bf16* weights, uint32_t pitch, uint32_t output, uint32_t term) {
    const bf16* at = weights + static_cast<uint64_t>(output + lane() / 4) * pitch + term + lane() % 4 * 2;
    b[0] = load_pair(at), b[1] = load_pair(at + 8);
}

// Products of each input pixel with each place of the window.
DEVICE void multiply_places(const PixelsParams& p, const bf16* input, float* products) {
    const uint32_t pixels = p.height * p.width;
    for (uint32_t first = warp() * 16; first < pixels; first += block_threads() / 32 * 16) {
        const uint32_t row = first + lane() / 4;
        float sum[2][4] = {};
        for (uint32_t term = 0; term < p.channels; term += 16) {
            const uint32_t column = term + lane() % 4 * 2;
            const bf16* at = input + static_cast<uint64_t>(row) * p.channels + column;
            const bool above = row < pixels, below = row + 8 < pixels;
            const uint32_t a[4] = {above ? load_pair(at) : 0, below ? load_pair(at + 8 * p.channels) : 0,
                                   above ? load_pair(at + 8) : 0, below ? load_pair(at + 8 * p.channels + 8) : 0};
#pragma unroll
            for (uint32_t n = 0; n < 2; n++) {
                uint32_t b[2];
                load_weights(b, p.first, p.channels, n * 8, term);
                multiply_accumulate(sum[n], a, b);
            }
        }
#pragma unroll
        for (uint32_t n = 0; n < 2; n++) {
            float* to = products + row * PRODUCTS_PITCH + n * 8 + lane() % 4 * 2;
            if (row < pixels) *reinterpret_cast<float2*>(to) = make_float2(sum[n][0], sum[n][1]);
            if (row + 8 < pixels) *reinterpret_cast<float2*>(to + 8 * PRODUCTS_PITCH) = make_float2(sum[n][2], sum[n][3]);
        }
    }
}

// A mixture for each of up to ROWS open pixels, `open`, and a pixel of each. The whole warp. `numbers`: [ROWS, pitch].
DEVICE void draw_open(const PixelsParams& p, const bf16* input, const uint16_t* open, uint32_t count, float* numbers,
                      uint32_t image, uint16_t* slot_pixel, float* slot_value) {
    const uint32_t across = p.width - (SIDE - 1), pitch = p.numbers_up + 2;
    const bf16* at[2];
#pragma unroll
    for (uint32_t half = 0; half < 2; half++) {
        const uint32_t row = half * 8 + lane() / 4, pixel = open[row < count ? row : 0];
        at[half] = input + static_cast<uint64_t>(pixel / across * p.width + pixel % across) * p.channels + lane() % 4 * 2;
    }
    const uint32_t terms = PLACES * p.channels;
    for (uint32_t output = 0; output < p.numbers_up; output += 8) {
        float sum[4] = {};
        for (uint32_t place = 0; place < PLACES; place++) {
            const uint32_t from = (place / SIDE * p.width + place % SIDE) * p.channels;
            for (uint32_t channel = 0; channel < p.channels; channel += 16) {
                const uint32_t a[4] = {load_pair(at[0] + from + channel), load_pair(at[1] + from + channel),
                                       load_pair(at[0] + from + channel + 8), load_pair(at[1] + from + channel + 8)};
                uint32_t b[2];
                load_weights(b, p.weights, terms, output, place * p.channels + channel);
                multiply_accumulate(sum, a, b);
            }
        }
        const uint32_t column = output + lane() % 4 * 2;
        const float low = p.bias[1 + column], high = p.bias[2 + column];
        float* to = numbers + lane() / 4 * pitch + column;
        *reinterpret_cast<float2*>(to) = make_float2(sum[0] + low, sum[1] + high);
        *reinterpret_cast<float2*>(to + 8 * pitch) = make_float2(sum[2] + low, sum[3] + high);
    }
    warp_barrier();
    if (lane() < count) {
        const uint32_t pixel = open[lane()];
        const float* mine = numbers + lane() * pitch;
        // What is no number comes out as none, so that whoever takes the pixels finds it.
        float nothing = 0.0f;
        for (uint32_t i = 0; i < 3 * p.components; i++) nothing += mine[i] * 0.0f;
        uint32_t words[3];
        philox(p.seed_low, p.seed_high, p.first_image + image, PIXELS + pixel, words);
        const MixtureRange range(p.unit, p.upper, p.largest, p.origin, p.lower, INFINITY);
        const auto number = [&](uint32_t i) { return mine[i]; };
        slot_pixel[lane()] = static_cast<uint16_t>(pixel);
        slot_value[lane()] = nothing + draw_mixture(number, p.components, range, unit(words[1]), unit(words[2]));
    }
    // The numbers are of the next ones from here on.
    warp_barrier();
}

// The place of the least number, the first such place, of those that each thread has found: the whole block. `work`: two numbers a thread; a
// barrier must stand before it is used again.
DEVICE uint32_t least(float number, uint32_t place, float* work) {
    uint32_t* places = reinterpret_cast<uint32_t*>(work + block_threads());
    work[thread_index()] = number, places[thread_index()] = place;
    block_barrier();
    uint32_t best = 0;
    for (uint32_t i = 1; i < block_threads(); i++)
        if (work[i] < work[best] || (work[i] == work[best] && places[i] < places[best])) best = i;
    return places[best];
}

// Scale `count` pixels of an image to a sum of `total` GeV: the whole block, in one order of sums, each thread every so many of them. `work`: a
// number a thread; a barrier must stand before it is used again, and before a thread reads another's pixels.
DEVICE void scale_to(float* values, uint32_t count, float total, float* work) {
    float sum = 0.0f;
    for (uint32_t i = thread_index(); i < count; i += block_threads()) sum += values[i];
    const float factor = total / block_sum(sum, work);
    for (uint32_t i = thread_index(); i < count; i += block_threads()) values[i] *= factor;
}

// Bring an image of `count` pixels, at least one, to a sum of `total` GeV: the whole block. Pixels that come below `smallest` are left out, and
// the others take what they had; of none but such, the largest takes all. The number that are left. `in_warp`: [2, 32]; `work`: two numbers a
// thread.
DEVICE uint32_t bring_to(uint16_t* pixels, float* values, uint32_t count, float total, float smallest, uint32_t* in_warp, float* work) {
    scale_to(values, count, total, work);
    uint32_t found = 0, round = 0;
    for (uint32_t first = 0; first < count; first += block_threads(), round ^= 1) {
        const uint32_t i = first + thread_index();
        const uint16_t pixel = i < count ? pixels[i] : 0;
        const float value = i < count ? values[i] : 0.0f;
        // What is no number stays, so that whoever takes the pixels finds it.
        const bool kept = i < count && !(value < smallest);
        // Before the barrier in there all have read what is overwritten after it: nobody moves to the right.
        const uint32_t at = place(kept, in_warp + 32 * round, found);
        if (kept) pixels[at] = pixel, values[at] = value;
    }
    block_barrier();
    if (found == count) return count;
    if (found == 0) {
        float turned = INFINITY;
        uint32_t largest = 0;
        for (uint32_t i = thread_index(); i < count; i += block_threads())
            if (-values[i] < turned) turned = -values[i], largest = i;
        largest = least(turned, largest, work);
        if (thread_index() == 0) pixels[0] = pixels[largest], values[0] = values[largest];
        found = 1;
        block_barrier();
    }
    scale_to(values, found, total, work);
    return found;
}

KERNEL(vae_pixels, PixelsParams, 128, 4) {
    const uint32_t image = block_index(), warps = block_threads() / 32, inputs = p.height * p.width;
    const uint32_t across = p.width - (SIDE - 1), pixels = (p.height - (SIDE - 1)) * across;
    float* products = shared_memory<float>();                             // [inputs, PRODUCTS_PITCH]
    uint32_t* in_warp = reinterpret_cast<uint32_t*>(products + p.room);  // [3, 32]
    uint16_t* open = reinterpret_cast<uint16_t*>(in_warp + 96);           // [pixels]
    const bf16* input = p.input + static_cast<uint64_t>(image) * inputs * p.channels;
    uint16_t* slot_pixel = p.slot_pixel + static_cast<uint64_t>(image) * pixels;
    float* slot_value = p.slot_value + static_cast<uint64_t>(image) * pixels;

    const float2 total = p.totals == nullptr ? make_float2(0.0f, 0.0f) : p.totals[(p.first_image + image) % p.condition_rows];
    // An image of nothing.
    if (p.totals != nullptr && total.x <= total.y) {
        if (thread_index() == 0) p.counts[image] = 0;
        return;
    }
    multiply_places(p, input, products);
    block_barrier();
    uint32_t found = 0, round = 0, lowest_pixel = 0;
    float lowest = INFINITY;
    bool wrong = false;
    for (uint32_t first = 0; first < pixels; first += block_threads(), round ^= 1) {
        const uint32_t pixel = first + thread_index();
        float sum = p.bias[0];
        if (pixel < pixels) {
            const float* from = products + (pixel / across * p.width + pixel % across) * PRODUCTS_PITCH;
#pragma unroll
            for (uint32_t place = 0; place < PLACES; place++)
                sum += from[(place / SIDE * p.width + place % SIDE) * PRODUCTS_PITCH + place];
        }
        bool kept;
        float value = 0.0f;
        if (p.components == 0) {
            value = (sum < 0.0f ? 0.0f : sum) * p.unit;
            // What is no number is kept, so that whoever takes the pixels finds it.
            kept = !(value < p.smallest || value == 0.0f);
        } else {
            uint32_t words[3];
            philox(p.seed_low, p.seed_high, p.first_image + image, PIXELS + pixel, words);
            kept = !(unit(words[0]) < sigmoid(sum));
            if (pixel < pixels && sum < lowest) lowest = sum, lowest_pixel = pixel;
            // A gate that opens and is no number, or is infinite.
            wrong = wrong || (pixel < pixels && kept && !(fabsf(sum) < INFINITY));
        }
        kept = kept && pixel < pixels;
        // Two rows in turn: whoever writes one again has passed the barrier after which all had read it.
        const uint32_t at = place(kept, in_warp + 32 * round, found);
        if (kept && p.components == 0) slot_pixel[at] = static_cast<uint16_t>(pixel), slot_value[at] = value;
        if (kept && p.components != 0) open[at] = static_cast<uint16_t>(pixel);
    }
    const uint32_t wrong_in_warp = vote(wrong);
    if (lane() == 0) in_warp[64 + warp()] = wrong_in_warp;
    // All gates are known, and nobody needs the products any more: other numbers take their place.
    block_barrier();
    for (uint32_t i = 0; i < warps; i++) wrong = wrong || in_warp[64 + i] != 0;
    if (p.totals != nullptr && found == 0) {
        // The likeliest to open.
        const uint32_t pixel = least(lowest, lowest_pixel, products);
        if (thread_index() == 0) open[0] = static_cast<uint16_t>(pixel);
        found = 1;
        block_barrier();
    }
    if (p.totals == nullptr && thread_index() == 0) p.counts[image] = found;
    if (p.components == 0) return;
    float* numbers = products + warp() * ROWS * (p.numbers_up + 2);
    for (uint32_t first = warp() * ROWS; first < found; first += warps * ROWS) {
        draw_open(p, input, open + first, min(found - first, ROWS), numbers, image, slot_pixel + first, slot_value + first);
    }
    // So that whoever takes the pixels finds it. This thread has drawn the first.
    if (wrong && thread_index() == 0) slot_value[0] = NAN;
    if (p.totals == nullptr) return;
    block_barrier();
    found = bring_to(slot_pixel, slot_value, found, total.x, p.smallest, in_warp, products);
    if (thread_index() == 0) p.counts[image] = found;
}
