//! Launchers of the kernels in `kernels/sarm/`, one file per kernel file, same stem: each checks what its
//! kernels rely on and says with which grid to launch them. Those that any family may use: `device::cuda::ops`.

pub mod cells;
pub mod gather;
pub mod levels;
pub mod linear;
pub mod mask;
pub mod mixture;
pub mod sample;
