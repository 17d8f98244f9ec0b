//! How a SARM is *run*: one trait for training, scoring and sampling, an engine per device beneath it.

use std::sync::Arc;

use super::Sarm;
use crate::conditions::ConditionedImages;
use crate::device::EngineError;
use crate::family::{Sampler, SamplingPlan, Trainer};

/// A device that runs models.
pub trait Engine: Send + Sync {
    /// Device and instruction set, for reports: `cpu, 2 threads, avx2`.
    fn describe(&self) -> String;

    /// What images drawn by it depend on besides model, plan and number: engines of one arithmetic draw the same
    /// images bit for bit, others may not. ASCII, at most 32 bytes: `float32`.
    fn arithmetic(&self) -> String;

    /// Cards that it runs on; 0: the processor.
    fn cards(&self) -> usize {
        0
    }

    /// Start training `model` on `data`.
    fn trainer(
        &self,
        model: &Sarm,
        data: Arc<ConditionedImages>,
    ) -> Result<Box<dyn Trainer>, EngineError>;

    /// Prepare `model` for drawing.
    fn sampler(&self, model: &Sarm, plan: &SamplingPlan) -> Result<Box<dyn Sampler>, EngineError>;

    /// Exact log-likelihood in nats of each image: a density per GeV for each nonzero pixel, a mass for each zero.
    fn score(&self, model: &Sarm, data: Arc<ConditionedImages>) -> Result<Vec<f64>, EngineError>;
}
