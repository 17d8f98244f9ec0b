//! The engine that runs on a CUDA device.

pub mod device;
pub mod ops;
