//! What images are conditioned on: the conditions' names and statistics, their values, the total.
//!
//! How conditions are distributed is learnt by a model, so that stands above the families: [`prior`](crate::prior).

mod config;
pub mod total;
mod values;

pub use config::ConditionConfig;
pub use total::{Budget, Total};
pub use values::{ConditionedImages, Conditions};
