// Masked linear layers, backward to the weights, with the optimiser's step.
//
//   Computes  dW[r, c] = sum_b delta[b, r] x[b, c]  for the columns that row r reads, db[r] = sum_b delta[b, r]
//             then a step of Adam (adam.cuh) on W and bias, or stores both
//   Tiles     rows x columns, only those with a weight that is not masked, and the first of every row, which
//             also has the biases: multiplying with a column of ones adds up delta
//   Reads     delta bf16 [images, rows], x bf16 [images, columns]; Adam: f32 values and moments
//   Writes    values, moments, bf16 copies of the weights; or gradients f32. Of masked weights zeros or nothing
//   Launcher  src/families/sarm/cuda/ops/linear/weights.rs, which checks pitches, alignment and ranges
//   Bound     docs/kernels.md
#include "common/adam.cuh"
#include "masked_linear.cuh"

struct WeightsProblem {
    const bf16* delta;
    const bf16* input;
    uint64_t weights, bias;  // where they begin in each arena, elements; multiples of 8 and 4
    uint32_t delta_pitch, input_pitch, pitch;
    uint32_t rows, columns;
    Mask mask;
    uint32_t first_block, row_tiles;
    uint32_t decays, unused;  // whether weight decay applies to the weights
};

struct WeightsParams {
    float* value;  // arenas
    float* first;
    float* second;
    bf16* shadow;
    float* gradient;         // if not NULL, the gradient goes here and nothing else is touched
    const AdamRates* rates;  // of the steps of a chunk
    const uint32_t* cursor;  // which of them this is
    uint32_t images, count;
    WeightsProblem problems[PROBLEMS];
};
static_assert(sizeof(WeightsParams) == 64 + PROBLEMS * 80, "src/families/sarm/cuda/ops/linear/weights.rs");

DEVICE void adam_bias(const WeightsParams& p, uint64_t at, float gradient, AdamRates rates) {
    const AdamState now = adam({p.value[at], p.first[at], p.second[at]}, gradient, rates);
    p.value[at] = now.value;
    p.first[at] = now.first;
    p.second[at] = now.second;
}

// Writes the results of a tile that lies in shared memory.
template <class Tile, class Sums>
DEVICE void finish(const WeightsParams& p, const WeightsProblem& q, uint32_t first_row, uint32_t first_column) {
    const bool store = p.gradient != nullptr;
    const AdamRates rates = store ? AdamRates{0.0f, 0.0f, 1.0f} : p.rates[*p.cursor];

    const uint32_t bias_row = first_row + thread_index();
    if (first_column == 0 && thread_index() < Tile::SIDE && bias_row < q.rows) {
        const float gradient = Sums::take_sum_of_a(thread_index());
        if (store)
            p.gradient[q.bias + bias_row] = gradient;
        else
            adam_bias(p, q.bias + bias_row, gradient, rates.without_decay());
    }

    const AdamRates weight_rates = q.decays ? rates : rates.without_decay();
    const uint32_t group = thread_index() % Tile::GROUPS * 4, column = first_column + group;
    constexpr uint32_t BATCH = Tile::BATCH;
#pragma unroll 1
    for (uint32_t i = 0; i < Tile::ROWS_A_THREAD; i += BATCH) {
        uint32_t read[BATCH];  // columns that the row reads; 0 past the last row
        uint64_t at[BATCH];
        FourStates state[BATCH];
#pragma unroll
        for (uint32_t j = 0; j < BATCH; j++) {
            const uint32_t row = first_row + (i + j) * Tile::ROWS_AT_ONCE + thread_index() / Tile::GROUPS;
            read[j] = row < q.rows ? q.mask.read(row, q.columns) : 0;
            at[j] = q.weights + static_cast<uint64_t>(row) * q.pitch + column;
            if (!store && column < read[j])
                state[j] = {four(p.value, at[j]), four(p.first, at[j]), four(p.second, at[j])};
        }
#pragma unroll
        for (uint32_t j = 0; j < BATCH; j++) {
            if (column >= read[j]) continue;
            const uint32_t m = (i + j) * Tile::ROWS_AT_ONCE + thread_index() / Tile::GROUPS;
            const float4 gradient = zero_past(Sums::take(m, group), column, read[j]);
            if (store) {
                four(p.gradient, at[j]) = gradient;
                continue;
            }
            const FourStates next = adam_four(state[j], gradient, weight_rates);
            // Masked weights among the four are 0 with moments 0, and a gradient of 0 leaves them so.
            four(p.value, at[j]) = next.value;
            four(p.first, at[j]) = next.first;
            four(p.second, at[j]) = next.second;
            *reinterpret_cast<uint2*>(p.shadow + at[j]) = pack_four(next.value);
        }
    }
}

template <class Tile> DEVICE void backward_weights(const WeightsParams& p) {
    using Sums = Product<Tile, true, true>;
    const WeightsProblem& q = p.problems[problem_of(p)];
    // A column of tiles begins with the tile of the first row that reads it; the first column has all, for the biases.
    const Stair at = find_stair(block_index() - q.first_block, divide_up(q.columns, Tile::SIDE), [&](uint32_t step) {
        const uint32_t reader = step == 0 ? 0 : q.mask.first_reader(step * Tile::SIDE, q.rows);
        return reader < q.rows ? q.row_tiles - reader / Tile::SIDE : 0;
    });
    const uint32_t first_column = at.step * Tile::SIDE, first_row = (q.row_tiles - 1 - at.place) * Tile::SIDE;

    const Operand delta{q.delta, q.delta_pitch, first_row, q.rows};
    const Operand input{q.input, q.input_pitch, first_column, q.columns};
    const Terms terms{0, p.images};
    const uint32_t warp_row = first_row + Sums::warp_m(), warp_column = first_column + Sums::warp_n();
    const bool first = first_column == 0;
    const bool biases = first && Sums::warp_n() == 0;
    // Some row of the warp reads some column of it, or it adds up the biases.
    const uint32_t read = warp_row < q.rows ? q.mask.read(min(warp_row + Tile::WARP_M, q.rows) - 1, q.columns) : 0;
    const bool idle = warp_row >= q.rows || (warp_column >= read && !biases);
    const Terms work{0, idle ? 0 : p.images};
    Sums sums;
    if (first) {
        sums.template run<true>(delta, input, terms, work);
        sums.template put<true>();
    } else {
        sums.template run<false>(delta, input, terms, work);
        sums.template put<false>();
    }
    block_barrier();
    finish<Tile, Sums>(p, q, first_row, first_column);
}

KERNEL(linear_backward_weights_small, WeightsParams, 128, 5) { backward_weights<SmallTile>(p); }
KERNEL(linear_backward_weights_medium, WeightsParams, 128, 4) { backward_weights<MediumTile>(p); }
KERNEL(linear_backward_weights_large, WeightsParams, 128, 2) { backward_weights<LargeTile>(p); }
