// D+D: the cost of a batch and its gradient, and the step of the shared map (docs/kernels.md#levels_likelihood).
//
// A block takes tiles of cells in turn, and of a tile's positive pixels a few at a time (the entries): latents
// to logits, softmax, and back, all in shared memory. The map's bias is its last column, read by a latent that
// is always 1. The levels too are taken a tile at a time, as many as shared memory holds: with more than one
// tile the softmax is collected over a first pass and the logits are computed again in a second.

#include "common/adam.cuh"
#include "cells.cuh"

struct LevelsStage {
    StageCells cells;
    const float* map;  // [levels, map_pitch]
    const float* bias; // [levels]
    float* sums;       // [blocks, levels, row]: of the gradient of map and bias; NULL without derivatives
    uint32_t blocks;
    uint32_t tiles;
};
static_assert(sizeof(LevelsStage) == 72, "as in src/families/sarm/cuda/ops/levels.rs");

struct LevelsParams {
    Cells cells;
    const float* log_widths; // [levels]
    uint32_t latents;        // U
    uint32_t levels;         // N
    uint32_t row;            // of a level: latents, 1 for the bias, and padding to four times an odd number
    uint32_t map_pitch;
    uint32_t tile;        // levels in shared memory, a multiple of 8
    uint32_t entries;     // 4, 8, 16 or 32
    uint32_t shared_sums; // the sums stand in shared memory; tile >= levels
    uint32_t stage_count;
    LevelsStage stages[MOST_STAGES];
};
static_assert(sizeof(LevelsParams) == 72 + 72 * MOST_STAGES, "as in src/families/sarm/cuda/ops/levels.rs");

constexpr uint32_t WARPS = CELLS / 32;
constexpr float NO_LOGIT = -1e30f;

// A block's shared memory; every array begins at 16 bytes.
struct LevelsShared {
    CellsShared& cells;
    float* map;     // [tile, row]
    float* sums;    // [levels, row], in shared memory or not; NULL without derivatives
    float* p;       // [entries, tile]: logits, then derivatives by them
    float* latents; // [entries, row]
    float* by_latents;
    float* largest; // [entries], of the logits so far
    float* total;   // of the exponentials so far
    float* chosen;  // logit of the pixel's level
    uint32_t* level;

    DEVICE LevelsShared(const LevelsParams& p_, float* of_block)
        : cells(*shared_memory<CellsShared>()) {
        map = reinterpret_cast<float*>(&cells + 1);
        float* next = map + p_.tile * p_.row;
        sums = of_block;
        if (p_.shared_sums && of_block) sums = next;
        if (p_.shared_sums) next += p_.tile * p_.row;
        p = next;
        latents = p + p_.entries * p_.tile;
        by_latents = latents + p_.entries * p_.row;
        largest = by_latents + p_.entries * p_.row;
        total = largest + p_.entries;
        chosen = total + p_.entries;
        level = reinterpret_cast<uint32_t*>(chosen + p_.entries);
    }
};

DEVICE float4 load4(const float* p) { return *reinterpret_cast<const float4*>(p); }

// Rows `first ..` of map and bias, `count` of them.
DEVICE void load_map(const LevelsParams& p, const LevelsStage& stage, const LevelsShared& s, uint32_t first,
                     uint32_t count) {
    for (uint32_t i = thread_index(); i < count * p.row; i += CELLS) {
        const uint32_t level = i / p.row, u = i % p.row;
        float v = 0.0f;
        if (u < p.latents) v = stage.map[static_cast<size_t>(first + level) * p.map_pitch + u];
        if (u == p.latents) v = stage.bias[first + level];
        s.map[i] = v;
    }
}

// p[e, n] = latents[e] . map[n], `together` entries a thread.
template <int together>
DEVICE void logits(const LevelsParams& p, const LevelsShared& s, uint32_t entries, uint32_t count) {
    const uint32_t rounded = divide_up(count, 32) * 32;
    for (uint32_t i = thread_index(); i < rounded * divide_up(entries, together); i += CELLS) {
        const uint32_t first = i / rounded * together, n = i % rounded;
        if (n >= count) continue;
        float sum[together] = {};
        for (uint32_t u = 0; u < p.row; u += 4) {
            const float4 m = load4(s.map + n * p.row + u);
            for (int e = 0; e < together; ++e) {
                const float4 z = load4(s.latents + (first + e) * p.row + u);
                sum[e] = fmaf(m.x, z.x, fmaf(m.y, z.y, fmaf(m.z, z.z, fmaf(m.w, z.w, sum[e]))));
            }
        }
        for (int e = 0; e < together; ++e) s.p[(first + e) * p.tile + n] = sum[e];
    }
}

