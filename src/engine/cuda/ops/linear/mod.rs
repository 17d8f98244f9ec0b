//! Launchers of the masked linear layers: forward, backward to the input, backward to the weights.
//!
//! Each takes several *problems* that do not depend on each other, the same level of every stage or all
//! layers at once, and does them in one launch, 16 to a launch. Which tile shape it takes follows from
//! the shapes and the card alone, and so do the bits of the result.

mod forward;
mod input;
mod plan;
mod weights;

pub use forward::{ForwardProblem, ForwardResult, forward, forward_tiled, forward_work};
pub use input::{
    InputProblem, Scratch, backward_input, backward_input_scratch, backward_input_tiled,
    backward_input_work,
};
pub use plan::{Tile, Tiling};
pub use weights::{
    AdamArenas, Update, WeightsProblem, backward_weights, backward_weights_tiled,
    backward_weights_work,
};

use super::mask::Mask;
use crate::engine::EngineError;
use crate::engine::cuda::device::Address;

/// Problems in one launch; the same number stands in `kernels/masked_linear.cuh`.
const PROBLEMS: usize = 16;

/// Largest count of images, rows or columns: sums with a tile's size and byte counts of a row stay in 32 bits.
const MOST: u32 = 1 << 29;

/// Shape and mask of a weight matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer {
    /// Numbers that it gives.
    pub rows: u32,
    /// Numbers that it reads.
    pub columns: u32,
    /// Elements from one row to the next, a multiple of 8; those past `columns` are 0 and stay 0.
    pub pitch: u32,
    /// Which columns a row reads.
    pub mask: Mask,
}

/// A row-major matrix on the device, a row an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Matrix {
    /// Its first element, at a multiple of 16 bytes.
    pub address: Address,
    /// Elements from one row to the next, a multiple of 8.
    pub pitch: u32,
}

impl Matrix {
    /// No matrix: not wanted.
    pub const NONE: Matrix = Matrix {
        address: Address::NULL,
        pitch: 0,
    };
}

/// What a launch must do at the least: its bound is the larger of the two times.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Work {
    /// Floating-point operations over the unmasked weights, 2 for each weight and image.
    pub matrix_operations: f64,
    /// Bytes of operands read and results written, each once.
    pub bytes: f64,
}

impl Layer {
    fn unmasked(&self) -> f64 {
        self.mask.unmasked(self.rows, self.columns) as f64
    }

    fn check(&self) -> Result<(), EngineError> {
        let mask = self.mask;
        need(
            self.rows > 0 && self.rows <= MOST,
            "a layer's rows",
            self.rows,
        )?;
        need(
            self.columns > 0 && self.columns <= MOST,
            "a layer's columns",
            self.columns,
        )?;
        pitch("a layer's weights", self.pitch, self.columns)?;
        need(mask.rows > 0, "rows that a mask reads alike", mask.rows)?;
        // The kernels compute what the last row of a tile reads in 32 bits, and that row may lie beyond the matrix.
        let last = u64::from((self.rows + Tile::LARGEST) / mask.rows) * u64::from(mask.columns);
        need(
            u64::from(mask.base) + last <= u64::from(u32::MAX),
            "columns that the last row of a mask reads",
            last,
        )
    }
}

fn need(holds: bool, what: &str, found: impl std::fmt::Display) -> Result<(), EngineError> {
    match holds {
        true => Ok(()),
        false => Err(EngineError::Device(format!(
            "the masked linear kernels cannot run this network ({what}: {found} is out of their range)"
        ))),
    }
}

fn pitch(what: &str, found: u32, columns: u32) -> Result<(), EngineError> {
    need(
        found >= columns && found.is_multiple_of(8) && found <= 2 * MOST,
        &format!("pitch of {what}, {columns} columns"),
        found,
    )
}

/// Check that an address is one, and fit for 16-byte accesses.
fn aligned(what: &str, address: Address) -> Result<(), EngineError> {
    need(
        address != Address::NULL && address.0.is_multiple_of(16),
        &format!("address of {what}"),
        address.0,
    )
}

fn matrix(what: &str, matrix: Matrix, columns: u32) -> Result<(), EngineError> {
    aligned(what, matrix.address)?;
    pitch(what, matrix.pitch, columns)
}

fn images_in_range(images: u32) -> Result<(), EngineError> {
    need(images > 0 && images <= MOST, "images in a batch", images)
}
