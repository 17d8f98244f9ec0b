// Masked linear layers, backward to the input.
//
//   Computes  below[b, c] = GELU'(before[b, c]) sum_r delta[b, r] W[r, c]   over the rows that read column c
//   Tiles     images x columns; the sums of a tile begin at the first row that reads its first column
//   Reads     delta bf16 [images, rows], W bf16 [rows, columns] with masked ones 0, before bf16 [images, columns]
//   Writes    below bf16 [images, columns]; or, where the rows are cut into slices, partial f32
//             [slices, images, columns], which linear_sum_slices_* adds up in the order of the slices
//   Launcher  src/families/sarm/cuda/ops/linear/input.rs, which checks pitches, alignment and ranges
//   Bound     docs/kernels.md
#include "common/gelu.cuh"
#include "masked_linear.cuh"

struct InputProblem {
    const bf16* delta;
    const bf16* weights;
    const uint2* before;  // rows of 4 bf16
    uint2* below;         // rows of 4 bf16
    float4* partial;      // rows of 4 f32; NULL where there is one slice
    uint32_t delta_pitch, weights_pitch, before_pitch, below_pitch, partial_pitch;
    uint32_t rows, columns;
    Mask mask;
    uint32_t first_block, column_tiles;
    uint32_t slice, slices;  // rows in a slice, a multiple of 64; and how many slices
};

struct InputParams {
    uint32_t images, count;
    InputProblem problems[PROBLEMS];
};
static_assert(sizeof(InputParams) == 8 + PROBLEMS * 96, "src/families/sarm/cuda/ops/linear/input.rs");

// The first slice with a row that reads column `column`; the last one where no row does.
DEVICE uint32_t first_slice(const InputProblem& q, uint32_t column) {
    return min(q.mask.first_reader(column, q.rows) / q.slice, q.slices - 1);
}

DEVICE uint2 times_gelu_derivative(float4 v, uint2 before, uint32_t column, uint32_t columns) {
    const float4 z = unpack_four(before);
    v.x *= gelu_derivative(z.x), v.y *= gelu_derivative(z.y), v.z *= gelu_derivative(z.z), v.w *= gelu_derivative(z.w);
    return pack_four(zero_past(v, column, columns));
}

template <class Tile> DEVICE void backward_input(const InputParams& p) {
    using Sums = Product<Tile, false, true>;
    const InputProblem& q = p.problems[problem_of(p)];
    const uint32_t image_tiles = divide_up(p.images, Tile::SIDE);
    // A slice has the tiles with a column that its rows read, the first ones; the last slice has them all.
    Stair at{0, block_index() - q.first_block};
    if (q.slices > 1)
        at = find_stair(at.place, q.slices, [&](uint32_t slice) {
            const uint32_t read = q.mask.read((slice + 1) * q.slice - 1, q.columns);
            return image_tiles * (slice + 1 == q.slices ? q.column_tiles : divide_up(read, Tile::SIDE));
        });
    // The first columns are read by the most rows: they come first.
    const uint32_t first_column = at.place / image_tiles * Tile::SIDE;
    const uint32_t first_image = at.place % image_tiles * Tile::SIDE;

    const Operand delta{q.delta, q.delta_pitch, first_image, p.images};
    const Operand weights{q.weights, q.weights_pitch, first_column, q.columns};
    const uint32_t slice_begin = at.step * q.slice, slice_end = min(slice_begin + q.slice, q.rows);
    // Copies begin at multiples of 8; the rows that this adds do not read the tile: their weights are 0.
    const uint32_t reader = q.mask.first_reader(first_column, q.rows) / 8 * 8;
    const Terms terms{max(reader, slice_begin), slice_end};
    const uint32_t warp_column = first_column + Sums::warp_n();
    const bool idle = warp_column >= q.columns || first_image + Sums::warp_m() >= p.images;
    const Terms work{idle ? slice_end : q.mask.first_reader(warp_column, q.rows), slice_end};
    Sums sums;
    sums.template run<false>(delta, weights, terms, work);
    sums.template put<false>();
    block_barrier();

    const uint32_t group = thread_index() % Tile::GROUPS * 4, column = first_column + group;
    if (column >= q.columns) return;
    float4* const partial = q.partial == nullptr
                                ? nullptr
                                : q.partial + static_cast<uint64_t>(at.step) * p.images * q.partial_pitch / 4;
    constexpr uint32_t BATCH = Tile::BATCH;
#pragma unroll 1
    for (uint32_t i = 0; i < Tile::ROWS_A_THREAD; i += BATCH) {
        const uint32_t m = i * Tile::ROWS_AT_ONCE + thread_index() / Tile::GROUPS;
        if (partial != nullptr) {
#pragma unroll
            for (uint32_t j = 0; j < BATCH; j++) {
                const uint32_t row = m + j * Tile::ROWS_AT_ONCE, image = first_image + row;
                if (image < p.images)
                    partial[(static_cast<uint64_t>(image) * q.partial_pitch + column) / 4] = Sums::take(row, group);
            }
            continue;
        }
        uint2 before[BATCH];
#pragma unroll
        for (uint32_t j = 0; j < BATCH; j++) {
            const uint32_t image = first_image + m + j * Tile::ROWS_AT_ONCE;
            if (image < p.images)
                before[j] = q.before[(static_cast<uint64_t>(image) * q.before_pitch + column) / 4];
        }
#pragma unroll
        for (uint32_t j = 0; j < BATCH; j++) {
            const uint32_t row = m + j * Tile::ROWS_AT_ONCE, image = first_image + row;
            if (image < p.images)
                q.below[(static_cast<uint64_t>(image) * q.below_pitch + column) / 4] =
                    times_gelu_derivative(Sums::take(row, group), before[j], column, q.columns);
        }
    }
}

// Adds up what the slices gave. A thread has 4 columns of an image.
template <class Tile> DEVICE void sum_slices(const InputParams& p) {
    const InputProblem& q = p.problems[problem_of(p)];
    const uint32_t number = (block_index() - q.first_block) * block_threads() + thread_index();
    const uint32_t groups = divide_up(q.columns, 4), image = number / groups, column = number % groups * 4;
    if (image >= p.images) return;
    const uint64_t at = (static_cast<uint64_t>(image) * q.partial_pitch + column) / 4;
    const uint64_t stride = static_cast<uint64_t>(p.images) * q.partial_pitch / 4;
    float4 total = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll 4
    for (uint32_t slice = first_slice(q, column / Tile::SIDE * Tile::SIDE); slice < q.slices; slice++) {
        const float4 more = q.partial[slice * stride + at];
        total.x += more.x, total.y += more.y, total.z += more.z, total.w += more.w;
    }
    const uint2 before = q.before[(static_cast<uint64_t>(image) * q.before_pitch + column) / 4];
    q.below[(static_cast<uint64_t>(image) * q.below_pitch + column) / 4] =
        times_gelu_derivative(total, before, column, q.columns);
}

KERNEL(linear_backward_input_small, InputParams, 128, 5) { backward_input<SmallTile>(p); }
KERNEL(linear_backward_input_medium, InputParams, 128, 3) { backward_input<MediumTile>(p); }
KERNEL(linear_backward_input_large, InputParams, 128, 2) { backward_input<LargeTile>(p); }

KERNEL(linear_sum_slices_small, InputParams, 256, 4) { sum_slices<SmallTile>(p); }
KERNEL(linear_sum_slices_medium, InputParams, 256, 4) { sum_slices<MediumTile>(p); }
KERNEL(linear_sum_slices_large, InputParams, 256, 4) { sum_slices<LargeTile>(p); }
