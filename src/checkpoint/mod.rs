//! Checkpoints: one safetensors file that holds a whole model, whatever its family.

mod record;
pub mod tensors;

pub use record::Record;
pub use tensors::CheckpointError;
