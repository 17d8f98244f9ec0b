//! Launchers of the kernels in `kernels/sarm/`, one file per kernel file, same stem: each checks what its
//! kernels rely on and says with which grid to launch them. Those that any family may use: `device::cuda::ops`.

pub mod cells;
pub mod constants;
pub mod gather;
pub mod left;
pub mod levels;
pub mod linear;
pub mod mask;
pub mod mixture;
pub mod sample;

/// Stages of one launch: a batch's likelihood takes several for a model with more, and the sampler refuses it.
pub const MOST_STAGES: usize = 16;
