// Convolutions, transposed convolutions and dense layers, forward and backward to the input, as matrix products on the tensor cores.
//
//   Computes  z[pixel, r] = bias[r] + sum over places of a window and channels of  x[pixel under the place, c] W[r, place, c]
//             y = z, or slope z where z is not above 0, as bf16, f32 or both
//   Backward  the same, of a layer's derivatives with the windows the other way: no bias, something added, and slope where what the layer
//             below gave is not above 0
//   Tiles     pixels of all images x output channels; nothing is unrolled: a row of the product's left side is put together from
//             the pixels under a window while it is copied to shared memory, zeros where the window reaches over the edge
//   Reads     x bf16 [images, pixels, channels], W bf16 [output channels, places, channels], bias f32 [output channels]
//   Phases    outputs of a transposed convolution that differ in which places of the window reach them are problems of their own
//   Launcher  src/device/cuda/ops/convolution.rs, which checks alignment and ranges
#include "convolution.cuh"

struct ConvolutionParams {
    const bf16* input;   // [images, height, width, channels]
    const float* bias;   // [outputs]; NULL: zeros
    const bf16* addend;  // like `output`: added to the sums; NULL: zeros
    const bf16* seen;    // like `output`: whose sign says where sums are multiplied by the slope; NULL: their own
    bf16* output;        // [images, to_height, to_width, outputs]; NULL: not wanted
    float* numbers;      // the same; NULL: not wanted
    uint32_t images, count;
    uint32_t height, width, channels;      // channels: a multiple of 8
    uint32_t to_height, to_width, outputs; // outputs: a multiple of 8
    uint32_t from_step, to_step;           // from one output to the next, of the input and of the output
    float slope;                           // what sums are multiplied by that are not above 0
    uint32_t column_tiles;
    ConvolutionPhase phases[PHASES];
};
static_assert(sizeof(ConvolutionParams) == 96 + PHASES * 48, "as in src/device/cuda/ops/convolution.rs");

// What lies under windows, as an operand whose rows are outputs.
template <class Window> struct Windows {
    const ConvolutionParams& p;
    const ConvolutionPhase& q;
    // Of each of this thread's rows: the image, and where its window begins. A row that there is not begins below the image.
    const bf16* image[Window::ROWS_A_THREAD];
    int32_t row[Window::ROWS_A_THREAD], column[Window::ROWS_A_THREAD];

    DEVICE Windows(const ConvolutionParams& p_, const ConvolutionPhase& q_, uint32_t first) : p(p_), q(q_) {
        const uint32_t each = q.height * q.width;
#pragma unroll
        for (uint32_t i = 0; i < Window::ROWS_A_THREAD; i++) {
            const uint32_t at = first + Window::my_row() + i * Window::STEP, of = at / each, place = at % each;
            const bool there = of < p.images;
            image[i] = p.input + static_cast<uint64_t>(there ? of : 0) * p.height * p.width * p.channels;
            row[i] = there ? q.row + static_cast<int32_t>(place / q.width * p.from_step) : static_cast<int32_t>(p.height);
            column[i] = q.column + static_cast<int32_t>(place % q.width * p.from_step);
        }
    }

    // A piece of 8 terms is 8 channels of one pixel.
    template <class> DEVICE void load(bf16* window, uint32_t term, uint32_t terms_end) const {
        const uint32_t mine = term + Window::my_piece() * 8;
        const uint32_t place = mine / p.channels, channel = mine % p.channels;
        const int32_t down = static_cast<int32_t>(place / q.places_across);
        const int32_t across = static_cast<int32_t>(place % q.places_across);
        bf16* to = Window::my_place(window);
#pragma unroll
        for (uint32_t i = 0; i < Window::ROWS_A_THREAD; i++) {
            const uint32_t r = static_cast<uint32_t>(row[i] + down), c = static_cast<uint32_t>(column[i] + across);
            const bool there = mine < terms_end && r < p.height && c < p.width;
            const uint64_t at = there ? (static_cast<uint64_t>(r) * p.width + c) * p.channels + channel : 0;
            copy_async_16(to + i * Window::STEP * Window::PIECES * 8, image[i] + at, there ? 16 : 0);
        }
    }
};

