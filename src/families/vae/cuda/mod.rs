//! VAEs on a CUDA device: what draws images there.
//!
//! Written against [`Device`](crate::device::cuda::device::Device), which a card's driver implements, and in the tests an emulation of a
//! card.

mod decoder;
pub mod drawing;
pub mod ops;

pub(super) use decoder::numbers;
