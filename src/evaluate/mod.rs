//! Comparison of generated images with truth.
//!
//! [`evaluate`] compares two data sets by their pixels: Wasserstein distances of observables with
//! errors and floors, separation powers, average images, sparsity, and distances of vectors of
//! features. [`report`] writes and plots the results. The conventions are in `docs/metrics.md`.

mod bounded;
mod compare;
mod distance;
mod features;
mod frechet;
#[cfg(test)]
mod golden;
mod grid;
mod histogram;
mod images;
mod kernel;
mod memorising;
mod neighbours;
mod observable;
#[cfg(feature = "report")]
pub mod report;
mod resample;
mod response;
mod separation;
mod showers;
mod soft;
mod spread;
mod ssim;
mod vectors;
mod weights;

pub use compare::{ClassEvaluation, Evaluation, ObservableEvaluation, evaluate};
pub use distance::{Batched, Distance, Floor, Resampling, distance, w1};
pub use features::{FEATURES, Points};
pub use frechet::{Fpd, FpdJetnet};
pub use histogram::{Binning, Comparison, Histogram, Ratio};
pub use images::{ImageDistances, ImageEvaluation};
pub use kernel::{Kpd, KpdUnbiased};
pub use memorising::{Memorising, Memory, Nearest, memorising};
pub use neighbours::Neighbours;
pub use observable::{Label, OBSERVABLES, Observable};
pub use response::{Given, GivenBin, GivenRatio, Response, Verdict};
pub use separation::separation;
pub use showers::{LayerMetrics, ShowerEvaluation, ShowerMetrics, evaluate_showers, readout_mev};
pub use spread::Spread;
pub use ssim::ssim;
pub use vectors::FeatureDistances;
pub use weights::WeightSummary;

use std::collections::BTreeMap;

use crate::physics::{DEFAULT_RANGE, GeometryError};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A value for each side of the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
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

/// Why values are absent, by their keys in `metrics.json`.
pub type Reasons = BTreeMap<String, String>;

/// Numbers of truth against itself: two disjoint random halves, compared as truth and generated are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Halves<T> {
    /// Events of either half.
    pub sizes: [usize; 2],
    /// What was found.
    #[serde(flatten)]
    pub found: T,
}

/// A number that has no meaning here.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum Unavailable {
    /// Not enough events.
    #[error("wants {wants} events on either side (there are {} and {})", counts[0], counts[1])]
    Few {
        /// How many would do.
        wants: usize,
        /// How many there are.
        counts: [usize; 2],
    },
    /// Not enough of training, true or generated images.
    #[error(
        "wants {wants} images of each (there are {} training, {} true and {} generated ones)",
        counts[0], counts[1], counts[2]
    )]
    FewOfThree {
        /// How many would do.
        wants: usize,
        /// How many there are.
        counts: [usize; 3],
    },
    /// All feature vectors of the truth are equal.
    #[error("every feature is constant in the truth (nothing to scale by)")]
    Constant,
    /// An image that a window does not fit into.
    #[error("images of {height} x {width} pixels are smaller than the {window} x {window} window")]
    SmallImage {
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
        /// Side of the window.
        window: usize,
    },
    /// Two images of one and the same value.
    #[error("the average images are constant (their range of values is 0)")]
    Flat,
    /// No pixel to fill a histogram with.
    #[error("a side has no nonzero pixel (its spectrum is empty)")]
    NoPixels,
    /// No bin to compare the numbers of pixels in.
    #[error(
        "no bin of the spectrum has {least} pixels whose number varies from image to image (there is no spread to compare with)"
    )]
    Unvaried {
        /// How many would do.
        least: u64,
    },
    /// Each pixel is zero in all images or in none.
    #[error("each pixel is zero in all images or in none (there is no spread to compare with)")]
    Decided,
    /// Events that count less than nothing.
    #[error(
        "{}{negative} {} below 0 (events cannot be drawn or chosen by such weights)",
        if *negative == 0 { "no weight is above 0, and " } else { "" },
        if *negative == 1 { "weight is" } else { "weights are" }
    )]
    Negative {
        /// How many weights are below 0.
        negative: usize,
    },
    /// A bin whose weights add up to less than nothing.
    #[error(
        "negative weights leave a bin of a histogram below 0 (a separation power has no meaning there)"
    )]
    NegativeBin,
    /// Weights that cancel.
    #[error(
        "the weights of a side do not add up to more than 0 (nothing can be divided by their sum)"
    )]
    Cancelled,
    /// A fit that does not end.
    #[error("the fit of JetNet does not end (SciPy gives up after 200 steps)")]
    Unfitted,
    /// A width whose square is below 0.
    #[error("negative weights make the square of a width negative (there is no width)")]
    NoWidth,
    /// A result that is not a finite number.
    #[error("some values are too large for this distance (it is not a finite number)")]
    Beyond,
}

