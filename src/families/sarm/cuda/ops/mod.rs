//! Launchers of the kernels in `kernels/`, one file per kernel file, same stem: each checks what its
//! kernels rely on and says with which grid to launch them.

pub mod cells;
pub mod compact;
pub mod gather;
pub mod levels;
pub mod linear;
pub mod mask;
pub mod mixture;
pub mod rates;
pub mod sample;
pub mod step;

/// What a launch must do at the least: its bound is the larger of the two times.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Work {
    /// Floating-point operations over the unmasked weights, 2 for each weight and image.
    pub matrix_operations: f64,
    /// Bytes of operands read and results written, each once.
    pub bytes: f64,
}