// The softmax so far with the levels `first ..` added; a warp an entry.
DEVICE void collect(const LevelsParams& p, const LevelsShared& s, uint32_t entries, uint32_t first, uint32_t count) {
    for (uint32_t e = warp(); e < entries; e += WARPS) {
        const float* row = s.p + e * p.tile;
        float largest = NO_LOGIT;
        for (uint32_t n = lane(); n < count; n += 32) largest = fmaxf(largest, row[n]);
        const float before = s.largest[e];
        largest = fmaxf(warp_max(largest), before);
        float total = 0.0f;
        for (uint32_t n = lane(); n < count; n += 32) total += fast_exp(row[n] - largest);
        total = warp_sum(total);
        // All lanes have read what stood there.
        warp_barrier();
        if (lane() == 0) {
            s.total[e] = fmaf(s.total[e], fast_exp(before - largest), total);
            s.largest[e] = largest;
            if (s.level[e] - first < count) s.chosen[e] = row[s.level[e] - first];
        }
    }
}

// Logits become derivatives: scale (softmax - [level]); a warp an entry.
DEVICE void differentiate(const LevelsParams& p, const LevelsShared& s, uint32_t entries, uint32_t first,
                          uint32_t count) {
    for (uint32_t e = warp(); e < entries; e += WARPS) {
        float* row = s.p + e * p.tile;
        const float scale = p.cells.scale / s.total[e], largest = s.largest[e];
        const uint32_t level = s.level[e] - first;
        for (uint32_t n = lane(); n < count; n += 32) {
            row[n] = scale * fast_exp(row[n] - largest) - (n == level ? p.cells.scale : 0.0f);
        }
    }
}

// by_latents[e] += sum over n of p[e, n] map[n]: four entries a warp, twelve columns at a time.
DEVICE void back_to_latents(const LevelsParams& p, const LevelsShared& s, uint32_t entries, uint32_t count) {
    constexpr int TOGETHER = 4, COLUMNS = 12, SUMS = TOGETHER * COLUMNS;
    for (uint32_t e = warp() * TOGETHER; e < entries; e += WARPS * TOGETHER) {
        for (uint32_t u = 0; u < p.row; u += COLUMNS) {
            float sum[SUMS] = {};
            for (uint32_t n = lane(); n < count; n += 32) {
                float d[TOGETHER];
                for (int i = 0; i < TOGETHER; ++i) d[i] = e + i < entries ? s.p[(e + i) * p.tile + n] : 0.0f;
                for (int q = 0; q < COLUMNS; q += 4) {
                    if (u + q >= p.row) continue;
                    const float4 m = load4(s.map + n * p.row + u + q);
                    for (int i = 0; i < TOGETHER; ++i) {
                        float* to = sum + i * COLUMNS + q;
                        to[0] = fmaf(d[i], m.x, to[0]);
                        to[1] = fmaf(d[i], m.y, to[1]);
                        to[2] = fmaf(d[i], m.z, to[2]);
                        to[3] = fmaf(d[i], m.w, to[3]);
                    }
                }
            }
            // Summed over the lanes by halves: each exchange leaves a lane half of the sums, so that in the
            // end every lane holds three, of the place that its upper four bits make.
            int held = SUMS;
            uint32_t first = 0;
            for (uint32_t mask = 16; mask > 1; mask /= 2) {
                held /= 2;
                const bool upper = (lane() & mask) != 0;
                for (int i = 0; i < SUMS / 2; ++i) {
                    if (i >= held) break;
                    const float mine = upper ? sum[i + held] : sum[i];
                    sum[i] = mine + shuffle_xor(upper ? sum[i] : sum[i + held], mask);
                }
                if (upper) first += held;
            }
            for (int i = 0; i < 3; ++i) {
                const float all = sum[i] + shuffle_xor(sum[i], 1);
                const uint32_t entry = e + (first + i) / COLUMNS, column = u + (first + i) % COLUMNS;
                if (lane() % 2 == 0 && entry < entries && column < p.row) s.by_latents[entry * p.row + column] += all;
            }
        }
    }
}

