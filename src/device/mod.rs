//! The devices that models run on: the CPU, and NVIDIA cards through their driver. It knows no model.
//!
//! `choice` has what a user may ask for, `open` what comes of it; a card is whatever implements
//! [`Device`](cuda::device::Device).

mod choice;
mod cpu;
pub mod cuda;
mod error;
mod open;

pub use choice::{Cards, DeviceChoice};
pub use cpu::Cpu;
pub use error::DeviceError;
pub use open::{Card, CardList, Devices, Opened, Task, card, first, open};
