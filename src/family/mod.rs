//! What a model family can do: train, draw, score.

mod config;
pub mod several;
mod training;

pub use config::ConfigError;
pub(crate) use config::{factor, impossible, positive, within};
pub use training::TrainConfig;

use crate::conditions::Conditions;
use crate::data::SparseImages;
use crate::device::EngineError;
use crate::nn::adam::Rates;

/// Everything that training changes: parameters and the optimiser's moments, in the checkpoint's order.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingState {
    /// Parameters, one flat tensor after another as in [`Sarm::tensors`](crate::families::sarm::Sarm).
    pub parameters: Vec<Vec<f32>>,
    /// Adam's first moments, same shapes.
    pub first_moments: Vec<Vec<f32>>,
    /// Adam's second moments, same shapes.
    pub second_moments: Vec<Vec<f32>>,
    /// Optimiser steps made so far.
    pub steps: u64,
}

impl TrainingState {
    /// Check that every list holds one tensor of each of `sizes`.
    pub fn check(&self, sizes: impl Iterator<Item = usize> + Clone) -> Result<(), EngineError> {
        let lists = [&self.parameters, &self.first_moments, &self.second_moments];
        let fits = |list: &&Vec<Vec<f32>>| list.iter().map(Vec::len).eq(sizes.clone());
        match lists.iter().all(fits) {
            true => Ok(()),
            false => Err(EngineError::Mismatch(
                "the training state has other tensors than the model".into(),
            )),
        }
    }
}

/// A model in training on one data set that lives with the engine.
pub trait Trainer {
    /// Adam steps on consecutive batches of `batch` images of `rows`, fewer in the last: the mean negative
    /// log-likelihood in nats of each batch before its step.
    ///
    /// The result is the same for any number of threads, and however the rows are shared out among calls.
    fn steps(&mut self, rows: &[u32], batch: usize, rates: Rates) -> Result<Vec<f64>, EngineError>;

    /// One Adam step on the images in `rows`: their mean negative log-likelihood in nats before the step.
    fn step(&mut self, rows: &[u32], rates: Rates) -> Result<f64, EngineError> {
        let nll = self.steps(rows, rows.len(), rates)?;
        nll.first()
            .copied()
            .ok_or_else(|| EngineError::Mismatch("a step needs images".into()))
    }

    /// Negative log-likelihood in nats of the images in `rows`, with the current parameters.
    fn nll(&mut self, rows: &[u32]) -> Result<Vec<f64>, EngineError>;

    /// Parameters and moments, to checkpoint.
    fn state(&self) -> Result<TrainingState, EngineError>;

    /// Continue from a checkpoint.
    fn restore(&mut self, state: &TrainingState) -> Result<(), EngineError>;
}

/// A model that draws images.
pub trait Sampler: Send {
    /// Images number `first .. first + count` of `seed`.
    ///
    /// Image number `i` depends on model, seed, its condition and `i` alone.
    fn sample(&mut self, first: u64, count: usize) -> Result<SparseImages, EngineError>;

    /// These images will be asked for next: a device may start on them while the host does something else.
    /// Their failure may come out here or where they are asked for; asking for others after all costs time,
    /// nothing else.
    fn announce(&mut self, _first: u64, _count: usize) -> Result<(), EngineError> {
        Ok(())
    }

    /// A count of images that keeps the engine busy; any count is allowed.
    fn preferred_count(&self) -> usize;
}

/// How to draw: everything that an image depends on besides the model and its number.
#[derive(Debug, Clone, Default)]
pub struct SamplingPlan {
    /// Key of the counter-based generator.
    pub seed: u64,
    /// Condition of image `i`: row `i % rows`.
    pub conditions: Conditions,
    /// Full forward pass per pixel instead of the incremental solve; the reference for tests and `bench`.
    pub naive: bool,
    /// Pixels per block of the triangular solve; `None` lets the engine choose. Does not change the images.
    pub block: Option<usize>,
    /// Memory of a card to use at most, bytes, of each where there are several; `None`: what is free. Does not
    /// change the images. The CPU engine refuses it.
    pub max_memory: Option<u64>,
}
