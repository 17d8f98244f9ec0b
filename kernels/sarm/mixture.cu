// D+C: the cost of a batch and its gradient (docs/kernels.md#mixture_likelihood).
//
// One block a tile of cells. Only the gates are read of all pixels; the positive ones are spread over groups
// of lanes, one lane a component (two above 32), and the mixture is a log-sum-exp over the group.

#include "cells.cuh"
#include "left.cuh"

struct MixtureParams {
    Cells cells;
    // [images, places] of positive pixels: `Mixture::limit`; with `left_terms` the size of all others' too. NULL: no total is
    // known.
    const float* limit;
    // The variable y of the logistics is x times this or, in logarithmic space, the bent logarithm of that.
    float inverse_unit;
    float log_unit;      // of one unit in GeV
    float upper;         // largest y; infinite without upper truncation
    float largest;       // the same in GeV, rounded down
    float lower;         // GeV of the smallest pixel in logarithmic space; else 0
    float origin;        // y where a mean of 0 lies
    uint32_t components; // K
    uint32_t lanes;      // of a group, a power of two; K or more, or 32
    uint32_t stage_count;
    uint32_t left_terms; // functions of what is left that pixels are shown
    float inverse_mean;  // one over the mean total in GeV
    uint32_t padding;
    StageCells stages[MOST_STAGES];
    const float* left[MOST_STAGES]; // [pixels][1 + 3K][left_terms] of each stage, the gate's first
};
static_assert(sizeof(MixtureParams) == 88 + 48 * MOST_STAGES, "as in src/families/sarm/cuda/ops/mixture.rs");

// What a positive pixel can be: `Mixture::within` of src/likelihood/total.rs. The components that have a say are
// `from` to `to`: all, or those that are logistics, or the first where the pixel took all that was left.
struct PixelRange {
    float upper; // y
    uint32_t from, to;
    bool certain;

    DEVICE PixelRange(const MixtureParams& p, float limit) : upper(p.upper), from(0), to(p.components), certain(false) {
        const float left = fabsf(limit);
        if (!(left < INFINITY)) return;
        const bool offered = left <= p.largest;
        if (p.lower > 0.0f) {
            certain = left < 2.0f * p.lower;
            upper = fminf(p.upper, log_end(most_beside(left, p.lower) * p.inverse_unit, p.origin));
        } else if (offered) {
            upper = fminf(p.upper, fmaxf(left * p.inverse_unit, 2.0f * SMALLEST));
        }
        if (offered && limit < 0.0f) {
            to = 1;
        } else if (offered) {
            from = 1;
        }
    }
};

DEVICE float group_sum(float v, uint32_t lanes) {
    for (uint32_t mask = lanes / 2; mask > 0; mask /= 2) v += shuffle_xor(v, mask);
    return v;
}
DEVICE float group_max(float v, uint32_t lanes) {
    for (uint32_t mask = lanes / 2; mask > 0; mask /= 2) v = fmaxf(v, shuffle_xor(v, mask));
    return v;
}

// What is left, added to numbers of a pixel; without LEFT nothing is.
template <bool LEFT> struct LeftTerms {
    DEVICE LeftTerms(float, float, const float*, uint32_t) {}
    DEVICE float add_to(float number, uint32_t) const { return number; }
};
template <> struct LeftTerms<true> {
    LeftFunctions functions;
    const float* weights; // of the pixel
    uint32_t terms;

    DEVICE LeftTerms(float left, float inverse_mean, const float* weights_, uint32_t terms_)
        : functions(left, inverse_mean), weights(weights_), terms(terms_) {}
    // Its number `i`, the gate being the first.
    DEVICE float add_to(float number, uint32_t i) const { return functions.add_to(number, weights + i * terms, terms); }
};

