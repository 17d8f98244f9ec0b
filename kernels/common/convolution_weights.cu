// Convolutions, transposed convolutions and dense layers, backward to the weights, as matrix products on the tensor cores.
//
//   Computes  dW[r, place, c] = sum over outputs  delta[output, r] x[pixel under the place, c],  db[r] = sum over outputs  delta[output, r]
//   Tiles     output channels x places and channels; the terms, outputs of all images, are shared out among slices
//   Reads     delta bf16 [images, outputs, output channels], x bf16 [images, pixels, channels], a pixel a term
//   Writes    f32 [slices, numbers of the layer]: weights, phase after phase, then biases of each phase; convolution_update.cu adds them up
//   Launcher  src/device/cuda/ops/convolution_weights.rs, which checks alignment and ranges
#include "convolution.cuh"

struct ConvolutionWeightsParams {
    const bf16* input;  // [images, height, width, channels]
    const bf16* delta;  // [images, to_height, to_width, outputs]
    float* partial;     // [slices, pitch]
    uint32_t images, count;
    uint32_t height, width, channels;
    uint32_t to_height, to_width, outputs;
    uint32_t from_step, to_step;
    uint32_t slices, pitch;
    uint32_t biases;  // where they begin in a slice
    uint32_t row_tiles;
    uint32_t weights[PHASES];      // where those of a phase begin in a slice
    uint32_t slice_terms[PHASES];  // terms of a slice
    ConvolutionPhase phases[PHASES];
};
static_assert(sizeof(ConvolutionWeightsParams) == 80 + 8 * PHASES + PHASES * 48, "as in src/device/cuda/ops/convolution_weights.rs");

// Pixels of all images as an operand whose rows are terms: of each, 8 channels a piece.
struct TermPixels {
    const bf16* source;  // this thread's channels of the first pixel
    uint32_t height, width, channels;
    uint32_t row, column, step;  // the first term's pixel, and on to the next; those above or left of the image come out as large
    uint32_t each, across;       // terms of an image, and of a row of it
    bool there;                  // whether there are such channels

    template <class Window> DEVICE void load(bf16* window, uint32_t term, uint32_t terms_end) const {
        bf16* to = Window::my_place(window);
#pragma unroll
        for (uint32_t i = 0; i < Window::ROWS_A_THREAD; i++) {
            const uint32_t at = term + Window::my_row() + i * Window::STEP, image = at / each, place = at % each;
            const uint32_t r = row + place / across * step, c = column + place % across * step;
            const bool inside = there && at < terms_end && r < height && c < width;
            const uint64_t pixel = inside ? (static_cast<uint64_t>(image) * height + r) * width + c : 0;
            copy_async_16(to + i * Window::STEP * Window::PIECES * 8, source + pixel * channels, inside ? 16 : 0);
        }
    }
};

template <class Tile> DEVICE void backward_weights(const ConvolutionWeightsParams& p) {
    using Sums = Product<Tile, true, true>;
    uint32_t phase = 0;
    while (phase + 1 < p.count && p.phases[phase + 1].first_block <= block_index()) phase++;
    const ConvolutionPhase& q = p.phases[phase];
    const uint32_t columns = q.places_down * q.places_across * p.channels, column_tiles = divide_up(columns, Tile::SIDE_N);
    // The tiles of a slice, which read the same pixels, follow one another.
    const uint32_t number = block_index() - q.first_block, tiles = column_tiles * p.row_tiles;
    const uint32_t slice = number / tiles, tile = number % tiles;
    const uint32_t first_row = tile / column_tiles * Tile::SIDE_M, first_column = tile % column_tiles * Tile::SIDE_N;
    const uint32_t each = q.height * q.width, all = p.images * each;
    const uint32_t begin = min(slice * p.slice_terms[phase], all), end = min(begin + p.slice_terms[phase], all);

    const uint32_t output = first_row + Sums::WindowA::my_piece() * 8, mine = first_column + Sums::WindowB::my_piece() * 8;
    const bool has_output = output < p.outputs, has_mine = mine < columns;
    const uint32_t place = mine / p.channels, channel = mine % p.channels;
    const TermPixels delta{p.delta + (has_output ? output : 0), p.to_height, p.to_width, p.outputs,
                           q.to_row, q.to_column, p.to_step, each, q.width, has_output};
    const TermPixels input{p.input + (has_mine ? channel : 0), p.height, p.width, p.channels,
                           static_cast<uint32_t>(q.row) + place / q.places_across,
                           static_cast<uint32_t>(q.column) + place % q.places_across, p.from_step, each, q.width, has_mine};
    const bool first = first_column == 0;
    const uint32_t warp_column = first_column + Sums::warp_n();
    // Or it adds up the biases.
    const bool idle = first_row + Sums::warp_m() >= p.outputs || (warp_column >= columns && !(first && Sums::warp_n() == 0));
    const Terms terms{begin, end}, work{begin, idle ? begin : end};
    Sums sums;
    if (first) {
        sums.template run<true>(delta, input, terms, work);
        sums.template put<true>();
    } else {
        sums.template run<false>(delta, input, terms, work);
        sums.template put<false>();
    }
    block_barrier();

    float* const to = p.partial + static_cast<uint64_t>(slice) * p.pitch;
    const uint32_t bias_row = first_row + thread_index();
    if (first && thread_index() < Tile::SIDE_M && bias_row < p.outputs)
        to[p.biases + phase * p.outputs + bias_row] = Sums::take_sum_of_a(thread_index());
    const uint32_t group = thread_index() % Tile::GROUPS * 4, column = first_column + group;
    if (column >= columns) return;
#pragma unroll 4
    for (uint32_t i = 0; i < Tile::ROWS_A_THREAD; i++) {
        const uint32_t m = i * Tile::ROWS_AT_ONCE + thread_index() / Tile::GROUPS, row = first_row + m;
        if (row >= p.outputs) break;
        *reinterpret_cast<float4*>(to + p.weights[phase] + static_cast<uint64_t>(row) * columns + column) = Sums::take(m, group);
    }
}

// Outputs are few beside places and channels: `Pieces` of the launcher has the same shape.
using WideTile = Rectangle<32, 128, 64, 1, 4, 1, 3>;
static_assert(WideTile::SHARED == 61440, "Pieces::shape in src/device/cuda/ops/convolution_weights.rs");

KERNEL(convolution_weights_small, ConvolutionWeightsParams, 128, 5) { backward_weights<SmallTile>(p); }
KERNEL(convolution_weights_medium, ConvolutionWeightsParams, 128, 4) { backward_weights<MediumTile>(p); }
KERNEL(convolution_weights_large, ConvolutionWeightsParams, 128, 2) { backward_weights<LargeTile>(p); }
KERNEL(convolution_weights_wide, ConvolutionWeightsParams, 128, 3) { backward_weights<WideTile>(p); }
