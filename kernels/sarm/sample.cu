// Draws images: all steps of the autoregressive model in one launch. docs/kernels.md#sampling
//
// A block of threads takes a tile of images, draws all of their pixels, and takes the next. Some of its warps *draw*,
// 8 images each: they go through a block's pixels one by one, each unit once final pushed into all that read it inside
// the block. The others *work ahead*: with what is finished they prepare the next block's units and the next
// pixels' numbers, so that the products with the bulk of the weights are in nobody's way.
#include "common/draw.cuh"
#include "common/gelu.cuh"
#include "left.cuh"
#include "limits.cuh"
#include "sample_network.cuh"
#include "shown.cuh"

struct SampleParams {
    const uint16_t* order;    // [places] row-major pixel of each place
    const float* conditions;  // [condition rows][conditions]; image i has row i % rows
    const float2* totals;     // [condition rows] GeV left at the start, and at the end; NULL: no total is known
    const float* grid;        // D+D: GeV of each level
    bf16* history;            // [blocks of threads][images of a tile][pitch], where it is not in shared memory
    uint32_t* queue;          // the next tile; 0 before and after a launch
    uint16_t* slot_pixel;     // out [images, places]: nonzero pixels of each image in drawing order
    float* slot_value;        // out, likewise: GeV
    uint32_t* counts;         // out [images]: how many
    uint64_t first_image;
    uint64_t condition_rows;
    uint32_t images;
    uint32_t stage_count;
    uint32_t conditions_each;
    uint32_t places;
    uint32_t seed_low, seed_high;
    uint32_t numbers;         // of a pixel besides its gate
    uint32_t value_tiles;     // of 16 numbers
    uint32_t components;      // D+C; 0: D+D
    uint32_t level_groups;    // D+D: 128 levels each
    // D+C, as `MixtureRange` of draw.cuh has them.
    float unit, upper;
    float largest;            // `upper` in GeV, rounded down
    float origin;
    float lower;              // D+C: the smallest pixel in logarithmic space, GeV; else 0
    uint32_t left_terms;      // functions of what is left that pixels are shown
    float inverse_mean;       // one over the mean total in GeV
    uint32_t padding;
    uint32_t input_kind[MOST_CHANNELS];
    float inverse_input_unit[MOST_CHANNELS];
    float input_scale[MOST_CHANNELS];
    TileLayout layout;
    SampleStage stages[MOST_STAGES];
};
static_assert(sizeof(SampleParams) == 240 + 96 * MOST_STAGES, "Params in src/families/sarm/cuda/ops/sample/mod.rs");

// Of an image: how many nonzero pixels it has so far, and what is left of its total in GeV, the end of which is `done`.
struct Drawn {
    uint32_t count;
    float left, done;
};

