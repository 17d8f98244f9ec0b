//! VAEs on a CUDA device: what trains them and draws images there.
//!
//! Written against [`Device`](crate::device::cuda::device::Device), which a card's driver implements, and in the tests an emulation of a
//! card.

mod batch;
mod classifier;
mod dataset;
mod decoder;
pub mod drawing;
mod filled;
mod layers;
pub mod ops;
mod parameters;
mod step;
mod trainer;

pub(super) use classifier::CudaClassifier;
pub(super) use decoder::numbers;
pub use trainer::CudaTrainer;
