//! A CUDA device: memory, copies, launches; its driver.

pub mod device;
pub mod driver;
pub(crate) mod room;
