// Drawing the value of a positive pixel (src/likelihood/ states the formulas and why they are taken this way).
#pragma once

#include "device.cuh"
#include "likelihood.cuh"

// Below this fraction of the heaviest one's mass a component or level adds nothing to a float's sum: never drawn.
constexpr float LEAST_MASS = 1e-9f;

// Means further below zero, in scales, leave an exponential tail alone.
constexpr float TAIL = -20.0f;

DEVICE float sigmoid(float x) { return fast_reciprocal(1.0f + fast_exp(-x)); }

// The value that a logistic truncated to (0, upper) exceeds with probability `place`; in the mixture's units.
DEVICE float quantile_from_above(float mean, float log_scale, float upper, float place) {
    const bool limited = upper < INFINITY;
    const float scale = fast_exp(log_scale), inverse = fast_exp(-log_scale);
    const float at_zero_logit = mean * inverse;
    if (at_zero_logit < TAIL) {
        const float rest = limited ? fast_exp(-upper * inverse) : 0.0f;
        return -scale * logf(fmaf(place, 1.0f - rest, rest));
    }
    const float at_zero = sigmoid(at_zero_logit);
    const float at_upper = limited ? sigmoid((mean - upper) * inverse) : 0.0f;
    const float survival = fmaf(place, at_zero - at_upper, at_upper);
    return fmaf(scale, logf(fmaxf(1.0f - survival, 1e-37f)) - logf(survival), mean);
}

// The values that a pixel can take where `left` GeV are left of its image's total (infinite without one), as
// `Mixture::within` of src/likelihood/total.rs has it. The variable y of the logistics runs from 0 on: it is
// x / unit or, in logarithmic space, ln(e^(x / unit) - 1), less that of the smallest pixel.
struct MixtureRange {
    float unit;    // GeV
    float upper;   // largest y
    float largest; // GeV, in logarithmic space
    float origin;  // y where a mean of 0 lies
    float all;     // GeV that the first component takes; infinite where it is a logistic like the others
    float lower;   // GeV, the smallest pixel in logarithmic space; else 0
    bool certain;  // too little for two pixels is left: this one takes all of it

    DEVICE MixtureRange(float unit_, float upper_, float largest_, float origin_, float lower_, float left)
        : unit(unit_), upper(upper_), largest(largest_), origin(origin_), lower(lower_), certain(false) {
        all = left <= largest_ ? left : INFINITY;
        if (!logarithmic()) {
            upper = fminf(upper_, fmaxf(left / unit_, 2.0f * SMALLEST));
        } else if (left < INFINITY) {
            certain = left < 2.0f * lower_;
            const float most = most_beside(left, lower_);
            largest = fminf(largest_, most);
            upper = fminf(upper_, log_end(most / unit_, origin_));
        }
    }
    DEVICE bool logarithmic() const { return lower > 0.0f; }
};

// A positive pixel in GeV of a mixture of `components`: `pick` chooses the component, `place` its quantile.
// `numbers(i)`: logits, means and log scales of the components, one after another. Not where the pixel is certain.
template <class Numbers>
DEVICE float draw_mixture(const Numbers& numbers, uint32_t components, const MixtureRange& range, float pick, float place) {
    // Eight at a time, so that none waits for another's way from memory. Those that are not there have no mass.
    constexpr uint32_t BATCH = 8;
    const auto logits = [&](uint32_t first, float (&batch)[BATCH]) {
#pragma unroll
        for (uint32_t i = 0; i < BATCH; i++) batch[i] = first + i < components ? numbers(first + i) : -INFINITY;
    };
    float batch[BATCH];
    float largest = -INFINITY, total = 0.0f;
    for (uint32_t first = 0; first < components; first += BATCH) {
        logits(first, batch);
#pragma unroll
        for (uint32_t i = 0; i < BATCH; i++) largest = fmaxf(largest, batch[i]);
    }
    for (uint32_t first = 0; first < components; first += BATCH) {
        logits(first, batch);
#pragma unroll
        for (uint32_t i = 0; i < BATCH; i++) batch[i] = fast_exp(batch[i] - largest);
#pragma unroll
        for (uint32_t i = 0; i < BATCH; i++) total += batch[i];
    }
    // Summed again in the same order, so that the last component that adds to the total reaches it.
    const float wanted = pick * total;
    float reached = 0.0f;
    uint32_t chosen = 0;
    for (uint32_t first = 0; first < components && !(reached > wanted); first += BATCH) {
        logits(first, batch);
#pragma unroll
        for (uint32_t i = 0; i < BATCH; i++) batch[i] = fast_exp(batch[i] - largest);
#pragma unroll
        for (uint32_t i = 0; i < BATCH; i++) {
            if (batch[i] > LEAST_MASS && !(reached > wanted)) chosen = first + i;
            reached += batch[i];
        }
    }
    if (chosen == 0 && range.all < INFINITY) return range.all;
    const float upper = range.upper;
    float mean = numbers(components + chosen) + range.origin;
    const float log_scale = fminf(fmaxf(numbers(2 * components + chosen), LOG_SCALE_LOW), LOG_SCALE_HIGH);
    // A mean past the middle of a limited range is drawn from the other end, where it is near zero.
    const bool mirrored = upper < INFINITY && mean > 0.5f * upper;
    if (mirrored) mean = upper - mean, place = 1.0f - place;
    float y = quantile_from_above(mean, log_scale, upper, place);
    if (mirrored) y = upper - y;
    if (range.logarithmic()) {
        const float x = bent_exp(fmaxf(y, 0.0f) - range.origin) * range.unit;
        return fmaxf(fminf(x, range.largest), range.lower);
    }
    return fminf(fmaxf(y, SMALLEST), upper) * range.unit;
}

