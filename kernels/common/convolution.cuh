// What the kernels of convolutions have in common: which inputs an output adds up.
#pragma once

#include "tile.cuh"

// Problems of one launch: PHASES of src/device/cuda/ops/convolution.rs
constexpr uint32_t PHASES = 4;

// Outputs that add up their inputs alike, as `Phase` of src/nn/chain/window.rs.
struct ConvolutionPhase {
    const bf16* weights;   // [outputs, places, channels]
    uint32_t height, width;  // outputs of an image
    int32_t row, column;   // of the input, at the first place of the first output's window
    uint32_t to_row, to_column;  // the first output
    uint32_t places_down, places_across;
    uint32_t first_block;
    uint32_t padding;
};
