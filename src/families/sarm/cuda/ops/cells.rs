//! Cells: how the likelihood kernels cut a stage's pixels into blocks; `kernels/sarm/cells.cuh` is the same in CUDA.
//!
//! A cell is one pixel of one image. A block takes [`CELLS`] of them: a chunk of pixels, a power of
//! two, of as many images as fit. The costs of a chunk are summed to one *part*, so a batch has
//! `[parts, batch]` numbers that [`FinishStep`](crate::device::cuda::ops::step::FinishStep) adds.

use bytemuck::{Pod, Zeroable};

use crate::device::cuda::device::Address;

/// Cells and threads of a block.
pub const CELLS: usize = 256;

/// Shared memory for a tile of cells, bytes.
pub(super) const SHARED: u32 = 4 * (3 * CELLS as u32 + 32);

/// The numbers that a stage's network gave for a batch, and where their derivatives go.
#[derive(Debug, Clone, Copy)]
pub struct StageOutput {
    /// f32 `[batch, pitch]`: for each pixel its gate and then its values (3K or U), then padding.
    pub output: Address,
    /// Out: bf16 `[batch, pitch]`, derivatives of the batch's mean cost, padding 0. NULL: not wanted.
    pub delta: Address,
    /// Numbers from one image to the next, a multiple of 8.
    pub pitch: usize,
    /// Place of the stage's first pixel in the drawing order.
    pub first_place: usize,
    /// Pixels of the stage.
    pub pixels: usize,
}

/// The batch that a likelihood is taken of.
#[derive(Debug, Clone, Copy)]
pub struct Batch {
    /// 32 bits `[images, places]`, as gathered: 0 for a zero; else GeV as f32 (D+C), level + 1 as u32 (D+D).
    pub target: Address,
    /// Out: f32 `[parts, images]`, costs in nats; parts as [`parts`] counts them, stage after stage.
    pub nll: Address,
    /// Pixels of an image, all stages together.
    pub places: usize,
    /// Images; derivatives are of their mean cost.
    pub images: usize,
}

/// Pixels of an image that a block takes of a stage with `pixels`: a power of two from 8 on.
fn chunk(pixels: usize) -> usize {
    pixels.next_power_of_two().clamp(8, CELLS)
}

/// Parts that the cost of an image comes in, of a stage with `pixels`.
pub fn parts(pixels: usize) -> usize {
    pixels.div_ceil(chunk(pixels))
}

/// Blocks of cells of a stage with `pixels`, for a batch of `images`.
pub(super) fn tiles(pixels: usize, images: usize) -> u32 {
    let images_per_tile = CELLS / chunk(pixels);
    let tiles = parts(pixels) * images.div_ceil(images_per_tile);
    u32::try_from(tiles).expect("tiles of a batch are below 2^32")
}

/// `StageCells` of `kernels/sarm/cells.cuh`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct StageCells {
    output: Address,
    delta: Address,
    first_place: u32,
    pixels: u32,
    pitch: u32,
    chunk_log2: u32,
    first_part: u32,
    first_block: u32,
}

/// `Cells` of `kernels/sarm/cells.cuh`: what all stages share.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Cells {
    target: Address,
    nll: Address,
    places: u32,
    images: u32,
    numbers: u32,
    scale: f32,
}

impl Cells {
    /// Of a batch whose pixels have `numbers` numbers each, gate included.
    pub fn new(batch: &Batch, numbers: usize) -> Self {
        assert!(batch.target.0.is_multiple_of(4) && batch.nll.0.is_multiple_of(4));
        Self {
            target: batch.target,
            nll: batch.nll,
            places: batch.places as u32,
            images: u32::try_from(batch.images).expect("batches are below 2^32"),
            numbers: numbers as u32,
            scale: (1.0 / batch.images.max(1) as f64) as f32,
        }
    }
}

impl StageCells {
    /// Of `stage` in `batch`, its first part and block given.
    ///
    /// # Panics
    /// On sizes and addresses that the kernels do not take.
    pub fn new(
        stage: &StageOutput,
        batch: &Batch,
        numbers: usize,
        first_part: usize,
        first_block: u32,
    ) -> Self {
        assert!(stage.pixels >= 1 && stage.first_place + stage.pixels <= batch.places);
        assert!(stage.pitch.is_multiple_of(8) && stage.pitch >= stage.pixels * numbers);
        assert!(stage.output.0.is_multiple_of(4) && stage.delta.0.is_multiple_of(16));
        Self {
            output: stage.output,
            delta: stage.delta,
            first_place: stage.first_place as u32,
            pixels: stage.pixels as u32,
            pitch: u32::try_from(stage.pitch).expect("a row has less than 2^32 numbers"),
            chunk_log2: chunk(stage.pixels).ilog2(),
            first_part: first_part as u32,
            first_block,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_as_large_as_the_kernels_say() {
        assert_eq!(size_of::<Cells>(), 32);
        assert_eq!(size_of::<StageCells>(), 40);
    }

    #[test]
    fn every_cell_is_in_a_tile() {
        for pixels in [1, 8, 9, 63, 64, 255, 256, 257, 616, 65536] {
            assert!(parts(pixels) * chunk(pixels) >= pixels);
            for images in [1, 2, 31, 32, 33, 128] {
                assert!(tiles(pixels, images) as usize * CELLS >= pixels * images);
            }
        }
    }
}
