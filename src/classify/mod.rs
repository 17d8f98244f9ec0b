//! Evaluation of generated images by classifiers: can a classifier tell them from truth, and does it learn the same from them?
//!
//! [`two_sample`] trains a classifier to tell truth from generated images: the area under its ROC curve is 0.5 if it
//! cannot. [`transfer`] trains one to tell signal from background on generated images and tests it on truth. Each test is
//! also made with truth in place of the generated images. [`boosted`] tells truth from generated images by observables
//! instead of pixels, with boosted trees, in seconds; [`ratios`] makes of such trees weights that turn generated images into
//! true ones. `docs/metrics.md` defines conventions and keys.
//!
//! Networks run on candle, on the CPU. A result depends on images, options and seed, not on the number of threads; it
//! depends on the machine's instruction set, which decides how matrix products are summed.

mod boosting;
mod calibrate;
mod fit;
mod input;
mod network;
mod observables;
mod ratio;
mod score;
mod transfer;
mod two_sample;

pub use calibrate::{EDGE, Isotonic};
pub use fit::{Epoch, Learnt, Progress};
pub use input::CHANNELS;
pub use network::Network;
pub use observables::{BOOSTED, Boosting, By, Judged, Single, Used, boosted};
pub use ratio::{Ratios, ratios};
pub use score::{Auc, Jsd, RocPoint, auc, false_positive_at, jsd, roc};
pub use transfer::{Transfer, Transferred, transfer};
pub use two_sample::{Separation, TwoSample, two_sample};

use serde::{Deserialize, Serialize};

use crate::data::SparseImages;
use crate::random::{Purpose, permutation};

/// The fewest images of a class that a test can be made with: 60 to train on, 20 to choose the epoch, 20 to test.
pub const LEAST: usize = 100;

/// How classifiers are trained.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// Which classifier.
    pub network: Network,
    /// Passes over the training images.
    pub epochs: usize,
    /// Stop after so many epochs without a better validation AUC; 0: never.
    pub patience: usize,
    /// Images of one step.
    pub batch: usize,
    /// Adam's step size.
    pub learning_rate: f64,
    /// The most images of a class that are used; the rest is not looked at.
    pub images: usize,
    /// Seed of the choice and order of images and of the first parameters.
    pub seed: u64,
}

impl Options {
    /// The defaults for `network`.
    pub fn of(network: Network) -> Self {
        match network {
            // Batch and step size are the paper's; so few images keep both trainings of a test within minutes.
            Network::Cnn => Self {
                network,
                epochs: 12,
                patience: 4,
                batch: 128,
                learning_rate: 1e-3,
                images: 5_000,
                seed: 0,
            },
            Network::Dense => Self {
                network,
                epochs: 20,
                patience: 5,
                batch: 256,
                learning_rate: 3e-4,
                images: 20_000,
                seed: 0,
            },
        }
    }
}

impl Default for Options {
    /// Of the convolutional network: with a fifth of the images it tells more apart than the dense one.
    fn default() -> Self {
        Self::of(Network::Cnn)
    }
}

/// Tests that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ClassifyError {
    /// Fewer images than a test needs.
    #[error(
        "{class}: {count} images are too few for a classifier (it trains, is chosen and is tested on disjoint parts); \
         give at least {wanted}"
    )]
    TooFew {
        /// Which images.
        class: &'static str,
        /// How many there are.
        count: usize,
        /// How many are wanted.
        wanted: usize,
    },
    /// Nothing to learn from.
    #[error(
        "{class}: all {count} images looked at are empty (no pixel above 0); check the file and its selection"
    )]
    Empty {
        /// Which images.
        class: &'static str,
        /// How many.
        count: usize,
    },
    /// Images of different sizes.
    #[error(
        "{class} has images of {height} x {width} pixels (truth has {wanted_height} x {wanted_width}); compare images of \
         one size"
    )]
    Size {
        /// Which images differ.
        class: &'static str,
        /// Their rows.
        height: usize,
        /// Their columns.
        width: usize,
        /// Rows of the first class.
        wanted_height: usize,
        /// Columns of the first class.
        wanted_width: usize,
    },
    /// No network came to tell any two images apart.
    #[error(
        "{training}: every network gave all images one score (its units fell silent); try another seed or --classifier-network dense"
    )]
    Silent {
        /// Which training.
        training: &'static str,
    },
    /// Observables that say nothing.
    #[error(
        "nearly all of the {count} images of a side have the same observables (there is nothing to tell them apart by); check \
         the files and their selections"
    )]
    Alike {
        /// Images of a side.
        count: usize,
    },
    /// Images that the network has no place for.
    #[error(
        "images of {height} x {width} pixels are too small for the convolutional classifier (it needs 13 x 13); use the \
         dense one"
    )]
    TooSmall {
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
    },
    /// Options that say nothing.
    #[error("classifier: {0} must be at least 1 (got 0); leave it at its default")]
    Zero(&'static str),
    /// An impossible step size.
    #[error(
        "classifier: a learning rate of {0} is impossible (it must be a positive number); try 1e-3"
    )]
    LearningRate(f64),
    /// More images than a test takes.
    #[error(
        "classifier: {0} images of a class are beyond the limit of {MOST} (places are 32-bit numbers); ask for fewer"
    )]
    TooMany(usize),
    /// Training ran away.
    #[error(
        "{training}: the loss is no number in epoch {epoch} (the steps are too large); lower the learning rate"
    )]
    Diverged {
        /// Which training.
        training: &'static str,
        /// Counted from 1.
        epoch: usize,
    },
    /// The library that runs the network.
    #[error("the classifier failed in candle: {0}")]
    Candle(#[from] candle_core::Error),
}