// sums[first + n] += sum over e of p[e, n] latents[e]: a thread a level and twelve columns.
DEVICE void add_to_sums(const LevelsParams& p, const LevelsShared& s, uint32_t entries, uint32_t first,
                        uint32_t count) {
    constexpr int COLUMNS = 12;
    const uint32_t rounded = divide_up(count, 32) * 32, parts = divide_up(p.row, COLUMNS);
    for (uint32_t i = thread_index(); i < rounded * parts; i += CELLS) {
        const uint32_t n = i % rounded, u = i / rounded * COLUMNS;
        if (n >= count) continue;
        float* to = s.sums + static_cast<size_t>(first + n) * p.row + u;
        float sum[COLUMNS] = {};
        for (uint32_t e = 0; e < entries; ++e) {
            const float d = s.p[e * p.tile + n];
            for (int q = 0; q < COLUMNS; q += 4) {
                if (u + q >= p.row) continue;
                const float4 z = load4(s.latents + e * p.row + u + q);
                sum[q] = fmaf(d, z.x, sum[q]);
                sum[q + 1] = fmaf(d, z.y, sum[q + 1]);
                sum[q + 2] = fmaf(d, z.z, sum[q + 2]);
                sum[q + 3] = fmaf(d, z.w, sum[q + 3]);
            }
        }
        for (int q = 0; q < COLUMNS; q += 4) {
            if (u + q >= p.row) continue;
            const float4 before = load4(to + q);
            *reinterpret_cast<float4*>(to + q) = make_float4(before.x + sum[q], before.y + sum[q + 1],
                                                             before.z + sum[q + 2], before.w + sum[q + 3]);
        }
    }
}

DEVICE void logits_of(const LevelsParams& p, const LevelsShared& s, uint32_t entries, uint32_t count) {
    if (p.entries >= 8) {
        logits<8>(p, s, entries, count);
    } else {
        logits<4>(p, s, entries, count);
    }
}

// Positive pixels `first ..` of the tile's list, at most `p.entries` of them. Begins and ends with nothing of
// the entries in use.
DEVICE void softmaxes(const LevelsParams& p, const LevelsStage& stage, const CellTile& tile, LevelsShared& s,
                      uint32_t first, uint32_t entries) {
    for (uint32_t i = thread_index(); i < p.entries * p.row; i += CELLS) {
        const uint32_t e = i / p.row, u = i % p.row;
        float v = u == p.latents ? 1.0f : 0.0f;
        if (e < entries && u < p.latents) {
            v = stage.cells.output[values_of(p.cells, stage.cells, tile, s.cells.entry[first + e]) + u];
        }
        s.latents[i] = v;
        s.by_latents[i] = 0.0f;
    }
    if (thread_index() < entries) {
        const uint32_t e = thread_index();
        s.level[e] = target_of(p.cells, stage.cells, tile, s.cells.entry[first + e]) - 1;
        s.largest[e] = NO_LOGIT;
        s.total[e] = 0.0f;
        s.chosen[e] = 0.0f;
    }
    const bool whole = p.tile >= p.levels;
    for (uint32_t level = 0; level < p.levels; level += p.tile) {
        const uint32_t count = min(p.tile, p.levels - level);
        if (!whole) load_map(p, stage, s, level, count);
        block_barrier();
        logits_of(p, s, entries, count);
        block_barrier();
        collect(p, s, entries, level, count);
        block_barrier();
    }
    if (thread_index() < entries) {
        const uint32_t e = thread_index();
        s.cells.cost[s.cells.entry[first + e]] +=
            (s.largest[e] - s.chosen[e]) + logf(s.total[e]) + p.log_widths[s.level[e]];
    }
    if (!stage.cells.delta) return;
    for (uint32_t level = 0; level < p.levels; level += p.tile) {
        const uint32_t count = min(p.tile, p.levels - level);
        if (!whole) {
            load_map(p, stage, s, level, count);
            block_barrier();
            logits_of(p, s, entries, count);
            block_barrier();
        }
        differentiate(p, s, entries, level, count);
        block_barrier();
        back_to_latents(p, s, entries, count);
        add_to_sums(p, s, entries, level, count);
        block_barrier();
    }
    for (uint32_t i = thread_index(); i < entries * p.latents; i += CELLS) {
        const uint32_t e = i / p.latents, u = i % p.latents;
        stage.cells.delta[values_of(p.cells, stage.cells, tile, s.cells.entry[first + e]) + u] =
            to_bf16(s.by_latents[e * p.row + u]);
    }
}

