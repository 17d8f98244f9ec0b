// Masked linear layers, forward.
//
//   Computes  z[b, r] = bias[r] + sum_c x[b, c] W[r, c]   over the columns that row r reads (mask.cuh)
//             hidden layer: before = z and after = GELU(z), bf16; output layer: numbers = z, f32
//   Tiles     images x rows; the sums of a tile end where its last row stops reading
//   Reads     x bf16 [images, columns], W bf16 [rows, columns] with masked ones 0, bias f32 [rows]
//   Launcher  src/families/sarm/cuda/ops/linear/forward.rs, which checks pitches, alignment and ranges
//   Bound     docs/kernels.md
#include "common/gelu.cuh"
#include "masked_linear.cuh"

struct ForwardProblem {
    const bf16* input;
    const bf16* weights;
    const float* bias;
    uint2* before;    // rows of 4 bf16; may be NULL
    uint2* after;     // NULL for an output layer, which has
    float4* numbers;  // rows of 4 f32
    uint32_t input_pitch, weights_pitch, result_pitch;
    uint32_t rows, columns;
    Mask mask;
    uint32_t first_block, row_tiles;
};

struct ForwardParams {
    uint32_t images, count;
    ForwardProblem problems[PROBLEMS];
};
static_assert(sizeof(ForwardParams) == 8 + PROBLEMS * 88, "src/families/sarm/cuda/ops/linear/forward.rs");

template <class Tile> DEVICE void forward(const ForwardParams& p) {
    using Sums = Product<Tile, false, false>;
    const ForwardProblem& q = p.problems[problem_of(p)];
    // The last rows read the most: they come first, so that the longest sums are not the last to end.
    const uint32_t number = block_index() - q.first_block, image_tiles = divide_up(p.images, Tile::SIDE);
    const uint32_t first_row = (q.row_tiles - 1 - number / image_tiles) * Tile::SIDE;
    const uint32_t first_image = number % image_tiles * Tile::SIDE;

    const Operand input{q.input, q.input_pitch, first_image, p.images};
    const Operand weights{q.weights, q.weights_pitch, first_row, q.rows};
    const Terms terms{0, q.mask.read(min(first_row + Tile::SIDE, q.rows) - 1, q.columns)};
    const uint32_t warp_row = first_row + Sums::warp_n();
    const bool idle = warp_row >= q.rows || first_image + Sums::warp_m() >= p.images;
    const Terms work{0, idle ? 0 : q.mask.read(min(warp_row + Tile::WARP_N, q.rows) - 1, q.columns)};
    Sums sums;
    sums.template run<false>(input, weights, terms, work);
    sums.template put<false>();
    block_barrier();

    const uint32_t group = thread_index() % Tile::GROUPS * 4, row = first_row + group;
    if (row >= q.rows) return;
    float4 bias;
    bias.x = q.bias[row];
    bias.y = row + 1 < q.rows ? q.bias[row + 1] : 0.0f;
    bias.z = row + 2 < q.rows ? q.bias[row + 2] : 0.0f;
    bias.w = row + 3 < q.rows ? q.bias[row + 3] : 0.0f;
#pragma unroll 4
    for (uint32_t i = 0; i < Tile::ROWS_A_THREAD; i++) {
        const uint32_t m = i * Tile::ROWS_AT_ONCE + thread_index() / Tile::GROUPS, image = first_image + m;
        if (image >= p.images) break;
        float4 z = Sums::take(m, group);
        z.x += bias.x, z.y += bias.y, z.z += bias.z, z.w += bias.w;
        // Past the last row the sums and biases are 0, and so is GELU(0): the padding stays 0.
        const uint64_t at = (static_cast<uint64_t>(image) * q.result_pitch + row) / 4;
        if (q.after == nullptr) {
            q.numbers[at] = z;
            continue;
        }
        if (q.before != nullptr) q.before[at] = pack_four(z);
        q.after[at] = pack_four(make_float4(gelu(z.x), gelu(z.y), gelu(z.z), gelu(z.w)));
    }
}

KERNEL(linear_forward_small, ForwardParams, 128, 5) { forward<SmallTile>(p); }
KERNEL(linear_forward_medium, ForwardParams, 128, 4) { forward<MediumTile>(p); }
KERNEL(linear_forward_large, ForwardParams, 128, 2) { forward<LargeTile>(p); }
