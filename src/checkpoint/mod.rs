//! Checkpoints: one safetensors file holds a complete model of any family.

mod header;
mod record;
pub mod tensors;

pub use header::{FIRST_FAMILY, Header};
pub use record::{Record, Refined, RefinedRound, ToldApart};
pub use tensors::CheckpointError;
