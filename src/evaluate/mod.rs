//! Judging generated images against truth.
//!
//! [`evaluate`] compares two data sets by their pixels: Wasserstein distances of observables with
//! errors and floors, histograms, average images, sparsity. [`report`] writes it down and draws
//! it. The conventions are in `docs/metrics.md`.

mod compare;
pub mod distance;
pub mod histogram;
mod images;
pub mod report;

pub use compare::{
    ClassEvaluation, Evaluation, OBSERVABLES, Observable, ObservableEvaluation, evaluate,
};
pub use distance::{Distance, Floor, Resampling, w1};
pub use histogram::{Binning, Comparison, Histogram, Ratio};
pub use images::ImageEvaluation;

use crate::physics::{DEFAULT_RANGE, GeometryError};
use thiserror::Error;

/// A value for each side of the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Sides<T> {
    /// Of the truth.
    pub truth: T,
    /// Of the generated images.
    pub generated: T,
}

impl<T> Sides<T> {
    /// Both sides by one rule.
    pub fn map<'a, U>(&'a self, rule: impl Fn(&'a T) -> U) -> Sides<U> {
        Sides {
            truth: rule(&self.truth),
            generated: rule(&self.generated),
        }
    }
}

/// What [`evaluate`] may be told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// Half-width of the images in eta and phi.
    pub range: f64,
    /// How errors and floors are made.
    pub resampling: Resampling,
    /// Images of each side and class kept for the sample page.
    pub samples: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            range: DEFAULT_RANGE,
            resampling: Resampling::default(),
            samples: 20,
        }
    }
}

/// Data sets that cannot be compared.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum EvaluateError {
    /// Images of different sizes.
    #[error(
        "truth has images of {truth_height} x {truth_width} pixels, generated of \
         {generated_height} x {generated_width}"
    )]
    Size {
        /// Rows of the true images.
        truth_height: usize,
        /// Columns of the true images.
        truth_width: usize,
        /// Rows of the generated images.
        generated_height: usize,
        /// Columns of the generated images.
        generated_width: usize,
    },
    /// Too few events for any statement.
    #[error("{side} has {count} images; a comparison needs at least 2 on either side")]
    TooFew {
        /// "truth" or "generated".
        side: &'static str,
        /// Images there.
        count: usize,
    },
    /// A `signal` data set that does not fit its images.
    #[error("{side}: `signal` has {labels} rows, but there are {images} images")]
    Labels {
        /// "truth" or "generated".
        side: &'static str,
        /// Rows of `signal`.
        labels: usize,
        /// Images.
        images: usize,
    },
    /// An impossible half-width.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
}
