//! Checkpoints: one safetensors file that holds a whole model, whatever its family.

mod header;
mod record;
pub mod tensors;

pub use header::Header;
pub use record::Record;
pub use tensors::CheckpointError;
