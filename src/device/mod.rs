//! The devices that models run on: the CPU, and NVIDIA cards through their driver. It knows no model.

mod choice;
mod cpu;
pub mod cuda;
mod error;
mod open;

pub use choice::{Cards, DeviceChoice};
pub use cpu::Cpu;
pub use error::DeviceError;
pub use open::{Card, CardList, Devices, Opened, Task, open};
