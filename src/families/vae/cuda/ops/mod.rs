//! Launchers of the kernels in `kernels/vae/`, one file per kernel file, same stem: each checks what its kernel relies on and says
//! with which grid to launch it. Those that any family may use: `device::cuda::ops`.

pub mod codes;
pub mod pixels;
