//! The engine that runs on a CUDA device.
//!
//! Everything here is written against [`Device`], which a card's driver implements (feature
//! `cuda`), and in the tests an emulation of a card: the kernels of `kernels/`, compiled for the host.

mod batch;
mod dataset;
pub mod drawing;
pub mod ops;
pub mod packed;
mod parameters;
mod scorer;
mod step;
mod trainer;

pub use trainer::CudaTrainer;

use std::sync::Arc;

use super::Engine;
use crate::conditions::ConditionedImages;
use crate::device::DeviceError;
use crate::device::cuda::device::Device;
use crate::families::sarm::Sarm;
use crate::family::EngineError;
use crate::family::cuda::CudaSampler;
use crate::family::{Sampler, SamplingPlan, Trainer, check_images};
use drawing::Drawing;

/// A device that trains, scores and draws with bfloat16 tensor cores, float32 sums and float32 masters.
pub struct CudaEngine {
    device: Arc<dyn Device>,
}

impl CudaEngine {
    /// An engine on `device`.
    pub fn new(device: Arc<dyn Device>) -> Self {
        Self { device }
    }

    /// A trainer with its own type, for tests and benches.
    ///
    /// # Errors
    /// What [`check_images`] refuses, a pixel beyond the model's range, too little memory on the device.
    pub fn cuda_trainer(
        &self,
        model: &Sarm,
        data: &ConditionedImages,
    ) -> Result<CudaTrainer, EngineError> {
        check_images(model, data)?;
        CudaTrainer::new(&self.device, model, data)
    }

    /// A sampler with its own type, for tests and benches.
    ///
    /// # Errors
    /// As [`Drawing::new`](drawing::Drawing::new); a naive plan; memory too small for one tile of images.
    pub fn cuda_sampler(
        &self,
        model: &Sarm,
        plan: &SamplingPlan,
    ) -> Result<CudaSampler<Drawing>, EngineError> {
        // `plan.block` is the CPU's.
        if plan.naive {
            return Err(DeviceError::Unsupported(
                "the naive sampler, a reference, runs on the CPU alone; use --device cpu".into(),
            )
            .into());
        }
        let drawing = Drawing::new(&self.device, model, plan)?;
        CudaSampler::new(&self.device, drawing, model.config.image, plan.max_memory)
    }
}

impl Engine for CudaEngine {
    fn trainer(
        &self,
        model: &Sarm,
        data: Arc<ConditionedImages>,
    ) -> Result<Box<dyn Trainer>, EngineError> {
        Ok(Box::new(self.cuda_trainer(model, &data)?))
    }

    fn sampler(&self, model: &Sarm, plan: &SamplingPlan) -> Result<Box<dyn Sampler>, EngineError> {
        Ok(Box::new(self.cuda_sampler(model, plan)?))
    }

    fn score(&self, model: &Sarm, data: Arc<ConditionedImages>) -> Result<Vec<f64>, EngineError> {
        check_images(model, &data)?;
        scorer::score(&self.device, model, &data)
    }
}
