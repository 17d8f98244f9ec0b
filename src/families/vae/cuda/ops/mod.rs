//! Launchers of the kernels in `kernels/vae/`, one file per kernel file, same stem: each checks what its kernel relies on and says
//! with which grid to launch it. Those that any family may use: `device::cuda::ops`.

pub mod classifier;
pub mod codes;
pub mod features;
pub mod gather;
pub mod latent;
pub mod loss;
pub mod pixels;

use bytemuck::{Pod, Zeroable};

use crate::device::cuda::device::{Address, Memory};
use crate::family::cuda::Chunk;

/// Which images a batch in training has, and the noise of its step: `BatchRows` of `kernels/vae/batch.cuh`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct BatchRows {
    /// u32: rows of the resident images, batch after batch.
    pub rows: Address,
    /// u32: which batch of them; none: the first.
    pub cursor: Address,
    /// u64: batches of the training before these; none: images are judged, by noise that is always the same.
    pub before: Address,
}

impl BatchRows {
    /// Of a step of a chunk.
    pub fn of(chunk: &Chunk) -> Self {
        Self {
            rows: chunk.rows.address(),
            cursor: chunk.cursor.address(),
            before: chunk.before.address(),
        }
    }

    /// Of images that are judged.
    pub fn judged(rows: &Memory<u32>) -> Self {
        Self {
            rows: rows.address(),
            cursor: Address::NULL,
            before: Address::NULL,
        }
    }
}
