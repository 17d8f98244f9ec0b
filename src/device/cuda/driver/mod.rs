//! NVIDIA cards, through their driver. It is loaded at run time, so the same binary also starts on machines
//! without one.

#[cfg_attr(feature = "cuda", path = "enabled.rs")]
#[cfg_attr(not(feature = "cuda"), path = "disabled.rs")]
mod implementation;

pub use implementation::{BUILT, Energy, cards, open};

/// Oldest compute capability that the kernels are compiled for.
pub const OLDEST_CARD: (u32, u32) = (8, 0);
