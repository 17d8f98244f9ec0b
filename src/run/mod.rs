//! What the program does: train, generate, score; every face calls it and prints.

pub mod generate;
pub mod journal;
pub(crate) mod lock;
pub mod pretrained;
pub mod train;
