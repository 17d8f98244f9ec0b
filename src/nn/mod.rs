//! Parts that networks of every family share: layers, optimisers, schedules.

pub mod adam;
pub(crate) mod chain;
#[cfg(feature = "classify")]
pub(crate) mod layers;
pub mod schedule;

/// Size of what a layer is given or gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub channels: usize,
    pub height: usize,
    pub width: usize,
}

impl Size {
    pub fn numbers(&self) -> usize {
        self.channels * self.height * self.width
    }
}
