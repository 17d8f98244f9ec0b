//! The CPU engine, which runs everywhere: f32 on the processor's vector units.

mod draw;
mod group;
mod layer;
mod left;
mod naive;
mod places;
mod sampler;
mod tile;
mod trainer;
mod values;
mod weights;

pub use layer::MaskedLayer;
pub use trainer::CpuTrainer;

use std::sync::Arc;

use super::Engine;
use crate::conditions::ConditionedImages;
use crate::device::{Cpu, DeviceError};
use crate::families::sarm::Sarm;
use crate::family::EngineError;
use crate::family::{Sampler, SamplingPlan, Told, Trainer, check_images};
use crate::numeric::Isa;

/// Runs SARMs on the processor.
pub struct CpuEngine {
    cpu: Cpu,
}

impl CpuEngine {
    /// On these threads.
    pub fn on(cpu: Cpu) -> Self {
        Self { cpu }
    }

    /// On `threads` threads, 0 for one per core, with the best instruction set there is.
    ///
    /// # Errors
    /// As [`Cpu::new`].
    pub fn new(threads: usize) -> Result<Self, EngineError> {
        Ok(Self::on(Cpu::new(threads)?))
    }

    /// The same with the instruction set `isa`.
    ///
    /// # Errors
    /// As [`Cpu::with_isa`].
    pub fn with_isa(threads: usize, isa: Isa) -> Result<Self, EngineError> {
        Ok(Self::on(Cpu::with_isa(threads, isa)?))
    }

    /// Threads and instruction set.
    pub fn cpu(&self) -> &Cpu {
        &self.cpu
    }

    /// A trainer with its own type, for tests that look at gradients.
    pub fn cpu_trainer(&self, model: &Sarm, data: Arc<ConditionedImages>) -> CpuTrainer {
        CpuTrainer::new(self.cpu.isa(), Arc::clone(self.cpu.pool()), model, data)
    }
}

impl Engine for CpuEngine {
    fn trainer(
        &self,
        model: &Sarm,
        data: Arc<ConditionedImages>,
    ) -> Result<Box<dyn Trainer>, EngineError> {
        check_images(model, &data)?;
        Ok(Box::new(self.cpu_trainer(model, data)))
    }

    fn sampler(&self, model: &Sarm, plan: &SamplingPlan) -> Result<Box<dyn Sampler>, EngineError> {
        let told = Told::new(model, plan)?;
        if let Some(bytes) = plan.max_memory {
            return Err(DeviceError::memory_of_a_card_alone(bytes).into());
        }
        let (isa, pool) = (self.cpu.isa(), Arc::clone(self.cpu.pool()));
        Ok(if plan.naive {
            Box::new(naive::NaiveSampler::new(isa, pool, model, plan, told))
        } else {
            Box::new(sampler::BlockedSampler::new(isa, pool, model, plan, told))
        })
    }

    fn score(&self, model: &Sarm, data: Arc<ConditionedImages>) -> Result<Vec<f64>, EngineError> {
        check_images(model, &data)?;
        let rows: Vec<u32> = (0..data.images.len() as u32).collect();
        let mut nll = self.cpu_trainer(model, data).nll(&rows)?;
        for v in &mut nll {
            *v = -*v;
        }
        Ok(nll)
    }
}
