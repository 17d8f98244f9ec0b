// Numbers that these kernels and the host both know, for tests/cuda/kernels/constants.rs to compare: in the order of
// src/families/sarm/cuda/ops/constants.rs.

#include "cells.cuh"
#include "common/draw.cuh"
#include "left.cuh"
#include "limits.cuh"
#include "masked_linear.cuh"
#include "sample_network.cuh"
#include "shown.cuh"

struct SarmConstants {
    double* numbers;
};
static_assert(sizeof(SarmConstants) == 8, "as in src/families/sarm/cuda/ops/constants.rs");

template <class Tell, class Shape> DEVICE void tell_tile(const Tell& tell, Shape) {
    tell(Shape::SIDE);
    tell(Shape::DEPTH);
    tell(Shape::THREADS);
    tell(Shape::SHARED);
}

KERNEL(sarm_constants, SarmConstants, 32, 1) {
    if (thread_index() > 0) return;
    double* next = p.numbers;
    const auto tell = [&](double number) { *next++ = number; };
    tell(MOST_STAGES);
    tell(MOST_CHANNELS);
    tell(MOST_COMPONENTS);
    tell(MOST_LAYERS);
    tell(WORKERS);
    tell(CELLS);
    tell(sizeof(CellsShared));
    tell(CERTAIN);
    tell(LOG_SCALE_LOW);
    tell(LOG_SCALE_HIGH);
    tell(SMALLEST);
    tell(NARROWEST);
    tell(TAIL);
    tell(LEAST_MASS);
    tell(INPUT_RAW);
    tell(INPUT_LOG1P);
    tell(INPUT_SQRT);
    tell(PROBLEMS);
    tell(MOST_LEFT);
    tell(LEFT_SLOPE);
    tell(LEFT_LOW);
    tell(LEFT_HIGH);
    tell_tile(tell, SmallTile());
    tell_tile(tell, MediumTile());
    tell_tile(tell, LargeTile());
}
