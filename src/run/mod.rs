//! What the program does: train, generate, score; every face calls it and prints.

pub mod checkpoint;
pub mod conditions;
pub mod dataset;
pub mod generate;
pub mod identity;
pub mod journal;
pub(crate) mod lock;
pub mod pretrained;
pub mod score;
pub mod train;

pub use checkpoint::Checkpoint;
