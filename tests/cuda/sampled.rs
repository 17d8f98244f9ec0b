//! What is drawn for the tests of the CUDA sampler, and by whom.

use std::sync::{Arc, OnceLock};

use sarm::conditions::{ConditionedImages, Conditions};
use sarm::data::SparseImages;
use sarm::families::sarm::Engine;
use sarm::families::sarm::Sarm;
use sarm::families::sarm::cpu::CpuEngine;
use sarm::families::sarm::cuda::CudaEngine;
use sarm::family::EngineError;
use sarm::family::{Sampler, SamplingPlan, Trainer};

use crate::devices::{emulated, under_test};
use crate::support::common::conditions;
use crate::support::decisions::models::{MODELS, model};
use crate::support::decisions::naive::{self, Defect};

pub const SEED: u64 = 0x0123_4567_89ab_cdef;
/// Numbers on either side of a multiple of 2^32, not at the beginning of the conditions.
pub const FIRST: u64 = (3 << 32) - 50;
/// Rows of conditions.
const ROWS: usize = 7;

/// Whether the tests run on a card, where many images cost nothing.
pub fn on_card() -> bool {
    !emulated()
}

/// Whether the tests try themselves on the plain sampler.
pub fn plain() -> bool {
    match std::env::var("SARM_TEST_SAMPLER").as_deref() {
        Err(_) => false,
        Ok("naive") => true,
        Ok(other) => panic!("SARM_TEST_SAMPLER={other}: 'naive' or nothing"),
    }
}

/// The engine under test.
pub fn engine() -> Box<dyn Engine> {
    match plain() {
        true => Box::new(Plain),
        false => Box::new(CudaEngine::new(under_test())),
    }
}

pub fn plan(model: &Sarm) -> SamplingPlan {
    SamplingPlan {
        seed: SEED,
        conditions: conditions(model, ROWS, 3),
        ..SamplingPlan::default()
    }
}

/// A model and images of it, from number [`FIRST`] on.
pub struct Images {
    pub model: Sarm,
    pub plan: SamplingPlan,
    pub images: SparseImages,
}

/// Images of model number `i`, drawn once for all tests.
pub fn drawn(i: usize) -> &'static Images {
    static DRAWN: [OnceLock<Images>; MODELS.len()] = [const { OnceLock::new() }; MODELS.len()];
    DRAWN[i].get_or_init(|| {
        let model = model(i);
        let plan = SamplingPlan {
            // Models that share their random words would share a fluctuation.
            seed: SEED + i as u64,
            ..plan(&model)
        };
        let count = if on_card() { 4000 } else { 250 };
        let mut sampler = engine().sampler(&model, &plan).unwrap();
        let images = sampler.sample(FIRST, count).unwrap();
        assert_eq!(images.len(), count);
        Images {
            model,
            plan,
            images,
        }
    })
}

/// Another sampler in blocks of `count` images.
pub struct Blocks {
    pub sampler: Box<dyn Sampler>,
    pub count: usize,
}

impl Sampler for Blocks {
    fn sample(&mut self, first: u64, count: usize) -> Result<SparseImages, EngineError> {
        self.sampler.sample(first, count)
    }

    fn announce(&mut self, first: u64, count: usize) -> Result<(), EngineError> {
        self.sampler.announce(first, count)
    }

    fn preferred_count(&self) -> usize {
        self.count
    }
}

/// The plain sampler as an engine.
struct Plain;

struct PlainSampler {
    model: Sarm,
    seed: u64,
    conditions: Conditions,
}

impl Sampler for PlainSampler {
    fn sample(&mut self, first: u64, count: usize) -> Result<SparseImages, EngineError> {
        let (seed, conditions) = (self.seed, &self.conditions);
        let images = naive::draw(&self.model, seed, conditions, first, count, Defect::None);
        Ok(images)
    }

    fn preferred_count(&self) -> usize {
        16
    }
}

impl Engine for Plain {
    fn trainer(
        &self,
        _: &Sarm,
        _: Arc<ConditionedImages>,
    ) -> Result<Box<dyn Trainer>, EngineError> {
        Err(EngineError::Device("nothing to train with".into()))
    }

    fn sampler(&self, model: &Sarm, plan: &SamplingPlan) -> Result<Box<dyn Sampler>, EngineError> {
        Ok(Box::new(PlainSampler {
            model: model.clone(),
            seed: plan.seed,
            conditions: plan.conditions.clone(),
        }))
    }

    fn score(&self, model: &Sarm, data: Arc<ConditionedImages>) -> Result<Vec<f64>, EngineError> {
        CpuEngine::new(2)?.score(model, data)
    }
}

/// Greatest distance of two samples' distribution functions.
pub fn kolmogorov_smirnov(a: &[f32], b: &[f32]) -> f64 {
    let [a, b] = [a, b].map(|sample| {
        let mut sample = sample.to_vec();
        sample.sort_unstable_by(f32::total_cmp);
        sample
    });
    let (mut i, mut j, mut most) = (0, 0, 0.0f64);
    while i < a.len() && j < b.len() {
        // Equal values of both count at once.
        let x = a[i].min(b[j]);
        i += a[i..].partition_point(|v| *v <= x);
        j += b[j..].partition_point(|v| *v <= x);
        most = most.max((i as f64 / a.len() as f64 - j as f64 / b.len() as f64).abs());
    }
    most
}
