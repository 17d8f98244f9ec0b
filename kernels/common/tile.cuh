// One tile of a matrix product on the tensor cores: bf16 operands, f32 sums.
//
//   sum[m, n] = sum_k A[m, k] B[n, k]      for SIDE_M values of m, SIDE_N of n, and a range of terms k
//
// An operand lies row-major in memory either way round: a row a result (terms run along it), or a row a
// term. Windows of both are copied into shared memory STAGES steps ahead (cp.async), DEPTH terms a step,
// and read from there by ldmatrix, transposed where rows are terms. Nothing is read past the ends that
// the caller gives: what would lie there counts as 0. The order of every sum is fixed by the tile's shape.
#pragma once

#include "device.cuh"

// WARPS_K warps share out the terms of a step; their sums are added up in the end, in their order.
template <uint32_t SIDE_M_, uint32_t SIDE_N_, uint32_t DEPTH_, uint32_t WARPS_M_, uint32_t WARPS_N_, uint32_t WARPS_K_, uint32_t STAGES_>
struct Rectangle {
    static constexpr uint32_t SIDE_M = SIDE_M_, SIDE_N = SIDE_N_, DEPTH = DEPTH_, STAGES = STAGES_;
    static constexpr uint32_t WARPS_M = WARPS_M_, WARPS_N = WARPS_N_, WARPS_K = WARPS_K_;
    static constexpr uint32_t THREADS = 32 * WARPS_M * WARPS_N * WARPS_K;
    static constexpr uint32_t WARP_M = SIDE_M / WARPS_M, WARP_N = SIDE_N / WARPS_N, WARP_K = DEPTH / WARPS_K;
    static constexpr uint32_t WINDOW_A = SIDE_M * DEPTH, STAGE = (SIDE_M + SIDE_N) * DEPTH;  // elements of one operand, and of both, in one stage
    // A row of sums in shared memory: 8 more than it needs, so that the rows that a warp writes at a time
    // lie in different banks.
    static constexpr uint32_t SUMS_PITCH = SIDE_N + 8, SUMS = SIDE_M * SUMS_PITCH;
    // Bytes. Sums and then sums of A take the place of the operands.
    static constexpr uint32_t SHARED_OPERANDS = STAGES * STAGE * 2, SHARED_SUMS = WARPS_K * (SUMS + SIDE_M) * 4;
    static constexpr uint32_t SHARED = SHARED_OPERANDS > SHARED_SUMS ? SHARED_OPERANDS : SHARED_SUMS;

    static constexpr uint32_t GROUPS = SIDE_N / 4;            // of 4 results in a row
    static constexpr uint32_t ROWS_AT_ONCE = THREADS / GROUPS;  // when a thread takes one group of each
    static constexpr uint32_t ROWS_A_THREAD = SIDE_M / ROWS_AT_ONCE;
    static constexpr uint32_t BATCH = ROWS_A_THREAD < 4 ? ROWS_A_THREAD : 4;  // of which as many loads are under way

    static_assert(WARP_M % 16 == 0 && WARP_N % 16 == 0 && WARP_K % 16 == 0, "fragments are 16 x 16");
    static_assert(THREADS == 128, "the launcher counts on it: Tile::THREADS in src/device/cuda/ops/tile.rs");
};

// As many values of m as of n.
template <uint32_t SIDE_, uint32_t DEPTH_, uint32_t WARPS_M_, uint32_t WARPS_N_, uint32_t WARPS_K_, uint32_t STAGES_>
struct Tile : Rectangle<SIDE_, SIDE_, DEPTH_, WARPS_M_, WARPS_N_, WARPS_K_, STAGES_> {
    static constexpr uint32_t SIDE = SIDE_;
};

// The launcher has the same shapes: src/device/cuda/ops/tile.rs
using SmallTile = Tile<32, 64, 1, 1, 4, 4>;
using MediumTile = Tile<64, 64, 2, 1, 2, 3>;
using LargeTile = Tile<128, 32, 2, 2, 1, 4>;
static_assert(SmallTile::SHARED == 32768 && MediumTile::SHARED == 49152 && LargeTile::SHARED == 70144,
              "Tile::shared in src/device/cuda/ops/tile.rs");

