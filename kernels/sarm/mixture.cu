// D+C: the cost of a batch and its gradient (docs/kernels.md#mixture_likelihood).
//
// One block a tile of cells. Only the gates are read of all pixels; the positive ones are spread over groups
// of lanes, one lane a component (two above 32), and the mixture is a log-sum-exp over the group.

#include "cells.cuh"

struct MixtureParams {
    Cells cells;
    const float* limit;           // [images, places] of positive pixels: `Mixture::limit`; NULL: no total is known
    float inverse_unit, log_unit; // of one unit of means and scales in GeV
    float upper;                  // in units; infinite without upper truncation
    uint32_t components;          // K
    uint32_t lanes;               // of a group, a power of two; K or more, or 32
    uint32_t stage_count;
    StageCells stages[MOST_STAGES];
};
static_assert(sizeof(MixtureParams) == 64 + 40 * MOST_STAGES, "as in src/families/sarm/cuda/ops/mixture.rs");

DEVICE float group_sum(float v, uint32_t lanes) {
    for (uint32_t mask = lanes / 2; mask > 0; mask /= 2) v += shuffle_xor(v, mask);
    return v;
}
DEVICE float group_max(float v, uint32_t lanes) {
    for (uint32_t mask = lanes / 2; mask > 0; mask /= 2) v = fmaxf(v, shuffle_xor(v, mask));
    return v;
}

// The values of the listed cells, `per_lane` components a lane.
template <int per_lane>
DEVICE void mixtures(const MixtureParams& p, const StageCells& stage, const CellTile& tile, uint32_t entries,
                     CellsShared& shared) {
    // Stands for a component that is not there: no weight, and no number that could overflow.
    constexpr float NONE = -1e30f;
    const uint32_t k = p.components, groups = 32 / p.lanes;
    const uint32_t first_component = lane() % p.lanes;
    for (uint32_t first = warp() * groups; first < entries; first += CELLS / 32 * groups) {
        const uint32_t entry = first + lane() / p.lanes;
        const bool exists = entry < entries;
        const uint32_t cell = exists ? shared.entry[entry] : 0;
        const size_t values = values_of(p.cells, stage, tile, cell);
        MixturePixel pixel{0.0f, p.upper};
        if (exists) pixel.y = float_of_bits(target_of(p.cells, stage, tile, cell)) * p.inverse_unit;
        // Components of this pixel: the first if it took all that was left, the others if not; all, where no total is known or
        // more is left than a pixel can be. Which: `Mixture::limit` of src/families/sarm/likelihood/total.rs.
        uint32_t from = 0, to = k;
        if (exists && p.limit) {
            const float left = p.limit[place_of(p.cells, stage, tile, cell)];
            if (left == 0.0f) {
                to = 1;
            } else if (left < INFINITY) {
                from = 1;
                pixel.upper = fminf(p.upper, fmaxf(left * p.inverse_unit, 2.0f * SMALLEST));
            }
        }
        const bool all = to == 1 && p.limit;

        float logit[per_lane], joint[per_lane];
        Logistic logistic[per_lane] = {};
        float largest_logit = NONE, largest_joint = NONE;
        for (int i = 0; i < per_lane; ++i) {
            const uint32_t c = first_component + i * 32;
            logit[i] = joint[i] = NONE;
            if (exists && c < k) {
                const float* v = stage.output + values + c;
                logit[i] = v[0];
                if (all) {
                    if (c == 0) joint[i] = logit[i];
                } else if (c >= from) {
                    logistic[i] = truncated_logistic(pixel, v[k], v[2 * k]);
                    joint[i] = logit[i] + logistic[i].log_density;
                }
            }
            largest_logit = fmaxf(largest_logit, logit[i]);
            largest_joint = fmaxf(largest_joint, joint[i]);
        }
        largest_logit = group_max(largest_logit, p.lanes);
        largest_joint = group_max(largest_joint, p.lanes);
        float weights = 0.0f, joints = 0.0f;
        for (int i = 0; i < per_lane; ++i) {
            const bool there = exists && first_component + i * 32 < k;
            logit[i] = there ? expf(logit[i] - largest_logit) : 0.0f;
            const uint32_t c = first_component + i * 32;
            joint[i] = there && c >= from && c < to ? expf(joint[i] - largest_joint) : 0.0f;
            weights += logit[i];
            joints += joint[i];
        }
        weights = group_sum(weights, p.lanes);
        joints = group_sum(joints, p.lanes);
        if (!exists) continue;

        if (first_component == 0) {
            shared.cost[cell] += (largest_logit - largest_joint) + (logf(weights) - logf(joints)) + (all ? 0.0f : p.log_unit);
        }
        if (!stage.delta) continue;
        const float inverse_weights = 1.0f / weights, inverse_joints = 1.0f / joints;
        for (int i = 0; i < per_lane; ++i) {
            const uint32_t c = first_component + i * 32;
            if (c >= k) continue;
            bf16* d = stage.delta + values + c;
            const float responsibility = joint[i] * inverse_joints;
            const float scaled = -p.cells.scale * responsibility;
            d[0] = to_bf16(p.cells.scale * (logit[i] * inverse_weights - responsibility));
            d[k] = to_bf16(scaled * logistic[i].by_mean);
            d[2 * k] = to_bf16(scaled * logistic[i].by_log_scale);
        }
    }
}

KERNEL(mixture_likelihood, MixtureParams, CELLS, 5) {
    CellsShared& shared = *shared_memory<CellsShared>();
    uint32_t s = 0;
    while (s + 1 < p.stage_count && block_index() >= p.stages[s + 1].first_block) ++s;
    const StageCells& stage = p.stages[s];
    const CellTile tile(stage, block_index() - stage.first_block);
    const uint32_t entries = open_tile(p.cells, stage, tile, shared);
    if (p.components <= 32) {
        mixtures<1>(p, stage, tile, entries, shared);
    } else {
        mixtures<MOST_COMPONENTS / 32>(p, stage, tile, entries, shared);
    }
    block_barrier();
    close_tile(p.cells, stage, tile, shared);
}
