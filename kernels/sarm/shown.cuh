// What the network is shown of a pixel before.
#pragma once

#include "common/device.cuh"

// How: `input_kind` of src/families/sarm/cuda/ops/sample/mod.rs.
enum : uint32_t { INPUT_RAW = 0, INPUT_LOG1P = 1, INPUT_SQRT = 2 };

DEVICE float shown_value(float x, uint32_t kind, float inverse_unit) {
    const float y = x * inverse_unit;
    return kind == INPUT_LOG1P ? logf(1.0f + y) : kind == INPUT_SQRT ? sqrtf(y) : y;
}
