// A tile of images on its way through a stage: what lies where, and the products with what is finished.
//
// Drawing is a forward substitution (docs/sampling.md). Pixels are taken in blocks with at most 16 units a layer, so that
// a block's units are the 16 rows of a tensor core's fragment, and 16 columns of everything above them. Every number is
//     what finished blocks contribute (tensor cores, ahead of time)  +  what its own block does (step by step).
// Images are the columns of fragments, 8 to a warp that draws; weights are fragments too, packed in the order in
// which they are read, 16 bytes a lane, so that they go from the second-level cache to registers without a detour.
#pragma once

#include "common/device.cuh"
#include "common/philox.cuh"

// A stage's network, packed (src/families/sarm/cuda/packed.rs; `fragment`: 32 lanes of 16 bytes).
struct SampleStage {
    const uint4* rows;       // of each block: fragments of its input rows, then of each further layer, then of its gates
    const uint4* values;     // of each pixel and 16 of its numbers: fragments
    const uint32_t* pushes;  // of each pixel: [channels + layers * units][8], what its channels and units add to rows r and r + 8
    const float* row_bias;   // [blocks][layers + 1][16]
    const float* value_bias; // [pixels][value tiles][16]
    const float4* map;       // D+D: as `draw_level` reads it
    const float* left;       // [pixels][1 + numbers][functions] of what is left, the gate's first; NULL: none are shown it
    uint32_t pixels;
    uint32_t units;          // of a pixel, in each layer
    uint32_t layers;         // the input layer and the hidden ones
    uint32_t block;          // pixels of a block
    uint32_t blocks;
    uint32_t context_steps;  // 16 columns each: conditions and earlier stages' pixels
    uint32_t first_place;    // of the stage's pixels in the order
    uint32_t inverse_block;  // 2^31 / block, rounded up
    uint32_t channels;       // numbers that are shown of a pixel
    uint32_t padding;

    // n / block, for n below 2^27
    DEVICE uint32_t divide_by_block(uint32_t n) const {
        return static_cast<uint32_t>(static_cast<uint64_t>(n) * inverse_block >> 31);
    }
};
static_assert(sizeof(SampleStage) == 96, "Stage in src/families/sarm/cuda/ops/sample/mod.rs");

// Layers that a drawing warp keeps in registers, the input layer included: MOST_LAYERS in src/families/sarm/cuda/ops/sample/plan.rs
constexpr uint32_t MOST_LAYERS = 8;
// Warps that work ahead: WORKERS in src/families/sarm/cuda/ops/sample/plan.rs
constexpr uint32_t WORKERS = 8;
constexpr uint32_t FRAGMENT = 32;  // vectors of 16 bytes

// What a block of threads keeps of its tile in shared memory, by bytes from its beginning, where the history lies; a
// history that is too large lies in global memory, a block's behind another's.
//
// A row of the history is an image: context columns, own inputs (16 columns a block and channel), then each layer's units
// (16 columns a block). A row is an
// odd multiple of 16 bytes, so that the 8 rows x 4 words of a fragment's half lie in 32 banks.
struct TileLayout {
    uint32_t pitch;            // columns of a row
    uint32_t context_columns;  // before the own inputs
    uint32_t rows;             // float4 [layers + 1][TILES][32]: next block's rows so far
    uint32_t values;           // float4 [2][value tiles][TILES][32]: this pixel's numbers so far, and the next one's
    uint32_t pushes;           // u32 [2][push words]: this block's, and the next one's
    uint32_t push_words;       // most of any block
    uint32_t random;           // u32 [2][3][TILES * 8]: random words of this pixel's images, and the next one's
    uint32_t control;          // u32 [4]: the tile, and nothing; u32 [2][2]: `pixel` below
};
static_assert(sizeof(TileLayout) == 32, "Layout in src/families/sarm/cuda/ops/sample/plan.rs");

// The same with its types. `TILES_`: groups of 8 images. SHARED: the history lies in shared memory.
template <uint32_t TILES_, bool SHARED> struct TileMemory {
    static constexpr uint32_t TILES = TILES_;
    const TileLayout& layout;
    bf16* history;  // in global memory, if it is there

    template <class T> DEVICE static T* at(uint32_t bytes) { return reinterpret_cast<T*>(shared_memory<unsigned char>() + bytes); }

    // First column of an image of the tile.
    DEVICE bf16* image(uint32_t number) const { return (SHARED ? at<bf16>(0) : history) + number * layout.pitch; }
    // Where this lane finds its two halves of a fragment of 16 columns of 8 images.
    DEVICE const bf16* fragment(uint32_t images, uint32_t column) const {
        return image(images * 8 + lane() / 4) + lane() % 4 * 2 + column;
    }
    // First column of a stage's own inputs (0) or of a layer's units.
    DEVICE uint32_t plane(const SampleStage& stage, uint32_t number) const {
        return layout.context_columns + (number == 0 ? 0 : stage.channels + number - 1) * 16 * stage.blocks;
    }
    // This lane's of the first of TILES fragments.
    DEVICE float4* rows(uint32_t tile) const { return at<float4>(layout.rows) + tile * TILES * 32 + lane(); }
    DEVICE float4* values(uint32_t pixel, uint32_t tiles, uint32_t tile) const {
        return at<float4>(layout.values) + (pixel % 2 * tiles + tile) * TILES * 32 + lane();
    }
    DEVICE uint32_t* pushes(uint32_t block) const { return at<uint32_t>(layout.pushes) + block % 2 * layout.push_words; }
    DEVICE uint32_t* random(uint32_t pixel) const { return at<uint32_t>(layout.random) + pixel % 2 * 3 * TILES * 8; }
    DEVICE uint32_t* tile() const { return at<uint32_t>(layout.control); }
    // Of a pixel's numbers: the first fragment that is left to the drawing warps, and the block that it is of.
    DEVICE uint2* pixel(uint32_t pixel) const { return at<uint2>(layout.control) + 2 + pixel % 2; }
};

