//! Codes: the numbers that families with latents make an image of.

use std::ops::Range;
use std::sync::Arc;

use super::EngineError;
use crate::conditions::ConditionedImages;
use crate::device::Devices;

/// A number of a code that is drawn from the normal distribution between two bounds, both included.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Latent {
    /// Which, from 0.
    pub number: usize,
    /// Lower bound.
    pub low: f64,
    /// Upper bound; the lower one again fixes it.
    pub high: f64,
}

impl Latent {
    /// Bounds that say something lie nearer to 0.
    pub const FARTHEST: f64 = 8.0;
}

/// Where the codes of drawn images come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Codes {
    /// The normal distribution, those listed from a part of it.
    Drawn(Vec<Latent>),
    /// A straight line, from the first code at the first of the images to the second at the last.
    Line {
        /// The two codes.
        ends: [Vec<f32>; 2],
        /// Numbers of the images.
        images: Range<u64>,
    },
    /// Rows of codes: image i has row i, round and round.
    Rows(Arc<Vec<f32>>),
}

impl Default for Codes {
    fn default() -> Self {
        Codes::Drawn(Vec::new())
    }
}

/// A model that finds codes of images.
pub trait Encoder {
    /// Numbers of a code.
    fn latents(&self) -> usize;

    /// Means and log variances of the codes of each image, `[images, 2 latents]`.
    ///
    /// # Errors
    /// Images or conditions that are not the model's, a device that it does not run on.
    fn encode(&self, devices: &Devices, data: &ConditionedImages) -> Result<Vec<f32>, EngineError>;

    /// Chance of each image to be of the upper one of two classes, by the classifier that the model has learnt from; `None` where it has none.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    fn classify(
        &self,
        devices: &Devices,
        data: &ConditionedImages,
    ) -> Result<Option<Vec<f32>>, EngineError>;
}