impl Unavailable {
    fn few(wants: usize, first: usize, second: usize) -> Self {
        Self::Few {
            wants,
            counts: [first, second],
        }
    }
}

/// The number, or nothing and a note under `key` that says why.
fn value_or_reason<T>(
    reasons: &mut Reasons,
    key: &str,
    found: Result<T, Unavailable>,
) -> Option<T> {
    found
        .map_err(|why| reasons.insert(key.to_string(), why.to_string()))
        .ok()
}

/// Options of [`evaluate`].
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Half-width of the images in eta and phi.
    pub range: f64,
    /// How errors and floors are made.
    pub resampling: Resampling,
    /// Images of each side and class kept for the sample page.
    pub samples: usize,
    /// Names of columns that the images were made under: the response is compared in bins of each. The truth has a column of
    /// this name, the generated images one of the name `given_NAME` or NAME.
    pub conditions: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            range: DEFAULT_RANGE,
            resampling: Resampling::default(),
            samples: 20,
            conditions: Vec::new(),
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
    /// Images of another size than the true ones.
    #[error(
        "the {side} images have {} x {} pixels (the true ones have {} x {})",
        size[0], size[1], truth[0], truth[1]
    )]
    Unlike {
        /// "training" or "generated".
        side: &'static str,
        /// Rows and columns there.
        size: [usize; 2],
        /// Rows and columns of the true images.
        truth: [usize; 2],
    },
    /// Too few training images.
    #[error("there are {count} training images (at least {wants} are wanted); choose more rows")]
    Untrained {
        /// Images there.
        count: usize,
        /// How many would do.
        wants: usize,
    },
    /// Too few events for any statement.
    #[error("{side} has too few images (there are {count}, and either side needs at least 2)")]
    TooFew {
        /// "truth" or "generated".
        side: &'static str,
        /// Images there.
        count: usize,
    },
    /// A `signal` data set that does not fit its images.
    #[error("{side}: 'signal' has {labels} rows, but there are {images} images")]
    Labels {
        /// "truth" or "generated".
        side: &'static str,
        /// Rows of `signal`.
        labels: usize,
        /// Images.
        images: usize,
    },
    /// Weights that do not fit their images.
    #[error("{side}: there are {weights} weights, but {images} images")]
    Weights {
        /// "truth" or "generated".
        side: &'static str,
        /// Weights.
        weights: usize,
        /// Images.
        images: usize,
    },
    /// Weights that cancel.
    #[error(
        "{side}: the weights add up to {sum} (means and histograms are divided by their sum, which must be above 0); \
         choose other rows, or leave --weights out"
    )]
    Cancelled {
        /// "truth" or "generated", and the class where it is one.
        side: String,
        /// Their sum.
        sum: f64,
    },
    /// A condition that a side does not have.
    #[error("{side} has no column '{name}' (one value for each of its {images} images is wanted)")]
    Condition {
        /// "truth" or "generated".
        side: &'static str,
        /// The condition.
        name: String,
        /// Images.
        images: usize,
    },
    /// Showers of another calorimeter than the binning's.
    #[error(
        "{side} has images of {pixels} pixels, the calorimeter of the binning file has {voxels} voxels"
    )]
    Voxels {
        /// "truth" or "generated".
        side: &'static str,
        /// Pixels of an image.
        pixels: usize,
        /// Voxels of a shower.
        voxels: usize,
    },
    /// An impossible half-width.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
}