DEVICE uint32_t pair_at(const bf16* at) { return *reinterpret_cast<const uint32_t*>(at); }

// sum += weights history, 16 columns
DEVICE void multiply_columns(float (&sum)[4], const uint4& weights, const bf16* columns) {
    const uint32_t a[4] = {weights.x, weights.y, weights.z, weights.w};
    const uint32_t b[2] = {pair_at(columns), pair_at(columns + 8)};
    multiply_accumulate(sum, a, b);
}

// The same for all images of a tile and `steps` times 16 columns; `weights` and `columns` are this lane's.
template <uint32_t TILES>
DEVICE void multiply_steps(float (&sum)[TILES][4], const uint4* weights, const bf16* columns, uint32_t pitch, uint32_t steps) {
    constexpr uint32_t BATCH = TILES < 4 ? 4 : 3;  // loads under way at a time, as registers allow
    for (uint32_t first = 0; first < steps; first += BATCH) {
        uint4 a[BATCH];
#pragma unroll
        for (uint32_t i = 0; i < BATCH; i++)
            if (first + i < steps) a[i] = load_streamed(weights + (first + i) * FRAGMENT);
#pragma unroll
        for (uint32_t i = 0; i < BATCH; i++) {
            if (first + i < steps) {
#pragma unroll
                for (uint32_t t = 0; t < TILES; t++) multiply_columns(sum[t], a[i], columns + t * 8 * pitch + (first + i) * 16);
            }
        }
    }
}

template <uint32_t TILES> DEVICE void start_from_bias(float (&sum)[TILES][4], const float* bias) {
    const float low = bias[lane() / 4], high = bias[lane() / 4 + 8];
#pragma unroll
    for (uint32_t t = 0; t < TILES; t++) sum[t][0] = sum[t][1] = low, sum[t][2] = sum[t][3] = high;
}

DEVICE float4 vector_of(const float (&v)[4]) { return make_float4(v[0], v[1], v[2], v[3]); }

// This lane's part of fragment number `number`.
DEVICE const uint4* lanes_part(const uint4* fragments, uint32_t number) {
    return fragments + static_cast<uint64_t>(number) * FRAGMENT + lane();
}

// Number of the first fragment of row tile `tile` (a layer's rows, or the gates) of a block.
DEVICE uint32_t row_fragment(const SampleStage& stage, uint32_t block, uint32_t tile) {
    const uint32_t before = stage.context_steps * block + (stage.layers + stage.channels) * (block * (block - 1) / 2);
    return before + (tile == 0 ? 0 : stage.context_steps + (stage.channels + tile - 1) * block);
}

// The same of value tile `tile` of a pixel of `block`, which has one for each block up to its own.
DEVICE uint32_t value_fragment(const SampleStage& stage, uint32_t pixel, uint32_t block, uint32_t tiles, uint32_t tile) {
    const uint32_t before = stage.block * (block * (block + 1) / 2) + (pixel - block * stage.block) * (block + 1);
    return tiles * before + tile * (block + 1);
}

// Logarithm of the steps ahead of its pixel that a warp begins with a value tile: 8, 4, 2 or 1, as there are tiles for
// the workers.
DEVICE uint32_t value_lead(uint32_t tiles) {
    static_assert(WORKERS == 8, "what follows is made for");
    return tiles == 1 ? 3 : tiles == 2 ? 2 : tiles <= 4 ? 1 : 0;
}

// Blocks that the workers have added to a pixel's numbers: those that were finished when they began.
DEVICE uint32_t value_blocks_ahead(const SampleStage& stage, uint32_t pixel, uint32_t lead) {
    return pixel < 1u << lead ? 0 : stage.divide_by_block(pixel - (1u << lead));
}