// A matrix of which a tile reads the results [first, end).
struct Operand {
    const bf16* source;
    uint32_t pitch;  // a multiple of 8
    uint32_t first;  // a multiple of 8
    uint32_t end;

    // Starts copying the terms from `term` on into `window`; zeros past the ends.
    template <class Window> DEVICE void load(bf16* window, uint32_t term, uint32_t terms_end) const {
        Window::load(window, *this, term, terms_end);
    }
};

// Terms [begin, end); `begin` is a multiple of 8.
struct Terms {
    uint32_t begin, end;
};

// Windows of one operand, SIDE results of it, in shared memory, and fragments of 16 results x 16 terms out of them.
//
// A row of a window is cut into pieces of 16 bytes, and which piece lies where is swizzled with the row, so
// that the 8 rows that ldmatrix reads at a time lie in different banks, whichever pieces they are.
template <class Tile, uint32_t SIDE, bool ROWS_ARE_TERMS> struct Window {
    static constexpr uint32_t HEIGHT = ROWS_ARE_TERMS ? Tile::DEPTH : SIDE;
    static constexpr uint32_t PIECES = (ROWS_ARE_TERMS ? SIDE : Tile::DEPTH) / 8;
    static_assert(PIECES == 4 || PIECES % 8 == 0, "what the swizzle is made for");

    // Two rows of 4 pieces fill the banks once, one row of 8 pieces does.
    DEVICE static uint32_t swizzle(uint32_t row) { return PIECES == 4 ? row / 2 % 4 : row % 8; }

    // A thread copies its piece of its row, and of each row STEP further on.
    static constexpr uint32_t STEP = Tile::THREADS / PIECES, ROWS_A_THREAD = HEIGHT / STEP;
    static_assert(HEIGHT % STEP == 0 && STEP % 8 == 0, "every thread copies alike");
    DEVICE static uint32_t my_row() { return thread_index() / PIECES; }
    DEVICE static uint32_t my_piece() { return thread_index() % PIECES; }
    DEVICE static bf16* my_place(bf16* window) { return window + (my_row() * PIECES + (my_piece() ^ swizzle(my_row()))) * 8; }

    DEVICE static void load(bf16* window, const Operand& from, uint32_t term, uint32_t terms_end) {
        const uint32_t row_first = ROWS_ARE_TERMS ? term : from.first, row_end = ROWS_ARE_TERMS ? terms_end : from.end;
        const uint32_t column_first = ROWS_ARE_TERMS ? from.first : term;
        const uint32_t column_end = ROWS_ARE_TERMS ? from.end : terms_end;
        const uint32_t row = my_row(), column = column_first + my_piece() * 8;
        const uint32_t bytes = column < column_end ? min(16u, (column_end - column) * 2) : 0;
        bf16* to = my_place(window);
        // Beyond the ends this is no address in the matrix: of 0 bytes nothing is read.
        const bf16* at = from.source + static_cast<uint64_t>(row_first + row) * from.pitch + column;
        const uint64_t stride = static_cast<uint64_t>(STEP) * from.pitch;
#pragma unroll
        for (uint32_t i = 0; i < HEIGHT; i += STEP) {
            copy_async_16(to + i * PIECES * 8, at, row_first + row + i < row_end ? bytes : 0);
            at += stride;
        }
    }

    // Where this lane's row of a fragment lies: results from `result`, terms from `term` of the window on, and
    // in the other half of either for half of the lanes.
    DEVICE static uint32_t lane_piece(uint32_t result, uint32_t term, bool second_results, bool second_terms) {
        const uint32_t results = result + (second_results ? 8 : 0), terms = term + (second_terms ? 8 : 0);
        const uint32_t row = (ROWS_ARE_TERMS ? terms : results) + lane() % 8;
        const uint32_t piece = (ROWS_ARE_TERMS ? results : terms) / 8;
        return row * PIECES + (piece ^ swizzle(lane() % 8));
    }

    // The fragment `block` * 16 results and `step` * 16 terms further on. Exclusive or with the piece is a sum here,
    // for the bits of `block` and `step` are 0 in the warp's first result and term.
    DEVICE static void fragment(uint32_t (&r)[4], const bf16* window, uint32_t lane_piece, uint32_t block, uint32_t step) {
        if constexpr (ROWS_ARE_TERMS)
            load_matrix_x4_transposed(r, window + ((lane_piece ^ (block * 2)) + step * 16 * PIECES) * 8);
        else
            load_matrix_x4(r, window + ((lane_piece ^ (step * 2)) + block * 16 * PIECES) * 8);
    }
};

