//! Sparse autoregressive models of detector images.

pub mod data;
pub mod engine;
pub mod evaluate;
pub mod generate;
pub mod model;
pub mod physics;
