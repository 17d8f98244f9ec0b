//! Likelihoods that are bounded from below, of families that have no exact one.

use super::EngineError;
use crate::conditions::ConditionedImages;
use crate::device::Devices;

/// Estimates, from codes drawn by chance, of lower bounds of an image's log-likelihood, nats; positive pixels count with a density per GeV. Their
/// expectations are no larger than it; one estimate may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bound {
    /// The evidence bound: mean of ln w over codes z of the image, w = p(x | z) p(z) / q(z | x).
    pub evidence: f64,
    /// The importance-weighted bound, nearer to the log-likelihood the more codes there are: ln of the mean of w.
    pub weighted: f64,
    /// Standard error of that from the codes' spread, to first order: too small where one code outweighs the others, NaN of one code.
    pub error: f64,
}

impl Bound {
    /// Codes of an image, at most.
    pub const MOST_SAMPLES: usize = 1 << 16;
}

/// A model whose log-likelihood has a lower bound.
pub trait Bounded {
    /// Bounds of images with their numbers, from `samples` codes of each, at most [`Bound::MOST_SAMPLES`]. An image's codes depend on its number
    /// alone, and fewer codes are the first of more.
    ///
    /// # Errors
    /// Images or conditions that are not the model's, pixels beyond its range, a device that it does not run on.
    fn bounds(
        &self,
        devices: &Devices,
        images: (&ConditionedImages, &[u64]),
        samples: usize,
    ) -> Result<Vec<Bound>, EngineError>;
}
