//! A CUDA device: memory, copies, launches; its driver; and launchers of kernels that know no model.

pub mod device;
pub mod driver;
pub mod ops;
pub(crate) mod room;
