//! How a SARM is *run*: one trait for training, scoring and sampling, an engine per device beneath it.

use std::sync::Arc;

use super::Sarm;
use crate::conditions::ConditionedImages;
use crate::family::EngineError;
use crate::family::{Sampler, SamplingPlan, Trainer};

/// A device that runs models.
pub trait Engine: Send + Sync {
    /// Start training `model` on `data`.
    ///
    /// # Errors
    /// Images or conditions that are not the model's, too little memory.
    fn trainer(
        &self,
        model: &Sarm,
        data: Arc<ConditionedImages>,
    ) -> Result<Box<dyn Trainer>, EngineError>;

    /// Prepare `model` for drawing.
    ///
    /// # Errors
    /// Conditions that are not the model's, a plan or a model that this device cannot draw, too little memory.
    fn sampler(&self, model: &Sarm, plan: &SamplingPlan) -> Result<Box<dyn Sampler>, EngineError>;

    /// Exact log-likelihood in nats of each image: a density per GeV for each nonzero pixel, a mass for each zero.
    ///
    /// # Errors
    /// Images or conditions that are not the model's, pixels beyond its range, too little memory.
    fn score(&self, model: &Sarm, data: Arc<ConditionedImages>) -> Result<Vec<f64>, EngineError>;
}
