//! Where models run: the processor, and NVIDIA cards by way of their driver. Knows no model.

mod choice;
mod cpu;
pub mod cuda;
mod error;
mod open;

pub use choice::{Cards, DeviceChoice};
pub use cpu::Cpu;
pub use error::{DeviceError, EngineError};
pub use open::{Card, Devices, Opened, Task, open};
