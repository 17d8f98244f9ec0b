// Cells: how the likelihood kernels cut a stage's pixels into blocks; src/families/sarm/cuda/ops/cells.rs is the
// same in Rust, and checks what is assumed here.
//
// A cell is one pixel of one image. A tile is the CELLS cells of one block: a chunk of pixels (a power of two,
// from 8 on), of CELLS / chunk images. One thread looks after the gate of each cell; the positive ones are
// listed, in the order of the cells, for whatever their values need.
#pragma once

#include "common/device.cuh"
#include "common/likelihood.cuh"
#include "limits.cuh"
#include "target.cuh"

constexpr uint32_t CELLS = 256;

// One stage's numbers, `Cells::numbers` for each pixel: its gate, then its values. Then padding to `pitch`.
struct StageCells {
    const float* output;  // [images, pitch]
    bf16* delta;          // [images, pitch], 16-byte aligned rows; NULL: no derivatives wanted
    uint32_t first_place; // of its first pixel in a row of targets
    uint32_t pixels;
    uint32_t pitch; // a multiple of 8
    uint32_t chunk_log2;
    uint32_t first_part;
    uint32_t first_block;
};
static_assert(sizeof(StageCells) == 40, "as in src/families/sarm/cuda/ops/cells.rs");

struct Cells {
    const uint32_t* target; // [images, places], 0: the pixel is zero; CERTAIN: and could not be anything else
    float* nll;             // [parts, images]
    uint32_t places;
    uint32_t images;
    uint32_t numbers;
    float scale; // of derivatives: one over the images
};
static_assert(sizeof(Cells) == 32, "as in src/families/sarm/cuda/ops/cells.rs");

// A tile's part of the shared memory.
struct CellsShared {
    float cost[CELLS];     // of each cell, in nats
    float slope[CELLS];    // of its gate's cost, scaled
    uint32_t entry[CELLS]; // the positive cells
    uint32_t counts[CELLS / 32];
    uint32_t unused[24];
};
static_assert(sizeof(CellsShared) == 4 * (3 * CELLS + 32), "as in src/families/sarm/cuda/ops/levels.rs");

// Which pixels of which images a tile holds.
struct CellTile {
    uint32_t chunk_log2, chunk, chunk_index, first_pixel, first_image;

    DEVICE CellTile(const StageCells& stage, uint32_t tile) {
        chunk_log2 = stage.chunk_log2;
        chunk = 1u << chunk_log2;
        const uint32_t chunks = divide_up(stage.pixels, chunk);
        chunk_index = tile % chunks;
        first_pixel = chunk_index << chunk_log2;
        first_image = tile / chunks * images();
    }
    DEVICE uint32_t images() const { return CELLS >> chunk_log2; }
    DEVICE uint32_t image(uint32_t cell) const { return first_image + (cell >> chunk_log2); }
    DEVICE uint32_t pixel(uint32_t cell) const { return first_pixel + (cell & (chunk - 1)); }
};

// Where a cell's values begin in a stage's rows.
DEVICE size_t values_of(const Cells& cells, const StageCells& stage, const CellTile& tile, uint32_t cell) {
    return static_cast<size_t>(tile.image(cell)) * stage.pitch + tile.pixel(cell) * cells.numbers + 1;
}

// Where a cell lies among all [images, places].
DEVICE size_t place_of(const Cells& cells, const StageCells& stage, const CellTile& tile, uint32_t cell) {
    return static_cast<size_t>(tile.image(cell)) * cells.places + stage.first_place + tile.pixel(cell);
}

DEVICE uint32_t target_of(const Cells& cells, const StageCells& stage, const CellTile& tile, uint32_t cell) {
    return cells.target[place_of(cells, stage, tile, cell)];
}

// Sum over the lanes of a warp, in all of them, in a fixed order.
DEVICE float warp_sum(float v) {
    for (uint32_t mask = 16; mask > 0; mask /= 2) v += shuffle_xor(v, mask);
    return v;
}
DEVICE float warp_max(float v) {
    for (uint32_t mask = 16; mask > 0; mask /= 2) v = fmaxf(v, shuffle_xor(v, mask));
    return v;
}

