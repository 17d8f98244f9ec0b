//! How a SARM is *run*: one trait for training, scoring and sampling, an engine per device beneath it.

pub(crate) mod adam;
pub mod cpu;
pub mod cuda;
mod open;
pub mod reference;
pub mod several;

pub use adam::Rates;
pub use open::{Cards, DeviceChoice, Opened, Work, open, open_sampler};

use std::sync::Arc;

use crate::data::SparseImages;
use crate::model::Model;

/// Why an engine could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A pixel that the likelihood gives no probability to.
    #[error("{0}")]
    OutOfRange(String),
    /// Images or conditions that are not of the model.
    #[error("{0}")]
    Mismatch(String),
    /// The device failed or is missing.
    #[error("{0}")]
    Device(String),
}

impl EngineError {
    /// Pixel number `pixel` of image `image` lies beyond `model`'s range.
    fn beyond(model: &Model, image: usize, pixel: usize, value: f32) -> Self {
        let width = model.config.image.width;
        Self::OutOfRange(format!(
            "image {image}, pixel ({}, {}) holds {value} GeV (the model's range ends at {:.4} GeV); train with a higher maximum",
            pixel / width,
            pixel % width,
            model.values().end(),
        ))
    }
}

/// Standardised condition vectors of a run of images.
///
/// Image number `i` uses row `i % rows`; a model without conditions has rows of width 0.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Conditions {
    width: usize,
    values: Vec<f32>,
}

impl Conditions {
    /// No conditions.
    pub fn none() -> Self {
        Self::default()
    }

    /// Rows of `width` standardised numbers, flattened; `values.len()` is a multiple of `width`.
    pub fn new(width: usize, values: Vec<f32>) -> Self {
        assert!(width == 0 || values.len().is_multiple_of(width));
        Self { width, values }
    }

    /// Numbers in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Distinct rows (0 without conditions).
    pub fn rows(&self) -> usize {
        self.values.len().checked_div(self.width).unwrap_or(0)
    }

    /// The condition of image number `image`.
    pub fn row(&self, image: u64) -> &[f32] {
        match self.rows() {
            0 => &[],
            n => {
                let r = (image % n as u64) as usize;
                &self.values[r * self.width..(r + 1) * self.width]
            }
        }
    }
}

/// Images with the condition of each, ready to be learnt from or scored.
#[derive(Debug, Clone, Default)]
pub struct ConditionedImages {
    /// The images.
    pub images: SparseImages,
    /// Their conditions: as many rows as images, or none.
    pub conditions: Conditions,
}

/// Standard deviations from its mean beyond which a condition is taken for a mistake.
const FARTHEST: f32 = 1e4;

/// Check that conditions are `model`'s: as many numbers as it has names, each finite and not absurd.
pub fn check_conditions(model: &Model, conditions: &Conditions) -> Result<(), EngineError> {
    let names = &model.config.condition.names;
    if conditions.width() != names.len() || (conditions.rows() == 0 && !names.is_empty()) {
        return Err(EngineError::Mismatch(format!(
            "the model has {} conditions ({}), given are {} rows of {}",
            names.len(),
            names.join(", "),
            conditions.rows(),
            conditions.width()
        )));
    }
    let total = model.total();
    for row in 0..conditions.rows() as u64 {
        for (name, z) in names.iter().zip(conditions.row(row)) {
            if !z.is_finite() || z.abs() > FARTHEST {
                return Err(EngineError::Mismatch(format!(
                    "condition '{name}' of row {row} lies {z:e} standard deviations from the mean of the training images; at most {FARTHEST:e} are allowed"
                )));
            }
        }
        if let Some(total) = &total {
            let told = total.of(conditions.row(row));
            if told < -total.error() {
                return Err(EngineError::Mismatch(format!(
                    "condition '{}' of row {row} is {told} GeV, the sum of an image's pixels; it must not be negative",
                    names[total.condition]
                )));
            }
        }
    }
    Ok(())
}

/// Check that images and their conditions are `model`'s: size, one row of conditions an image.
pub fn check_images(model: &Model, data: &ConditionedImages) -> Result<(), EngineError> {
    let size = model.config.image;
    let found = (data.images.height(), data.images.width());
    if found != (size.height, size.width) {
        return Err(EngineError::Mismatch(format!(
            "the images have {} x {} pixels, the model {} x {}",
            found.0, found.1, size.height, size.width
        )));
    }
    check_conditions(model, &data.conditions)?;
    if data.conditions.width() > 0 && data.conditions.rows() != data.images.len() {
        return Err(EngineError::Mismatch(format!(
            "{} images but {} rows of conditions",
            data.images.len(),
            data.conditions.rows()
        )));
    }
    if let Some(total) = model.total() {
        for (row, sum) in data.images.totals().into_iter().enumerate() {
            let told = total.of(data.conditions.row(row as u64));
            if !total.covers(sum, told) {
                return Err(EngineError::Mismatch(format!(
                    "the pixels of image {row} add up to {sum} GeV (its condition '{}' says {told}); it must be their sum",
                    model.config.condition.names[total.condition]
                )));
            }
        }
    }
    Ok(())
}

/// Everything that training changes: parameters and the optimiser's moments, in the checkpoint's order.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingState {
    /// Parameters, one flat tensor after another as in [`Model::tensors`](crate::model::Model).
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
    fn check(&self, sizes: impl Iterator<Item = usize> + Clone) -> Result<(), EngineError> {
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
        model: &Model,
        data: Arc<ConditionedImages>,
    ) -> Result<Box<dyn Trainer>, EngineError>;

    /// Prepare `model` for drawing.
    fn sampler(&self, model: &Model, plan: &SamplingPlan) -> Result<Box<dyn Sampler>, EngineError>;

    /// Exact log-likelihood in nats of each image: a density per GeV for each nonzero pixel, a mass for each zero.
    fn score(&self, model: &Model, data: Arc<ConditionedImages>) -> Result<Vec<f64>, EngineError>;
}
