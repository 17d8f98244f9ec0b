//! What a model family is: traits alone, and what their methods take.
//!
//! A family reads its configuration ([`Configuration`]), and its models ([`Model`]) train, draw and, if they can,
//! [score](Model::scorer). Everything above asks through these traits; [`families`](crate::families) lists the families
//! by name.

mod bound;
mod check;
mod codes;
mod config;
pub mod cuda;
mod document;
mod error;
mod model;
mod sampler;
mod setting;
pub mod several;
mod trainer;
mod training;

pub use bound::{Bound, Bounded};
pub(crate) use check::Told;
pub use check::{check_given, check_images};
pub use codes::{Codes, Encoder, Latent};
pub use config::ConfigError;
pub(crate) use config::{Mistakes, check_conditions, factor, impossible, positive, within};
pub use document::{Document, Source};
pub use error::EngineError;
pub use model::{
    Beyond, Configuration, Demand, End, Family, Lower, Model, Objective, Scorer, TensorInfo,
    open_sampler,
};
pub use sampler::{DrawConditions, Sampler, SamplingPlan};
pub use setting::Setting;
pub use trainer::{Trainer, TrainingState};
pub use training::TrainConfig;