// The tile's derivatives: those of the gates, all others 0, 16 bytes at a time.
DEVICE void fill_delta(const Cells& cells, const StageCells& stage, const CellTile& tile, const CellsShared& shared) {
    const uint32_t first = tile.first_pixel * cells.numbers;
    const bool last_chunk = tile.first_pixel + tile.chunk >= stage.pixels;
    const uint32_t vectors = ((last_chunk ? stage.pitch : first + tile.chunk * cells.numbers) - first) / 8;
    const uint32_t images = min(tile.images(), cells.images - tile.first_image);
    for (uint32_t i = thread_index(); i < images * vectors; i += CELLS) {
        const uint32_t image = i / vectors, vector = i % vectors;
        uint32_t pixel = vector * 8 / cells.numbers, number = vector * 8 % cells.numbers;
        uint32_t pairs[4];
        for (uint32_t& pair : pairs) {
            float v[2];
            for (float& one : v) {
                // Past the last pixel there is padding.
                const bool gate = number == 0 && tile.first_pixel + pixel < stage.pixels;
                one = gate ? shared.slope[image * tile.chunk + pixel] : 0.0f;
                number += 1;
                if (number == cells.numbers) {
                    number = 0;
                    pixel += 1;
                }
            }
            pair = pack_bf16(v[0], v[1]);
        }
        const size_t row = static_cast<size_t>(tile.first_image + image) * stage.pitch;
        *reinterpret_cast<uint4*>(stage.delta + row + first + vector * 8) =
            make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
    }
}

// The gates of a tile, their derivatives and zeros for the rest, and the list of positive cells; returns how
// many. `gate_of(cell, logit)` is the logit of a cell's gate, where the network's own is `logit`.
// All threads of the block; what is returned and shared is there for all of them.
template <class GateOf>
DEVICE uint32_t open_tile(const Cells& cells, const StageCells& stage, const CellTile& tile, CellsShared& shared,
                          const GateOf& gate_of) {
    const uint32_t cell = thread_index();
    const bool exists = tile.image(cell) < cells.images && tile.pixel(cell) < stage.pixels;
    bool positive = false;
    GateCost gate{0.0f, 0.0f};
    if (exists) {
        const float logit = stage.output[values_of(cells, stage, tile, cell) - 1];
        const uint32_t target = target_of(cells, stage, tile, cell);
        positive = target != 0 && target != CERTAIN;
        if (target != CERTAIN) gate = gate_cost(gate_of(cell, logit), positive);
    }
    shared.cost[cell] = gate.cost;
    shared.slope[cell] = gate.slope * cells.scale;
    const uint32_t positives = vote(positive);
    if (lane() == 0) shared.counts[warp()] = count_ones(positives);
    block_barrier();
    uint32_t before = 0, all = 0;
    for (uint32_t w = 0; w < CELLS / 32; ++w) {
        if (w == warp()) before = all;
        all += shared.counts[w];
    }
    if (positive) shared.entry[before + count_ones(positives & ((1u << lane()) - 1))] = cell;
    if (stage.delta) fill_delta(cells, stage, tile, shared);
    block_barrier();
    return all;
}

// Sums the costs of each image of the tile. All threads of the block, after a barrier behind the last cost;
// a barrier must stand before the next tile is opened.
DEVICE void close_tile(const Cells& cells, const StageCells& stage, const CellTile& tile, const CellsShared& shared) {
    for (uint32_t image = warp(); image < tile.images(); image += CELLS / 32) {
        float sum = 0.0f;
        for (uint32_t i = lane(); i < tile.chunk; i += 32) sum += shared.cost[image * tile.chunk + i];
        sum = warp_sum(sum);
        if (lane() == 0 && tile.first_image + image < cells.images) {
            const size_t part = stage.first_part + tile.chunk_index;
            cells.nll[part * cells.images + tile.first_image + image] = sum;
        }
    }
}