// A warp that draws 8 images. A lane has two of them, in columns 2 c and 2 c + 1 of the fragments with c = lane % 4, and looks
// after one, `mine`, when their ways part: four lanes then do the same.
template <class Memory> struct Drawer {
    static constexpr uint32_t TILES = Memory::TILES;
    const SampleParams& p;
    Memory memory;
    const SampleStage& stage;
    uint32_t image;  // of the launch: mine
    Drawn drawn;     // of it
    uint32_t block = 0;
    // This block's rows of each layer, and of the gates as the layer after the last, as fragments: sums until final.
    float rows[MOST_LAYERS + 1][4] = {};

    DEVICE static uint32_t mine() { return lane() % 4 * 2 + lane() / 4 % 2; }

    // Takes the rows that the workers have prepared, and adds what the last block contributes.
    DEVICE void take(uint32_t number) {
        block = number;
        constexpr uint32_t BATCH = 3;  // loads under way at a time
        static_assert((MOST_LAYERS + 1) % BATCH == 0, "whole batches");
#pragma unroll
        for (uint32_t first = 0; first <= MOST_LAYERS; first += BATCH) {
            uint4 weights[BATCH];
#pragma unroll
            for (uint32_t i = 0; i < BATCH; i++) {
                const uint32_t l = first + i;
                if (l <= stage.layers && block > 0) {
                    const uint32_t last = l == 0 ? stage.context_steps + (block - 1) * stage.channels : block - 1;
                    weights[i] = load_streamed(lanes_part(stage.rows, row_fragment(stage, block, l) + last));
                }
            }
#pragma unroll
            for (uint32_t i = 0; i < BATCH; i++) {
                const uint32_t l = first + i;
                if (l <= stage.layers) {
                    const float4 v = memory.rows(l)[warp() * 32];
                    rows[l][0] = v.x, rows[l][1] = v.y, rows[l][2] = v.z, rows[l][3] = v.w;
                    const uint32_t last = (l == 0 ? stage.channels : 1) * (block - 1);
                    if (block > 0) multiply_columns(rows[l], weights[i], memory.fragment(warp(), memory.plane(stage, l) + last * 16));
                }
            }
        }
        // The other channels of the last block's pixels.
        for (uint32_t c = 1; block > 0 && c < stage.channels; c++) {
            const uint32_t last = (block - 1) * stage.channels + c;
            const uint4 weights = load_streamed(lanes_part(stage.rows, row_fragment(stage, block, 0) + stage.context_steps + last));
            multiply_columns(rows[0], weights, memory.fragment(warp(), memory.plane(stage, 0) + last * 16));
        }
    }

    // Both images' numbers of row `row` of a fragment.
    DEVICE static float2 row_of(const float (&sum)[4], uint32_t row) {
        const uint32_t from = row % 8 * 4 + lane() % 4;
        const bool high = row >= 8;
        const float first = shuffle(high ? sum[2] : sum[0], from), second = shuffle(high ? sum[3] : sum[1], from);
        return make_float2(first, second);
    }

    // sum += what a source of this block adds to the rows of a layer, both images a bf16 of `pair`; its weights are zero for
    // rows that do not read it.
    DEVICE static void push(float (&sum)[4], uint32_t weights, uint32_t pair) {
        const float low = unpack_low(weights), high = unpack_high(weights);
        const float first = unpack_low(pair), second = unpack_high(pair);
        sum[0] = fmaf(low, first, sum[0]), sum[1] = fmaf(low, second, sum[1]);
        sum[2] = fmaf(high, first, sum[2]), sum[3] = fmaf(high, second, sum[3]);
    }

    // Where a column of both images is kept; four lanes write.
    DEVICE bf16* column_at(uint32_t column) const { return memory.image(warp() * 8 + lane() % 4 * 2) + column; }
    DEVICE void keep(bf16* at, uint32_t pair) const {
        bf16* const second = at + memory.layout.pitch;
        if (lane() < 4) *at = bf16{static_cast<uint16_t>(pair)}, *second = bf16{static_cast<uint16_t>(pair >> 16)};
    }

    // The units of pixel `q` of the block, layer by layer: the logits of both images' gates. ONE: one unit a layer.
    template <bool ONE> DEVICE float2 units(uint32_t q, const uint32_t* pushes) {
        const uint32_t count = ONE ? 1 : stage.units, next_layer = 16 * stage.blocks;
        bf16* kept = column_at(memory.plane(stage, 1) + block * 16 + q * count);
        float2 gate = make_float2(0.0f, 0.0f);
#pragma unroll
        for (uint32_t l = 0; l < MOST_LAYERS; l++) {
            if (l < stage.layers) {
                for (uint32_t j = 0; j < count; j++) {
                    const uint32_t weights = pushes[(stage.channels + l * count + j) * 8];
                    const float2 z = row_of(rows[l], q * count + j);
                    const uint32_t pair = pack_bf16(gelu(z.x), gelu(z.y));
                    push(rows[l + 1], weights, pair);
                    keep(kept + j, pair);
                }
                kept += next_layer;
                if (l + 1 == stage.layers) gate = row_of(rows[l + 1], q);
            }
        }
        return gate;
    }

    // Draws pixel `q` of the block.
    DEVICE void step(uint32_t q) {
        const uint32_t pixel = block * stage.block + q;
        const uint32_t* const pushes = memory.pushes(block) + q * (stage.channels + stage.layers * stage.units) * 8 + lane() / 4;
        // What the gate is shown of what is left, known since the pixel before; and the weights for the next.
        float shown = 0.0f;
        if (stage.left) {
            shown = LeftPlace(drawn.left, p.inverse_mean).add_to(0.0f, left_weights(pixel), p.left_terms);
            const uint32_t ahead = lane() * 8;
            if (pixel + 1 < stage.pixels && ahead < (1 + p.numbers) * p.left_terms) prefetch(left_weights(pixel + 1) + ahead);
        }
        // Weights from far away are asked for before anybody waits for them.
        const uint2 left = *memory.pixel(pixel);
        const uint32_t ahead = left.y;
        const uint4* const weights = lanes_part(stage.values, left.x);
        const uint4 first_weights = load_streamed(weights);
        // Not the first where there is no second: that would wait for it here.
        const uint4 second_weights = ahead < block ? load_streamed(weights + FRAGMENT) : make_uint4(0, 0, 0, 0);

        const float2 gate = stage.units == 1 ? units<true>(q, pushes) : units<false>(q, pushes);

        // The first numbers do not wait for the gate: the tensor cores are through with them when it is known.
        // The block's own units have just been kept, by other lanes.
        warp_barrier();
        float numbers[4];
        add_blocks(numbers, pixel, 0, ahead, weights, first_weights, second_weights);

        const uint32_t* const random = memory.random(pixel) + warp() * 8 + mine();
        const float zero = sigmoid((lane() / 4 % 2 != 0 ? gate.y : gate.x) + shown);
        const bool open = image < p.images && unit(random[0]) >= zero && drawn.left > drawn.done;
        // Lane i < 8 speaks for image i % 4 * 2 + i / 4.
        const uint32_t opened = vote(open) & 0xFFu;
        if (opened == 0) return;

        lay_out(numbers, pixel, 0);
        for (uint32_t tile = 1; tile < p.value_tiles; tile++) {
            add_blocks(numbers, pixel, tile, ahead, weights, first_weights, second_weights);
            lay_out(numbers, pixel, tile);
        }
        warp_barrier();
        if (stage.left) show_left(pixel);
        const float value = draw(pixel, opened, open, unit(random[TILES * 8]), unit(random[2 * TILES * 8]));
        if (open && lane() < 8) {
            const uint64_t at = static_cast<uint64_t>(image) * p.places + drawn.count;
            p.slot_pixel[at] = p.order[stage.first_place + pixel];
            p.slot_value[at] = value;
        }
        if (open) drawn.count++, drawn.left -= value;
        bf16* at = column_at(memory.plane(stage, 0) + block * 16 * stage.channels + q);
        for (uint32_t c = 0; c < stage.channels; c++, at += 16) {
            const float of_value = open ? p.input_scale[c] * shown_value(value, p.input_kind[c], p.inverse_input_unit[c]) : 0.0f;
            const float first = shuffle(of_value, lane() % 4), second = shuffle(of_value, lane() % 4 + 4);
            const uint32_t pair = pack_bf16(first, second);
            keep(at, pair);
            push(rows[0], pushes[c * 8], pair);
        }
    }

    // Where number `number` of this warp's images lies once laid out: 8 images from there on.
    DEVICE float* numbers_at(uint32_t pixel, uint32_t number) const {
        float4* const tile = memory.values(pixel, p.value_tiles, number / 16) - lane() + warp() * 32;
        return reinterpret_cast<float*>(tile) + number % 16 * 8;
    }

    // 16 of a pixel's numbers: what the workers have, and what the blocks from `ahead` on contribute, its own included.
    DEVICE void add_blocks(float (&sum)[4], uint32_t pixel, uint32_t tile, uint32_t ahead, const uint4* weights, const uint4& first,
                           const uint4& second) const {
        const float4 v = memory.values(pixel, p.value_tiles, tile)[warp() * 32];
        sum[0] = v.x, sum[1] = v.y, sum[2] = v.z, sum[3] = v.w;
        const bf16* const columns = memory.fragment(warp(), memory.plane(stage, stage.layers));
        for (uint32_t b = ahead; b <= block; b++) {
            const bool fetched = tile == 0 && b <= ahead + 1;
            const uint4* const more = weights + (tile * (block + 1) + b - ahead) * FRAGMENT;
            multiply_columns(sum, !fetched ? load_streamed(more) : b == ahead ? first : second, columns + b * 16);
        }
    }

    // Puts them where `numbers_at` looks for them. Other lanes have read what was there.
    DEVICE void lay_out(const float (&sum)[4], uint32_t pixel, uint32_t tile) const {
        warp_barrier();
        float* const at = numbers_at(pixel, tile * 16 + lane() / 4) + lane() % 4 * 2;
        *reinterpret_cast<float2*>(at) = make_float2(sum[0], sum[1]);
        *reinterpret_cast<float2*>(at + 64) = make_float2(sum[2], sum[3]);
    }

    // Weights of what is left for the numbers of a pixel, its gate's first.
    DEVICE const float* left_weights(uint32_t pixel) const { return stage.left + pixel * (1 + p.numbers) * p.left_terms; }

    // Adds what is left to all numbers that are laid out. The four lanes of an image share them out.
    DEVICE void show_left(uint32_t pixel) const {
        const LeftPlace place(drawn.left, p.inverse_mean);
        const float* weights = left_weights(pixel) + (1 + lane() / 8) * p.left_terms;
        float* number = numbers_at(pixel, lane() / 8) + mine();
        // Not unrolled: there are no registers to spare.
#pragma unroll 1
        for (uint32_t i = lane() / 8; i < p.numbers; i += 4) {
            *number = place.add_to(*number, weights, p.left_terms);
            weights += 4 * p.left_terms;
            number = numbers_at(pixel, i + 4) + mine();
        }
        warp_barrier();
    }

    // GeV of my image's pixel, if it is open.
    DEVICE float draw(uint32_t pixel, uint32_t opened, bool open, float pick, float place) const {
        if (p.components > 0) {
            const auto number = [&](uint32_t i) { return numbers_at(pixel, i)[mine()]; };
            const MixtureRange range(p.unit, p.upper, p.largest, p.origin, p.lower, drawn.left);
            if (range.certain) return open ? drawn.left : 0.0f;
            return open ? draw_mixture(number, p.components, range, pick, place) : 0.0f;
        }
        float value = 0.0f;
        for (; opened != 0; opened &= opened - 1) {
            const uint32_t speaker = lowest_bit(opened), column = speaker % 4 * 2 + speaker / 4;
            const float its_pick = shuffle(pick, speaker);
            const auto latent = [&](uint32_t u) { return numbers_at(pixel, u)[column]; };
            const uint32_t level = draw_level(latent, p.numbers, stage.map, p.level_groups, its_pick);
            if (mine() == column) value = p.grid[level];
        }
        return value;
    }
};

