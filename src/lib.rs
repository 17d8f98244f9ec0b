//! Sparse autoregressive models of detector images.

pub mod bench;
pub mod cli;
pub mod data;
pub mod engine;
pub mod evaluate;
pub mod generate;
pub mod model;
pub mod numeric;
pub mod physics;
pub mod random;
pub mod synthetic;
pub mod train;
