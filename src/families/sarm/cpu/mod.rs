//! The engine that runs everywhere: f32 on the processor's vector units.

mod draw;
mod group;
mod layer;
mod naive;
mod sampler;
mod tile;
mod trainer;
mod values;
mod weights;

pub use layer::MaskedLayer;
pub use trainer::CpuTrainer;

use std::sync::Arc;

use super::{Engine, check_conditions, check_images};
use crate::conditions::ConditionedImages;
use crate::device::EngineError;
use crate::families::sarm::Sarm;
use crate::family::{Sampler, SamplingPlan, Trainer};
use crate::numeric::Isa;

/// A pool of threads and the instruction set they use.
pub struct CpuEngine {
    isa: Isa,
    pool: Arc<rayon::ThreadPool>,
}

impl CpuEngine {
    /// An engine of `threads` threads, 0 for one per core, with the best instruction set there is.
    pub fn new(threads: usize) -> Result<Self, EngineError> {
        Self::with_isa(threads, Isa::best())
    }

    /// An engine that uses `isa`.
    pub fn with_isa(threads: usize, isa: Isa) -> Result<Self, EngineError> {
        if !Isa::available().contains(&isa) {
            return Err(EngineError::Device(format!(
                "this processor has no {} (it has {:?})",
                isa.name(),
                Isa::available()
            )));
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .map_err(|e| EngineError::Device(format!("cannot start {threads} threads ({e})")))?;
        Ok(Self {
            isa,
            pool: Arc::new(pool),
        })
    }

    /// Threads of the engine.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// A trainer with its own type, for tests that look at gradients.
    pub fn cpu_trainer(&self, model: &Sarm, data: Arc<ConditionedImages>) -> CpuTrainer {
        CpuTrainer::new(self.isa, Arc::clone(&self.pool), model, data)
    }
}

impl Engine for CpuEngine {
    fn describe(&self) -> String {
        format!("cpu, {} threads, {}", self.threads(), self.isa.name())
    }

    fn arithmetic(&self) -> String {
        "float32".into()
    }

    fn trainer(
        &self,
        model: &Sarm,
        data: Arc<ConditionedImages>,
    ) -> Result<Box<dyn Trainer>, EngineError> {
        check_images(model, &data)?;
        Ok(Box::new(self.cpu_trainer(model, data)))
    }

    fn sampler(&self, model: &Sarm, plan: &SamplingPlan) -> Result<Box<dyn Sampler>, EngineError> {
        check_conditions(model, &plan.conditions)?;
        if let Some(bytes) = plan.max_memory {
            return Err(EngineError::Device(format!(
                "images are drawn on the CPU, whose memory is not limited (--max-memory {bytes} is for cards); leave it out or give --device cuda"
            )));
        }
        let pool = Arc::clone(&self.pool);
        Ok(if plan.naive {
            Box::new(naive::NaiveSampler::new(self.isa, pool, model, plan))
        } else {
            Box::new(sampler::BlockedSampler::new(self.isa, pool, model, plan))
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