// The whole block: sets columns from `from` on to zero. Units and pixels that are not there must be numbers.
template <class Memory> DEVICE void clear(const Memory& memory, uint32_t from) {
    const uint32_t pieces = (memory.layout.pitch - from) / 8;
    for (uint32_t i = thread_index(); i < Memory::TILES * 8 * pieces; i += block_threads())
        *reinterpret_cast<uint4*>(memory.image(i / pieces) + from + i % pieces * 8) = make_uint4(0, 0, 0, 0);
}

// The whole block: conditions of the tile's images.
template <class Memory> DEVICE void show_conditions(const SampleParams& p, const Memory& memory, uint32_t first) {
    const uint32_t each = p.conditions_each;
    for (uint32_t i = thread_index(); i < Memory::TILES * 8 * each; i += block_threads()) {
        const uint32_t image = i / each, condition = i % each;
        const uint64_t row = (p.first_image + first + image) % p.condition_rows;
        memory.image(image)[condition] = to_bf16(p.conditions[row * each + condition]);
    }
}

// The whole block: a stage's pixels become context of the next.
template <class Memory> DEVICE void show_pixels(const SampleParams& p, const Memory& memory, const SampleStage& stage) {
    const uint32_t shown = stage.pixels * stage.channels;
    for (uint32_t i = thread_index(); i < Memory::TILES * 8 * shown; i += block_threads()) {
        const uint32_t pixel = i % shown / stage.channels, channel = i % stage.channels, block = stage.divide_by_block(pixel);
        bf16* const row = memory.image(i / shown);
        const uint32_t from = (block * stage.channels + channel) * 16 + pixel - block * stage.block;
        row[p.conditions_each + stage.first_place * stage.channels + i % shown] = row[memory.plane(stage, 0) + from];
    }
}