// Sums of a tile in a block's registers. ADD_UP_A: also the sums of A over all terms.
template <class Tile, bool A_ROWS_ARE_TERMS, bool B_ROWS_ARE_TERMS> struct Product {
    using WindowA = Window<Tile, Tile::SIDE_M, A_ROWS_ARE_TERMS>;
    using WindowB = Window<Tile, Tile::SIDE_N, B_ROWS_ARE_TERMS>;
    static constexpr uint32_t BLOCKS_M = Tile::WARP_M / 16, BLOCKS_N = Tile::WARP_N / 8;

    float sum[BLOCKS_M][BLOCKS_N][4];
    float sum_of_a[BLOCKS_M][4];  // every column is the same

    // First result of this warp in the tile, and first term in a step.
    DEVICE static uint32_t warp_m() { return warp() / Tile::WARPS_N % Tile::WARPS_M * Tile::WARP_M; }
    DEVICE static uint32_t warp_n() { return warp() % Tile::WARPS_N * Tile::WARP_N; }
    DEVICE static uint32_t warp_k() { return warp() / (Tile::WARPS_N * Tile::WARPS_M) * Tile::WARP_K; }

    // Computes the sums over `terms`. `work`: the terms that can give this warp anything but zeros.
    // All of shared memory is free again when it returns. `a`, `b`: Operands, or what loads as they do.
    template <bool ADD_UP_A, class A, class B> DEVICE void run(const A& a, const B& b, Terms terms, Terms work) {
        bf16* const shared = shared_memory<bf16>();
        const uint32_t steps = terms.begin < terms.end ? divide_up(terms.end - terms.begin, Tile::DEPTH) : 0;
        // ldmatrix takes the 8 x 8 quarters of a fragment in the order in which mma has them in registers: of A
        // the second is that of the second 8 results, of B that of the second 8 terms.
        const bool odd = lane() / 8 % 2 != 0, late = lane() / 16 != 0;
        const uint32_t piece_a = WindowA::lane_piece(warp_m(), warp_k(), odd, late);
        const uint32_t piece_b = WindowB::lane_piece(warp_n(), warp_k(), late, odd);
        clear();

        const auto load = [&](uint32_t step) {
            if (step < steps) {
                bf16* const stage = shared + step % Tile::STAGES * Tile::STAGE;
                const uint32_t term = terms.begin + step * Tile::DEPTH;
                a.template load<WindowA>(stage, term, terms.end);
                b.template load<WindowB>(stage + Tile::WINDOW_A, term, terms.end);
            }
            // An empty group where there is nothing left, so that counting groups stays counting steps.
            copy_async_commit();
        };
        for (uint32_t step = 0; step < Tile::STAGES - 1; step++) load(step);

        for (uint32_t step = 0; step < steps; step++) {
            copy_async_wait<Tile::STAGES - 2>();
            block_barrier();
            // Into the stage that was read in the step before: all warps are past it.
            load(step + Tile::STAGES - 1);
            const uint32_t first = terms.begin + step * Tile::DEPTH + warp_k();
            if (first < work.end && first + Tile::WARP_K > work.begin) {
                const bf16* const stage = shared + step % Tile::STAGES * Tile::STAGE;
                multiply<ADD_UP_A>(stage, piece_a, stage + Tile::WINDOW_A, piece_b);
            }
        }
        // Only empty groups are left: the last step has waited for its own.
        block_barrier();
    }

    DEVICE void clear() {
#pragma unroll
        for (uint32_t m = 0; m < BLOCKS_M; m++) {
#pragma unroll
            for (uint32_t i = 0; i < 4; i++) {
                sum_of_a[m][i] = 0.0f;
#pragma unroll
                for (uint32_t n = 0; n < BLOCKS_N; n++) sum[m][n][i] = 0.0f;
            }
        }
    }

    template <bool ADD_UP_A>
    DEVICE void multiply(const bf16* stage_a, uint32_t piece_a, const bf16* stage_b, uint32_t piece_b) {
        constexpr uint32_t ONES[2] = {0x3F803F80, 0x3F803F80};  // of bf16
#pragma unroll
        for (uint32_t step = 0; step < Tile::WARP_K / 16; step++) {
            uint32_t a[BLOCKS_M][4], b[BLOCKS_N][2];
#pragma unroll
            for (uint32_t m = 0; m < BLOCKS_M; m++) WindowA::fragment(a[m], stage_a, piece_a, m, step);
#pragma unroll
            for (uint32_t n = 0; n < BLOCKS_N; n += 2) {
                uint32_t r[4];
                WindowB::fragment(r, stage_b, piece_b, n / 2, step);
                b[n][0] = r[0], b[n][1] = r[1];
                b[n + 1][0] = r[2], b[n + 1][1] = r[3];
            }
#pragma unroll
            for (uint32_t m = 0; m < BLOCKS_M; m++) {
                if constexpr (ADD_UP_A) multiply_accumulate(sum_of_a[m], a[m], ONES);
#pragma unroll
                for (uint32_t n = 0; n < BLOCKS_N; n++) multiply_accumulate(sum[m][n], a[m], b[n]);
            }
        }
    }

    // Lays the sums out in shared memory for the functions below; after a barrier they are there for all.
    template <bool ADD_UP_A> DEVICE void put() const {
        const uint32_t slice = warp_k() / Tile::WARP_K, row = warp_m() + lane() / 4;
        float* to = shared_memory<float>() + slice * Tile::SUMS + row * Tile::SUMS_PITCH + warp_n() + lane() % 4 * 2;
#pragma unroll
        for (uint32_t m = 0; m < BLOCKS_M; m++) {
#pragma unroll
            for (uint32_t n = 0; n < BLOCKS_N; n++) {
                float* const at = to + m * 16 * Tile::SUMS_PITCH + n * 8;
                *reinterpret_cast<float2*>(at) = make_float2(sum[m][n][0], sum[m][n][1]);
                *reinterpret_cast<float2*>(at + 8 * Tile::SUMS_PITCH) = make_float2(sum[m][n][2], sum[m][n][3]);
            }
        }
        if (ADD_UP_A && warp_n() == 0 && lane() % 4 == 0) {
            float* const at = shared_memory<float>() + Tile::WARPS_K * Tile::SUMS + slice * Tile::SIDE_M + row;
#pragma unroll
            for (uint32_t m = 0; m < BLOCKS_M; m++) {
                at[m * 16] = sum_of_a[m][0];
                at[m * 16 + 8] = sum_of_a[m][2];
            }
        }
    }

    // sum[m, n .. n + 4] of the tile, n a multiple of 4.
    DEVICE static float4 take(uint32_t m, uint32_t n) {
        const float* at = shared_memory<float>() + m * Tile::SUMS_PITCH + n;
        float4 total = *reinterpret_cast<const float4*>(at);
#pragma unroll
        for (uint32_t slice = 1; slice < Tile::WARPS_K; slice++) {
            const float4 more = *reinterpret_cast<const float4*>(at + slice * Tile::SUMS);
            total.x += more.x, total.y += more.y, total.z += more.z, total.w += more.w;
        }
        return total;
    }

    // The sum of A over all terms.
    DEVICE static float take_sum_of_a(uint32_t m) {
        const float* at = shared_memory<float>() + Tile::WARPS_K * Tile::SUMS + m;
        float total = at[0];
#pragma unroll
        for (uint32_t slice = 1; slice < Tile::WARPS_K; slice++) total += at[slice * Tile::SIDE_M];
        return total;
    }
};

// Four bf16 in 8 bytes, and out of them.
DEVICE uint2 pack_four(float4 v) { return make_uint2(pack_bf16(v.x, v.y), pack_bf16(v.z, v.w)); }
DEVICE float4 unpack_four(uint2 v) { return make_float4(unpack_low(v.x), unpack_high(v.x), unpack_low(v.y), unpack_high(v.y)); }