/// The most images of a class.
pub const MOST: usize = 1 << 30;

impl Options {
    fn check(&self) -> Result<(), ClassifyError> {
        for (name, value) in [
            ("epochs", self.epochs),
            ("batch", self.batch),
            ("images", self.images),
        ] {
            if value == 0 {
                return Err(ClassifyError::Zero(name));
            }
        }
        if self.images > MOST {
            return Err(ClassifyError::TooMany(self.images));
        }
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            return Err(ClassifyError::LearningRate(self.learning_rate));
        }
        Ok(())
    }
}

/// Images of each class in the parts of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    /// To learn from.
    pub train: usize,
    /// To choose the best epoch, or the number of trees, and to calibrate.
    pub validation: usize,
    /// To judge by.
    pub test: usize,
}

impl Sizes {
    /// 60, 20 and 20 of a hundred.
    fn of(images: usize) -> Self {
        let (train, validation) = (3 * images / 5, images / 5);
        Self {
            train,
            validation,
            test: images - train - validation,
        }
    }

    /// `rows` in three parts.
    fn cut<'a>(&self, rows: &'a [u32]) -> [&'a [u32]; 3] {
        let (train, rest) = rows.split_at(self.train);
        let (validation, rest) = rest.split_at(self.validation);
        [train, validation, &rest[..self.test.min(rest.len())]]
    }
}

/// What random numbers of a test are for.
#[derive(Debug, Clone, Copy)]
enum Stream {
    /// Which images of a class: `detail` = number of the class.
    Rows = 0,
    /// Order of the training images: `detail` = epoch.
    Shuffle = 1,
    /// First parameters: `detail` = attempt and tensor.
    Init = 2,
}

impl Stream {
    /// Third word of the counter; `run` = which training of a test.
    fn item(self, run: u32, detail: u32) -> u32 {
        (self as u32) << 28 | (run & 0xf) << 24 | (detail & 0xff_ffff)
    }
}

/// A class of images, checked, and which of them are looked at: `rows`, in random order.
struct Class<'a> {
    images: &'a SparseImages,
    rows: Vec<u32>,
}

/// The first `most` images of each class in random order. Errors name a class.
fn classes<'a, const N: usize>(
    named: [(&'static str, &'a SparseImages); N],
    most: [usize; N],
    seed: u64,
) -> Result<[Class<'a>; N], ClassifyError> {
    let first = named[0].1;
    for (class, images) in named {
        if (images.height(), images.width()) != (first.height(), first.width()) {
            return Err(ClassifyError::Size {
                class,
                height: images.height(),
                width: images.width(),
                wanted_height: first.height(),
                wanted_width: first.width(),
            });
        }
        if images.len() < LEAST {
            return Err(ClassifyError::TooFew {
                class,
                count: images.len(),
                wanted: LEAST,
            });
        }
    }
    let mut found = named.map(|(_, images)| Class {
        images,
        rows: Vec::new(),
    });
    for (number, (class, most)) in found.iter_mut().zip(most).enumerate() {
        let all = class.images.len().min(MOST);
        class.rows = permutation(
            seed,
            Purpose::Classify,
            Stream::Rows.item(0, number as u32),
            all,
        );
        class.rows.truncate(most);
        let empty = |row: &u32| class.images.image(*row as usize).0.is_empty();
        if class.rows.iter().all(empty) {
            return Err(ClassifyError::Empty {
                class: named[number].0,
                count: class.rows.len(),
            });
        }
    }
    Ok(found)
}
