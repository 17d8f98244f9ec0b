// Limits that the kernels and the host both know; tests/cuda/kernels/constants.rs compares them.
#pragma once

#include "common/device.cuh"

// Stages of one launch: MOST_STAGES in src/families/sarm/cuda/ops/mod.rs
constexpr uint32_t MOST_STAGES = 16;
// Numbers that are shown of a pixel: MOST_CHANNELS in src/families/sarm/config/mod.rs
constexpr uint32_t MOST_CHANNELS = 4;
// Components of a mixture: MOST_COMPONENTS in src/likelihood/mixture.rs
constexpr uint32_t MOST_COMPONENTS = 64;
