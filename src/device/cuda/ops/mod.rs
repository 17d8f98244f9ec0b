//! Launchers of the kernels in `kernels/common/`, which any family may use: one file per kernel file, same stem. Each checks
//! what its kernels rely on and says with which grid to launch them.

pub mod compact;
pub mod constants;
pub mod convolution;
pub mod convolution_update;
pub mod convolution_weights;
pub mod rates;
pub mod step;
pub mod tile;

/// What a launch demands of a card at the least: its bound is the larger of the two times.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Demand {
    /// Floating-point operations over the unmasked weights, 2 for each weight and image.
    pub matrix_operations: f64,
    /// Bytes of operands read and results written, each once.
    pub bytes: f64,
}
