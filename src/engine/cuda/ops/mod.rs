//! Launchers of the kernels in `kernels/`, one file per kernel file, same stem: each checks what its
//! kernels rely on and says with which grid to launch them.

pub mod cells;
pub mod gather;
pub mod levels;
pub mod linear;
pub mod mask;
pub mod mixture;
pub mod rates;
pub mod step;