// The start of my image.
DEVICE Drawn start_of(const SampleParams& p, uint32_t image) {
    if (!p.totals) return {0, INFINITY, -INFINITY};
    const float2 total = p.totals[(p.first_image + image) % p.condition_rows];
    return {0, total.x, total.y};
}

// Draws a stage of the images from `first` on; `drawn`: of mine.
template <class Memory>
DEVICE void draw_stage(const SampleParams& p, const Memory& memory, const SampleStage& stage, uint32_t first, Drawn& drawn) {
    const bool draws = warp() < Memory::TILES;
    Drawer<Memory> drawer{p, memory, stage, first + warp() * 8 + Drawer<Memory>::mine(), drawn};
    Worker<Memory> worker{memory, stage, warp() - Memory::TILES, p.value_tiles};
    // Pixel q of the block is drawn while the workers prepare the one after it; before the first of all, they alone work.
    uint32_t block = 0, q = 0, in_block = 0;
    for (uint32_t next = 0; next <= stage.pixels; next++) {
        if (next > 0 && q == 0) {
            in_block = min(stage.block, stage.pixels - block * stage.block);
            if (draws) drawer.take(block);
            block_barrier();
        }
        if (draws) {
            if (next > 0) drawer.step(q);
        } else {
            const uint32_t prepared = next == 0 ? 0 : block + 1;
            if (prepared < stage.blocks) {
                if (q == 0) worker.pushes(prepared);
                worker.rows(prepared, q, next == 0);
            }
            if (next < stage.pixels) {
                worker.values(next);
                worker.look_up(next, p.first_image + first, p.seed_low, p.seed_high);
            }
            if (next == 0 || q + 1 == in_block) copy_async_wait<0>();
        }
        block_barrier();
        if (next > 0 && ++q == in_block) block++, q = 0;
    }
    drawn = drawer.drawn;
}