// The values of the listed cells, `per_lane` components a lane. `weights`: of what is left; LEFT: they are there.
template <bool LEFT, int per_lane>
DEVICE void mixtures(const MixtureParams& p, const StageCells& stage, const CellTile& tile, uint32_t entries,
                     const float* weights, CellsShared& shared) {
    // Stands for a component that is not there: no weight, and no number that could overflow.
    constexpr float NONE = -1e30f;
    const uint32_t k = p.components, groups = 32 / p.lanes;
    const uint32_t first_component = lane() % p.lanes;
    for (uint32_t first = warp() * groups; first < entries; first += CELLS / 32 * groups) {
        const uint32_t entry = first + lane() / p.lanes;
        bool exists = entry < entries;
        const uint32_t cell = exists ? shared.entry[entry] : 0;
        const size_t values = values_of(p.cells, stage, tile, cell);
        MixturePixel pixel{0.0f, p.upper};
        float log_unit = p.log_unit, left = 0.0f;
        if (exists) {
            const float x = float_of_bits(target_of(p.cells, stage, tile, cell));
            pixel.y = x * p.inverse_unit;
            if (p.lower > 0.0f) {
                const float bend = log_of_missing(pixel.y);
                pixel.y += bend + p.origin;
                log_unit += bend;
            }
        }
        uint32_t from = 0, to = k;
        if (exists && p.limit) {
            const float limit = p.limit[place_of(p.cells, stage, tile, cell)];
            const PixelRange range(p, limit);
            pixel.upper = range.upper;
            from = range.from, to = range.to;
            left = fabsf(limit);
            // Of what is certain there is nothing to say.
            if (range.certain) exists = false;
        }
        const bool all = to == 1 && p.limit;
        const LeftTerms<LEFT> terms(left, p.inverse_mean, weights + tile.pixel(cell) * p.cells.numbers * p.left_terms, p.left_terms);

        float logit[per_lane], joint[per_lane];
        Logistic logistic[per_lane] = {};
        float largest_logit = NONE, largest_joint = NONE;
#pragma unroll
        for (int i = 0; i < per_lane; ++i) {
            const uint32_t c = first_component + i * 32;
            logit[i] = joint[i] = NONE;
            if (exists && c < k) {
                const float* v = stage.output + values + c;
                logit[i] = terms.add_to(v[0], 1 + c);
                if (all) {
                    if (c == 0) joint[i] = logit[i];
                } else if (c >= from) {
                    const float mean = terms.add_to(v[k], 1 + k + c) + p.origin;
                    logistic[i] = truncated_logistic(pixel, mean, terms.add_to(v[2 * k], 1 + 2 * k + c));
                    joint[i] = logit[i] + logistic[i].log_density;
                }
            }
            largest_logit = fmaxf(largest_logit, logit[i]);
            largest_joint = fmaxf(largest_joint, joint[i]);
        }
        largest_logit = group_max(largest_logit, p.lanes);
        largest_joint = group_max(largest_joint, p.lanes);
        float weights = 0.0f, joints = 0.0f;
#pragma unroll
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
            shared.cost[cell] += (largest_logit - largest_joint) + (logf(weights) - logf(joints)) + (all ? 0.0f : log_unit);
        }
        if (!stage.delta) continue;
        const float inverse_weights = 1.0f / weights, inverse_joints = 1.0f / joints;
#pragma unroll
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

template <bool LEFT> DEVICE void mixture(const MixtureParams& p) {
    CellsShared& shared = *shared_memory<CellsShared>();
    uint32_t s = 0;
    while (s + 1 < p.stage_count && block_index() >= p.stages[s + 1].first_block) ++s;
    const StageCells& stage = p.stages[s];
    const CellTile tile(stage, block_index() - stage.first_block);
    const float* const weights = p.left[s];
    const auto gate_of = [&](uint32_t cell, float logit) {
        if (!LEFT) return logit;
        const float left = fabsf(p.limit[place_of(p.cells, stage, tile, cell)]);
        const float* const of_gate = weights + tile.pixel(cell) * p.cells.numbers * p.left_terms;
        return LeftFunctions(left, p.inverse_mean).add_to(logit, of_gate, p.left_terms);
    };
    const uint32_t entries = open_tile(p.cells, stage, tile, shared, gate_of);
    if (p.components <= 32) {
        mixtures<LEFT, 1>(p, stage, tile, entries, weights, shared);
    } else {
        mixtures<LEFT, MOST_COMPONENTS / 32>(p, stage, tile, entries, weights, shared);
    }
    block_barrier();
    close_tile(p.cells, stage, tile, shared);
}

KERNEL(mixture_likelihood, MixtureParams, CELLS, 5) { mixture<false>(p); }
// Pixels are shown what is left of a total.
KERNEL(mixture_likelihood_left, MixtureParams, CELLS, 4) { mixture<true>(p); }
