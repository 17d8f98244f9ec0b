// What a batch's targets say of a pixel besides its value.
#pragma once

#include "common/device.cuh"

// A pixel that is zero with certainty, because nothing is left of its image's total. No bits of a positive pixel in GeV, and
// no level, are these: CERTAIN in src/families/sarm/cuda/ops/gather.rs
constexpr uint32_t CERTAIN = 0xFFFFFFFFu;