// The level that the quantile `pick` falls on, of a softmax over levels; a whole warp for one pixel.
//
// Lane l has the levels l c .. (l + 1) c with c = 4 `groups`. `map`: [latents + 1][groups][32 lanes] of 4 levels, the bias
// first, which is -infinity where there is no level. `latent(u)`: latents.
template <class Latents>
DEVICE uint32_t draw_level(const Latents& latent, uint32_t latents, const float4* map, uint32_t groups, float pick) {
    // 512 levels at a time, in registers; what goes beyond is computed anew in each of the three passes.
    constexpr uint32_t BATCH = 4;
    map += lane();
    float4 batch[BATCH];
    const auto logits = [&](uint32_t first) {
#pragma unroll
        for (uint32_t g = 0; g < BATCH; g++)
            batch[g] = first + g < groups ? map[(first + g) * 32] : make_float4(-INFINITY, -INFINITY, -INFINITY, -INFINITY);
        for (uint32_t u = 0; u < latents; u++) {
            const float z = latent(u);
#pragma unroll
            for (uint32_t g = 0; g < BATCH; g++) {
                if (first + g < groups) {
                    const float4 w = map[((u + 1) * groups + first + g) * 32];
                    batch[g].x = fmaf(w.x, z, batch[g].x), batch[g].y = fmaf(w.y, z, batch[g].y);
                    batch[g].z = fmaf(w.z, z, batch[g].z), batch[g].w = fmaf(w.w, z, batch[g].w);
                }
            }
        }
    };
    float largest = -INFINITY;
    for (uint32_t first = 0; first < groups; first += BATCH) {
        logits(first);
#pragma unroll
        for (uint32_t g = 0; g < BATCH; g++)
            largest = fmaxf(fmaxf(fmaxf(batch[g].x, batch[g].y), fmaxf(batch[g].z, batch[g].w)), largest);
    }
#pragma unroll
    for (uint32_t mask = 16; mask > 0; mask /= 2) largest = fmaxf(largest, shuffle_xor(largest, mask));
    const auto mass = [&](float logit) {
        const float m = fast_exp(logit - largest);
        return m > LEAST_MASS ? m : 0.0f;
    };
    float sum = 0.0f;
    for (uint32_t first = 0; first < groups; first += BATCH) {
        if (groups > BATCH) logits(first);
#pragma unroll
        for (uint32_t g = 0; g < BATCH; g++)
            sum += mass(batch[g].x), sum += mass(batch[g].y), sum += mass(batch[g].z), sum += mass(batch[g].w);
    }
    float after = sum;  // the masses up to and with this lane's
#pragma unroll
    for (uint32_t d = 1; d < 32; d *= 2) {
        const float more = shuffle(after, (lane() - d) % 32);
        if (lane() >= d) after += more;
    }
    const float wanted = pick * shuffle(after, 31);
    const float before = shuffle(after, (lane() + 31) % 32);
    // Of the lanes with mass the first that reaches beyond what is wanted; the last where rounding leaves none.
    const uint32_t beyond = vote(sum > 0.0f && after > wanted), all = vote(sum > 0.0f);
    // Where all logits are NaN no lane has mass.
    const uint32_t owner = beyond != 0 ? lowest_bit(beyond) : all != 0 ? highest_bit(all) : 0;
    // Of its levels with mass likewise; every lane looks for one, the owner's is taken.
    float reached = lane() == 0 ? 0.0f : before;
    uint32_t level = 0;
    for (uint32_t first = 0; first < groups; first += BATCH) {
        if (groups > BATCH) logits(first);
        const auto look = [&](float logit, uint32_t i) {
            const float m = mass(logit);
            if (m > 0.0f && !(reached > wanted)) level = (lane() * groups + first) * 4 + i;
            reached += m;
        };
#pragma unroll
        for (uint32_t g = 0; g < BATCH; g++)
            look(batch[g].x, 4 * g), look(batch[g].y, 4 * g + 1), look(batch[g].z, 4 * g + 2), look(batch[g].w, 4 * g + 3);
    }
    return shuffle(level, owner);
}
