//! The sparse autoregressive model (SARM): what it is, and how it is run on the processor and on cards.

mod beyond;
pub mod checkpoint;
pub mod config;
pub mod cpu;
pub mod cuda;
mod demand;
mod endings;
mod engine;
mod family;
mod initial;
mod left;
mod mirror;
mod model;
pub mod order;
mod packing;
pub mod reference;
mod running_sums;
pub mod shape;

pub use crate::likelihood::Values;
use beyond::beyond;
pub use config::{Config, ModelConfig};
pub use engine::Engine;
pub use family::{Family, NAME};
pub use initial::Statistics;
pub use left::Left;
pub use model::Sarm;
pub use shape::{StageShape, StageTensor, TensorSpec};
