//! NVIDIA cards, by way of their driver. It is looked for when the program runs: the same binary starts
//! on machines without one.

#[cfg_attr(feature = "cuda", path = "enabled.rs")]
#[cfg_attr(not(feature = "cuda"), path = "disabled.rs")]
mod implementation;

pub use implementation::{BUILT, Energy, cards, open};

/// Oldest compute capability that the kernels are compiled for.
pub const OLDEST_CARD: (u32, u32) = (8, 0);
