//! The conditions of images: their names and statistics, their values, the total.
//!
//! Their distribution is learnt by a model, so it belongs above the families: [`prior`](crate::prior).

mod config;
pub mod total;
mod values;

pub use config::ConditionConfig;
pub use total::{Budget, Total};
pub use values::{ConditionedImages, Conditions};
