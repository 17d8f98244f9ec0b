//! Where models run: the processor, and NVIDIA cards by way of their driver. Knows no model.

mod choice;
pub mod cuda;
mod error;

pub use choice::{Cards, DeviceChoice};
pub use error::EngineError;
