//! Likelihoods that are bounded from below, of families that have no exact one.

use super::EngineError;
use crate::conditions::ConditionedImages;
use crate::device::Devices;

/// What is known of an image's log-likelihood, nats; positive pixels count with a density per GeV.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bound {
    /// The evidence bound: mean of ln w over codes z of the image, w = p(x | z) p(z) / q(z | x).
    pub evidence: f64,
    /// The importance-weighted bound, nearer to the log-likelihood the more codes there are: ln of the mean of w.
    pub weighted: f64,
    /// Standard error of that from the codes' spread, to first order: too small where one code outweighs the others.
    pub error: f64,
}

/// A model whose log-likelihood has a lower bound.
pub trait Bounded {
    /// Bounds from `samples` codes of each image, drawn under `seed`. An image's codes depend on seed and its place in `data`.
    ///
    /// # Errors
    /// Images or conditions that are not the model's, pixels beyond its range, a device that it does not run on.
    fn bounds(
        &self,
        devices: &Devices,
        data: &ConditionedImages,
        samples: usize,
        seed: u64,
    ) -> Result<Vec<Bound>, EngineError>;
}
