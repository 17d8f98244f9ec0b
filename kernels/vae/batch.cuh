// Which images a batch of a VAE in training has, and the noise of its step.
#pragma once

#include "common/block.cuh"
#include "common/philox.cuh"

// Channels of a pixel of which one is used: the terms of one copy. LONELY of src/families/vae/cuda/ops/gather.rs
constexpr uint32_t LONELY = 8;

struct BatchRows {
    const uint32_t* rows;    // of the resident images, batch after batch
    const uint32_t* cursor;  // which batch of them; NULL: the first
    const uint64_t* before;  // batches of the training before these; NULL: images are judged, by noise that is always the same

    DEVICE uint32_t row(uint32_t image, uint32_t images) const {
        return rows[static_cast<uint64_t>(cursor == nullptr ? 0 : *cursor) * images + image];
    }
    // What the noise is drawn under.
    DEVICE uint64_t stream() const { return before == nullptr ? ~0ull : *before + *cursor; }
};
static_assert(sizeof(BatchRows) == 24, "as in src/families/vae/cuda/ops/mod.rs");

// Words of place `item` of a resident image, for training.
DEVICE void training_words(uint64_t stream, uint32_t row, uint32_t item, uint32_t (&words)[3]) {
    philox(static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32), row, item, words, PURPOSE_VAE);
}
