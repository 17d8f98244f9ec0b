// Which columns a row of a weight matrix reads: those below base + (row / rows) * columns.
//
// A prefix that grows with the row, for units are sorted by degree. Weights beyond it are 0 in every copy
// and stay 0. Rust twin, which says which layer has which: src/families/sarm/cuda/ops/mask.rs
#pragma once

#include "common/device.cuh"

struct Mask {
    uint32_t base;     // columns that the first rows read
    uint32_t rows;     // rows that read alike, at least 1
    uint32_t columns;  // columns that the next rows read beyond them

    // Columns that `row` reads, of `width` in the matrix.
    DEVICE uint32_t read(uint32_t row, uint32_t width) const { return min(base + row / rows * columns, width); }

    // The first row that reads `column`; it and all later rows do. `height` if none of the matrix does.
    DEVICE uint32_t first_reader(uint32_t column, uint32_t height) const {
        if (column < base) return 0;
        if (columns == 0) return height;
        const uint32_t group = (column - base) / columns + 1;
        // Compared before it is multiplied: the product may not fit.
        return group > height / rows ? height : min(group * rows, height);
    }
};