KERNEL(levels_likelihood, LevelsParams, CELLS, 2) {
    uint32_t index = 0;
    while (index + 1 < p.stage_count && block_index() >= p.stages[index + 1].cells.first_block) ++index;
    const LevelsStage& stage = p.stages[index];
    const uint32_t block = block_index() - stage.cells.first_block, numbers = p.levels * p.row;
    float* of_block = stage.sums ? stage.sums + static_cast<size_t>(block) * numbers : nullptr;
    LevelsShared s(p, of_block);
    if (s.sums) {
        for (uint32_t i = thread_index(); i < numbers; i += CELLS) s.sums[i] = 0.0f;
    }
    if (p.tile >= p.levels) load_map(p, stage, s, 0, p.levels);
    for (uint32_t t = block; t < stage.tiles; t += stage.blocks) {
        const CellTile tile(stage.cells, t);
        const auto gate_of = [](uint32_t, float logit) { return logit; };
        const uint32_t entries = open_tile(p.cells, stage.cells, tile, s.cells, gate_of);
        for (uint32_t first = 0; first < entries; first += p.entries) {
            softmaxes(p, stage, tile, s, first, min(p.entries, entries - first));
            block_barrier();
        }
        close_tile(p.cells, stage.cells, tile, s.cells);
        block_barrier();
    }
    if (s.sums && p.shared_sums) {
        for (uint32_t i = thread_index(); i < numbers; i += CELLS) of_block[i] = s.sums[i];
    }
}

// A stage of the update: Adam on map and bias, or the gradient stored where the parameters would be.
struct UpdateStage {
    const float* sums;            // [blocks, levels, row]
    float *map, *map_1, *map_2;   // [levels, map_pitch], and Adam's moments
    float *bias, *bias_1, *bias_2; // [levels]
    uint32_t blocks;
    uint32_t store;
};
static_assert(sizeof(UpdateStage) == 64, "as in src/families/sarm/cuda/ops/levels.rs");

struct UpdateParams {
    const AdamRates* rates; // [steps]
    const uint32_t* cursor; // which step; NULL: the first
    uint32_t latents, levels, row, map_pitch;
    uint32_t blocks_per_stage;
    uint32_t unused;
    UpdateStage stages[MOST_STAGES];
};
static_assert(sizeof(UpdateParams) == 40 + 64 * MOST_STAGES, "as in src/families/sarm/cuda/ops/levels.rs");

// A block adds up 32 numbers of the map: warp w the sums of blocks w, w + 8, ..., then the first warp over warps.
KERNEL(levels_update, UpdateParams, CELLS, 4) {
    float* parts = shared_memory<float>();
    const UpdateStage& stage = p.stages[block_index() / p.blocks_per_stage];
    const size_t numbers = static_cast<size_t>(p.levels) * p.row;
    const size_t i = static_cast<size_t>(block_index() % p.blocks_per_stage) * 32 + lane();
    float sum = 0.0f;
    if (i < numbers) {
#pragma unroll 8
        for (uint32_t block = warp(); block < stage.blocks; block += WARPS) sum += stage.sums[block * numbers + i];
    }
    parts[thread_index()] = sum;
    block_barrier();
    const size_t level = i / p.row;
    const uint32_t u = static_cast<uint32_t>(i % p.row);
    if (warp() > 0 || i >= numbers || u > p.latents) return;
    for (uint32_t w = 1; w < WARPS; ++w) sum += parts[w * 32 + lane()];
    const bool is_bias = u == p.latents;
    const size_t at = is_bias ? level : level * p.map_pitch + u;
    float* value = (is_bias ? stage.bias : stage.map) + at;
    if (stage.store) {
        *value = sum;
        return;
    }
    const AdamRates rates = p.rates[p.cursor ? *p.cursor : 0].without_decay();
    float *first = (is_bias ? stage.bias_1 : stage.map_1) + at, *second = (is_bias ? stage.bias_2 : stage.map_2) + at;
    const AdamState state = adam({*value, *first, *second}, sum, rates);
    *value = state.value;
    *first = state.first;
    *second = state.second;
}
