//! A model in training.

use super::EngineError;
use crate::nn::adam::Rates;

/// Everything that training changes: parameters and the optimiser's moments, in the checkpoint's order.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingState {
    /// Parameters, one flat tensor after another as in [`Model::tensors`](crate::family::Model::tensors).
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
    ///
    /// # Errors
    /// [`EngineError::Mismatch`] where one does not.
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
    ///
    /// # Errors
    /// A pixel beyond the model's range, a batch that the device has no room for, work of it that fails; on a card, a row
    /// that is not among the images.
    ///
    /// # Panics
    /// On the CPU, for a row that is not among the images.
    fn steps(&mut self, rows: &[u32], batch: usize, rates: Rates) -> Result<Vec<f64>, EngineError>;

    /// One Adam step on the images in `rows`: their mean negative log-likelihood in nats before the step.
    ///
    /// # Errors
    /// Without rows; as [`steps`](Self::steps).
    ///
    /// # Panics
    /// As [`steps`](Self::steps).
    fn step(&mut self, rows: &[u32], rates: Rates) -> Result<f64, EngineError> {
        let nll = self.steps(rows, rows.len(), rates)?;
        nll.first()
            .copied()
            .ok_or_else(|| EngineError::Mismatch("a step needs images".into()))
    }

    /// Negative log-likelihood in nats of the images in `rows`, with the current parameters.
    ///
    /// # Errors
    /// As [`steps`](Self::steps).
    ///
    /// # Panics
    /// As [`steps`](Self::steps).
    fn nll(&mut self, rows: &[u32]) -> Result<Vec<f64>, EngineError>;

    /// The terms that the numbers of [`nll`](Self::nll) are sums of, weighted, by name: means over the images that it was given since this was
    /// asked last. None where they are likelihoods.
    fn take_terms(&mut self) -> Vec<(&'static str, f64)> {
        Vec::new()
    }

    /// From now on, let image number `row` count `weights[row]` times in a batch: its derivatives and its likelihood in the
    /// mean are multiplied by that. [`nll`](Self::nll) stays that of each image.
    ///
    /// # Errors
    /// A device that trains on images of equal weight alone; not one weight an image.
    fn weigh(&mut self, _weights: &[f32]) -> Result<(), EngineError> {
        Err(EngineError::equal_weights())
    }

    /// Parameters and moments, to checkpoint.
    ///
    /// # Errors
    /// A device that fails.
    fn state(&self) -> Result<TrainingState, EngineError>;

    /// Continue from a checkpoint.
    ///
    /// # Errors
    /// A state with other tensors than the model's: see [`TrainingState::check`]; a device that fails.
    fn restore(&mut self, state: &TrainingState) -> Result<(), EngineError>;
}
