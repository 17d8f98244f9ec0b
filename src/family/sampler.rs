//! A model that draws images, and how.

use std::sync::Arc;

use super::{Codes, EngineError};
use crate::conditions::Conditions;
use crate::data::SparseImages;

/// A model that draws images.
pub trait Sampler: Send {
    /// Images number `first .. first + count` of `seed`.
    ///
    /// Image number `i` depends on model, seed, its condition and `i` alone.
    ///
    /// # Errors
    /// A device that fails, too little memory, or a network with values beyond single precision.
    fn sample(&mut self, first: u64, count: usize) -> Result<SparseImages, EngineError>;

    /// These images will be asked for next: a device may start on them while the host does something else.
    /// Their failure may come out here or where they are asked for; asking for others after all costs time,
    /// nothing else.
    ///
    /// # Errors
    /// As [`sample`](Self::sample).
    fn announce(&mut self, _first: u64, _count: usize) -> Result<(), EngineError> {
        Ok(())
    }

    /// A count of images that keeps the engine busy; any count is allowed.
    fn preferred_count(&self) -> usize;
}

/// Conditions that are drawn as the images are: there is no table of them, however many images there are.
pub trait DrawConditions: std::fmt::Debug + Send + Sync {
    /// The conditions of images `first .. first + count`, one row each, standardised.
    ///
    /// Those of an image depend on its number alone, whatever it is asked for together with.
    ///
    /// # Errors
    /// An engine that fails.
    fn of(&self, first: u64, count: usize) -> Result<Conditions, EngineError>;
}

/// How to draw: everything that an image depends on besides the model and its number.
#[derive(Debug, Clone, Default)]
pub struct SamplingPlan {
    /// Key of the counter-based generator.
    pub seed: u64,
    /// Condition of image `i`: row `i % rows`.
    pub conditions: Conditions,
    /// What draws the condition of each image, in the place of `conditions`, where they are not given.
    pub drawn: Option<Arc<dyn DrawConditions>>,
    /// What codes images are drawn from, of families that have them.
    pub codes: Codes,
    /// Full forward pass per pixel instead of the incremental solve; the reference for tests and `bench`.
    pub naive: bool,
    /// Pixels per block of the triangular solve; `None` lets the engine choose. Does not change the images.
    pub block: Option<usize>,
    /// Memory of a card to use at most, bytes, of each where there are several; `None`: what is free. Does not
    /// change the images. The CPU engine refuses it.
    pub max_memory: Option<u64>,
}