template <uint32_t TILES, bool SHARED> DEVICE void sample(const SampleParams& p) {
    using Memory = TileMemory<TILES, SHARED>;
    const Memory memory{p.layout, p.history + static_cast<uint64_t>(block_index()) * TILES * 8 * p.layout.pitch};
    uint32_t* const taken = memory.tile();
    const uint32_t tiles = divide_up(p.images, TILES * 8);
    while (true) {
        // Beyond the tiles every block comes here once; the last leaves the queue as it found it.
        if (thread_index() == 0) *taken = atomic_count(p.queue, tiles + block_count() - 1);
        block_barrier();
        if (*taken >= tiles) return;
        const uint32_t first = *taken * TILES * 8;
        const uint32_t image = first + warp() * 8 + Drawer<Memory>::mine();
        Drawn drawn = start_of(p, image);
        clear(memory, 0);
        block_barrier();
        show_conditions(p, memory, first);
        for (uint32_t s = 0; s < p.stage_count; s++) {
            const SampleStage& stage = p.stages[s];
            block_barrier();
            draw_stage(p, memory, stage, first, drawn);
            if (s + 1 < p.stage_count) {
                show_pixels(p, memory, stage);
                block_barrier();
                clear(memory, p.layout.context_columns);
            }
        }
        if (warp() < TILES && lane() < 8 && image < p.images) p.counts[image] = drawn.count;
    }
}

KERNEL(sample_8, SampleParams, 32 * (1 + WORKERS), 1) { sample<1, true>(p); }
KERNEL(sample_16, SampleParams, 32 * (2 + WORKERS), 1) { sample<2, true>(p); }
KERNEL(sample_24, SampleParams, 32 * (3 + WORKERS), 1) { sample<3, true>(p); }
KERNEL(sample_32, SampleParams, 32 * (4 + WORKERS), 1) { sample<4, true>(p); }
// For networks of which shared memory does not hold 8 images; the second for those with very many numbers.
KERNEL(sample_32_global, SampleParams, 32 * (4 + WORKERS), 1) { sample<4, false>(p); }
KERNEL(sample_8_global, SampleParams, 32 * (1 + WORKERS), 1) { sample<1, false>(p); }
