// What slices of a batch say of the weights of convolutions and dense layers, added up, and a step of Adam (adam.cuh).
//
//   Layers    all that learn, one after another; of each, the slices that convolution_weights.cu writes
//   Writes    values, moments, bf16 copies of the weights in the order of the layer's products and in that of its derivatives'; or gradients
//   Order     slices are added one after another: the bits hang on their number alone
//   Launcher  src/device/cuda/ops/convolution_update.rs
#include "adam.cuh"
#include "tile.cuh"

// Layers of one launch: LAYERS of src/device/cuda/ops/convolution_update.rs
constexpr uint32_t LAYERS = 12;
// A weight that no derivative is multiplied by.
constexpr uint32_t NOWHERE = 0xFFFFFFFF;

struct UpdateLayer {
    const float* partial;       // [slices, pitch]
    const uint32_t* turned_at;  // [weights]: where each lies in `turned`, or NOWHERE; NULL: nobody wants derivatives by the input
    bf16* turned;
    uint64_t first;             // of the layer's numbers in the arenas
    uint32_t weights, biases;   // multiples of 8; biases of each phase
    uint32_t phases, slices, pitch;
    uint32_t first_block;
};

struct ConvolutionUpdateParams {
    float* value;  // arenas
    float* first;
    float* second;
    bf16* shadow;
    float* gradient;         // if not NULL, the gradient goes here and nothing else is touched
    const AdamRates* rates;  // of the steps of a chunk
    const uint32_t* cursor;  // which of them this is
    uint32_t count, unused;
    UpdateLayer layers[LAYERS];
};
static_assert(sizeof(ConvolutionUpdateParams) == 64 + LAYERS * 56, "as in src/device/cuda/ops/convolution_update.rs");

DEVICE void add(float4& to, const float* from) {
    const float4 more = *reinterpret_cast<const float4*>(from);
    to.x += more.x, to.y += more.y, to.z += more.z, to.w += more.w;
}

KERNEL(convolution_update, ConvolutionUpdateParams, 256, 4) {
    uint32_t number = 0;
    while (number + 1 < p.count && p.layers[number + 1].first_block <= block_index()) number++;
    const UpdateLayer& q = p.layers[number];
    const uint32_t at = ((block_index() - q.first_block) * block_threads() + thread_index()) * 4;
    if (at >= q.weights + q.biases) return;
    float4 gradient = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    const bool is_bias = at >= q.weights;
    for (uint32_t slice = 0; slice < q.slices; slice++) {
        const float* from = q.partial + static_cast<uint64_t>(slice) * q.pitch + at;
        for (uint32_t phase = 0; phase < (is_bias ? q.phases : 1); phase++) add(gradient, from + phase * q.biases);
    }
    const uint64_t place = q.first + at;
    if (p.gradient != nullptr) {
        four(p.gradient, place) = gradient;
        return;
    }
    const FourStates now{four(p.value, place), four(p.first, place), four(p.second, place)};
    const FourStates next = adam_four(now, gradient, p.rates[*p.cursor].without_decay());
    four(p.value, place) = next.value, four(p.first, place) = next.first, four(p.second, place) = next.second;
    if (is_bias) return;
    const uint2 copies = pack_four(next.value);
    *reinterpret_cast<uint2*>(p.shadow + place) = copies;
    if (q.turned_at == nullptr) return;
    const uint4 turned = *reinterpret_cast<const uint4*>(q.turned_at + at);
    const auto turn = [&](uint32_t to, uint32_t copy) {
        if (to != NOWHERE) q.turned[to] = bf16{static_cast<uint16_t>(copy)};
    };
    turn(turned.x, copies.x & 0xFFFF), turn(turned.y, copies.x >> 16);
    turn(turned.z, copies.y & 0xFFFF), turn(turned.w, copies.y >> 16);
}
