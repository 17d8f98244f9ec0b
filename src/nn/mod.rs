//! Parts that networks of every family share: layers, optimisers, schedules.

pub mod adam;
#[cfg(feature = "classify")]
pub(crate) mod layers;
pub mod schedule;