template <class Tile> DEVICE void convolve(const ConvolutionParams& p) {
    using Sums = Product<Tile, false, false>;
    uint32_t phase = 0;
    while (phase + 1 < p.count && p.phases[phase + 1].first_block <= block_index()) phase++;
    const ConvolutionPhase& q = p.phases[phase];
    // Tiles that read the same windows follow one another.
    const uint32_t number = block_index() - q.first_block;
    const uint32_t first_output = number % p.column_tiles * Tile::SIDE_N, first_row = number / p.column_tiles * Tile::SIDE_M;
    const uint32_t each = q.height * q.width, rows = p.images * each, terms = q.places_down * q.places_across * p.channels;

    const Windows<typename Sums::WindowA> windows(p, q, first_row);
    const Operand weights{q.weights, terms, first_output, p.outputs};
    const bool idle = first_row + Sums::warp_m() >= rows || first_output + Sums::warp_n() >= p.outputs;
    Sums sums;
    sums.template run<false>(windows, weights, Terms{0, terms}, Terms{0, idle ? 0 : terms});
    sums.template put<false>();
    block_barrier();

    const uint32_t group = thread_index() % Tile::GROUPS * 4, output = first_output + group;
    if (output >= p.outputs) return;
    float4 bias = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (p.bias != nullptr) bias = *reinterpret_cast<const float4*>(p.bias + output);
    const auto active = [&](float z, float seen) { return seen > 0.0f ? z : z * p.slope; };
#pragma unroll 4
    for (uint32_t i = 0; i < Tile::ROWS_A_THREAD; i++) {
        const uint32_t m = i * Tile::ROWS_AT_ONCE + thread_index() / Tile::GROUPS, row = first_row + m;
        if (row >= rows) break;
        const uint32_t place = row % each;
        const uint32_t to_row = q.to_row + place / q.width * p.to_step, to_column = q.to_column + place % q.width * p.to_step;
        const uint64_t pixel = (static_cast<uint64_t>(row / each) * p.to_height + to_row) * p.to_width + to_column;
        const uint64_t at = pixel * p.outputs + output;
        float4 z = Sums::take(m, group);
        z.x += bias.x, z.y += bias.y, z.z += bias.z, z.w += bias.w;
        if (p.addend != nullptr) {
            const float4 more = unpack_four(*reinterpret_cast<const uint2*>(p.addend + at));
            z.x += more.x, z.y += more.y, z.z += more.z, z.w += more.w;
        }
        const float4 seen = p.seen == nullptr ? z : unpack_four(*reinterpret_cast<const uint2*>(p.seen + at));
        const float4 y = make_float4(active(z.x, seen.x), active(z.y, seen.y), active(z.z, seen.z), active(z.w, seen.w));
        if (p.output != nullptr) *reinterpret_cast<uint2*>(p.output + at) = pack_four(y);
        if (p.numbers != nullptr) *reinterpret_cast<float4*>(p.numbers + at) = y;
    }
}

// Channels are few beside pixels: tiles that are higher than wide read less for a result. `Cut` of the launcher has the same shapes.
using NarrowTile = Rectangle<128, 32, 64, 4, 1, 1, 3>;
using BroadTile = Rectangle<128, 64, 64, 2, 2, 1, 3>;
static_assert(NarrowTile::SHARED == 61440 && BroadTile::SHARED == 73728, "Cut::shape in src/device/cuda/ops/convolution.rs");

KERNEL(convolution_small, ConvolutionParams, 128, 5) { convolve<SmallTile>(p); }
KERNEL(convolution_medium, ConvolutionParams, 128, 4) { convolve<MediumTile>(p); }
KERNEL(convolution_large, ConvolutionParams, 128, 2) { convolve<LargeTile>(p); }
KERNEL(convolution_narrow, ConvolutionParams, 128, 3) { convolve<NarrowTile>(p); }
KERNEL(convolution_broad, ConvolutionParams, 128, 3) { convolve<BroadTile>(p); }