// A warp that works ahead: with what is finished it computes the next block's rows and the next pixels' numbers.
template <class Memory> struct Worker {
    static constexpr uint32_t TILES = Memory::TILES;
    Memory memory;
    const SampleStage& stage;
    uint32_t number;             // of this warp among the workers
    uint32_t value_tiles;
    float value[TILES][4] = {};  // the numbers that are under way

    // Part `part` of the rows of block `block`: columns of all blocks before the one before it. After the last part they
    // are in shared memory. There are as many parts as pixels in a block; `all` of them at once before the first block.
    DEVICE void rows(uint32_t block, uint32_t part, bool all) const {
        const uint32_t finished = block == 0 ? 0 : block - 1;
        for (uint32_t tile = number; tile <= stage.layers; tile += WORKERS) {
            const uint32_t context = tile == 0 ? stage.context_steps : 0;
            const uint32_t steps = context + (tile == 0 ? stage.channels : 1) * finished;
            const uint32_t begin = all ? 0 : stage.divide_by_block(steps * part);
            const uint32_t end = all ? steps : stage.divide_by_block(steps * (part + 1));
            float4* const slot = memory.rows(tile);
            float sum[TILES][4];
            if (part == 0) {
                start_from_bias(sum, stage.row_bias + (block * (stage.layers + 1) + tile) * 16);
            } else {
#pragma unroll
                for (uint32_t t = 0; t < TILES; t++) {
                    const float4 v = slot[t * 32];
                    sum[t][0] = v.x, sum[t][1] = v.y, sum[t][2] = v.z, sum[t][3] = v.w;
                }
            }
            const uint4* const weights = lanes_part(stage.rows, row_fragment(stage, block, tile));
            // Context columns first, which lie apart.
            for (uint32_t step = begin; step < end;) {
                const bool own = step >= context;
                const uint32_t column = own ? memory.plane(stage, tile) + (step - context) * 16 : step * 16;
                const uint32_t stop = own ? end : min(context, end);
                multiply_steps(sum, weights + step * FRAGMENT, memory.fragment(0, column), memory.layout.pitch, stop - step);
                step = stop;
            }
#pragma unroll
            for (uint32_t t = 0; t < TILES; t++) slot[t * 32] = vector_of(sum[t]);
        }
    }

    // While pixel `next` - 1 is drawn (or before the first is): a part of this warp's share of the numbers of later pixels.
    // Those of `next` are in shared memory afterwards.
    DEVICE void values(uint32_t next) {
        const uint32_t lead = value_lead(value_tiles), groups = 1u << lead;
        // Groups of warps take pixels in turn; with more tiles than half of the warps, one group takes all.
        const uint32_t group = lead == 0 ? 0 : number / value_tiles;
        if (group >= groups || (lead == 0 && number >= value_tiles)) return;
        const uint32_t pixel = next + ((group - next) & (groups - 1));
        if (pixel >= stage.pixels) return;
        const uint32_t part = groups - 1 - (pixel - next), steps = value_blocks_ahead(stage, pixel, lead);
        const uint32_t begin = steps * part >> lead, end = steps * (part + 1) >> lead, block = stage.divide_by_block(pixel);
        for (uint32_t tile = lead == 0 ? number : number % value_tiles; tile < value_tiles; tile += WORKERS) {
            if (part == 0 || next == 0) start_from_bias(value, stage.value_bias + (pixel * value_tiles + tile) * 16);
            const uint4* const weights = lanes_part(stage.values, value_fragment(stage, pixel, block, value_tiles, tile) + begin);
            const bf16* const columns = memory.fragment(0, memory.plane(stage, stage.layers) + begin * 16);
            multiply_steps(value, weights, columns, memory.layout.pitch, end - begin);
            if (pixel == next) {
                float4* const slot = memory.values(pixel, value_tiles, tile);
#pragma unroll
                for (uint32_t t = 0; t < TILES; t++) slot[t * 32] = vector_of(value[t]);
            }
        }
    }

    // Starts copying what the pixels and units of a block push.
    DEVICE void pushes(uint32_t block) const {
        const uint32_t words = (stage.channels + stage.layers * stage.units) * 8;  // of a pixel
        const uint32_t first = block * stage.block, pixels = min(stage.block, stage.pixels - first);
        const uint32_t* const from = stage.pushes + first * words;
        uint32_t* const to = memory.pushes(block);
        for (uint32_t i = (number * 32 + lane()) * 4; i < pixels * words; i += WORKERS * 32 * 4) copy_async_16(to + i, from + i, 16);
        copy_async_commit();
    }

    // What the drawing warps need at once for pixel `next`, and would be long in finding out: random words of the tile's
    // images, which begin with number `image`, and where to go on with the pixel's numbers.
    DEVICE void look_up(uint32_t next, uint64_t image, uint32_t seed_low, uint32_t seed_high) const {
        // The last worker has the least to do.
        if (number != WORKERS - 1 || lane() >= TILES * 8) return;
        uint32_t words[3];
        philox(seed_low, seed_high, image + lane(), stage.first_place + next, words);
        uint32_t* const to = memory.random(next) + lane();
#pragma unroll
        for (uint32_t w = 0; w < 3; w++) to[w * TILES * 8] = words[w];
        if (lane() == 0) {
            const uint32_t ahead = value_blocks_ahead(stage, next, value_lead(value_tiles));
            const uint32_t first = value_fragment(stage, next, stage.divide_by_block(next), value_tiles, 0);
            *memory.pixel(next) = make_uint2(first + ahead, ahead);
        }
    }
};
