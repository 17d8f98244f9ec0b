//! The training loop: split, epochs, schedule, validation, checkpoints, resume.
//!
//! A run directory holds `config.toml` (what was asked for), `model.safetensors` (the best model so
//! far), `state.safetensors` (everything needed to go on, from before the first step) and `metrics.csv` (one line an epoch).
//! Each is written to a temporary name and renamed, the model before the state: a run killed at any moment
//! goes on from its last state and ends in the same bits as one that was not. While a process trains
//! there, it holds the file `lock`.

mod data;
mod divergence;
mod resume;
mod run;

pub use resume::{check_directory, read_metrics};
#[cfg(feature = "classify")]
pub(super) use {
    data::{checksum, split_at_random},
    divergence::far_above,
};

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::checkpoint::CheckpointError;
use crate::data::{Dataset, FileOptions};
use crate::device::Devices;
use crate::family::EngineError;
use crate::family::{ConfigError, Configuration, Model, Objective};
use crate::prior::Prior;
use crate::prior::learn::LearnError;
use crate::run::dataset::DatasetError;
use crate::run::forecast::TooLarge;
use run::{Run, Started};

/// Why training could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The configuration does not fit the data.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file of the run directory.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// More memory than there is.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// The distribution of the conditions.
    #[error(transparent)]
    Prior(#[from] LearnError),
    /// Images or conditions that cannot be learnt from.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// Nothing is left to validate on.
    #[error(
        "{images} images leave none to validate on (validation = {validation}); select more or set it to 0"
    )]
    NoneToValidate {
        /// Images in all.
        images: usize,
        /// The fraction that was to be held out.
        validation: f64,
    },
    /// Nothing is left to train on.
    #[error("{images} images leave none to train on; select more")]
    NoneToTrain {
        /// Images in all.
        images: usize,
    },
    /// The loss of the training images is no number.
    #[error(
        "the loss left the range of numbers in epoch {epoch}, step {step}; start again with a lower learning_rate (it was {rate})"
    )]
    Diverged {
        /// Counted from 1.
        epoch: usize,
        /// Counted from 1.
        step: usize,
        /// The step size.
        rate: f32,
    },
    /// The loss of the held-out images is no number.
    #[error(
        "the loss of the held-out images left the range of numbers after epoch {epoch}; start again with a lower learning_rate (it was {rate})"
    )]
    DivergedHeldOut {
        /// Counted from 1.
        epoch: usize,
        /// The step size.
        rate: f32,
    },
    /// The loss went up far above the best.
    #[error(
        "training diverged in epoch {epoch} ({} {now:.1} {} {of}, the best was {best:.1} {when}); start again with a lower learning_rate (it was {rate}){kept}",
        objective.name,
        objective.unit,
        when = match best_epoch { 0 => "before the first step".to_string(), epoch => format!("after epoch {epoch}") },
        kept = match best_epoch { 0 => "", _ => ", or keep that epoch's model, which is there" }
    )]
    Worse {
        /// Counted from 1.
        epoch: usize,
        /// What is made small.
        objective: Objective,
        /// An image's share of it, after the epoch.
        now: f64,
        /// Of which images.
        of: &'static str,
        /// The lowest.
        best: f64,
        /// Its epoch, counted from 1; 0 before the first.
        best_epoch: usize,
        /// The step size.
        rate: f32,
    },
    /// A run that ended in one of these three ways, asked to go on.
    #[error(
        "the training in '{}' diverged in epoch {epoch} (going on would repeat that); start again with a lower learning_rate (it was {rate}) and --force{kept}",
        directory.display(),
        kept = match best_epoch { 0 => String::new(), epoch => format!(", or keep the model of epoch {epoch}, which is there") }
    )]
    HasDiverged {
        /// The run directory.
        directory: PathBuf,
        /// Counted from 1.
        epoch: usize,
        /// The step size.
        rate: f32,
        /// Epoch of the model that is kept, counted from 1; 0 where there is none.
        best_epoch: usize,
    },
    /// Weights that images cannot be counted with.
    #[error(
        "the weights of the {images} images {what} add up to {total} (it must be more than 0); select other images or train without --weights"
    )]
    NoWeight {
        /// How many.
        images: usize,
        /// What for.
        what: &'static str,
        /// What they add up to.
        total: f64,
    },
    /// A weight that is no number, or not one for each image.
    #[error("image {row} has the weight {weight}; weights must be finite")]
    WeightNotFinite {
        /// Place among the images.
        row: usize,
        /// What it holds.
        weight: f32,
    },
    /// Another process holds the run directory.
    #[error("another process is training in '{}'; wait for it or choose another directory", .0.display())]
    Busy(PathBuf),
    /// The name of the run directory is that of a file.
    #[error("'{}' is a file; a run directory is needed", .0.display())]
    NoDirectory(PathBuf),
    /// A model is there, but nothing to go on from.
    #[error("cannot resume in '{}' (it holds a model, but no state.safetensors); choose another directory, or --force to start over", .0.display())]
    NoState(PathBuf),
    /// A run is there, and nobody said what to do with it.
    #[error("'{}' already holds a run; use --resume to go on with it, --force to overwrite it", .0.display())]
    Exists(PathBuf),
    /// The run that is there was trained in another way.
    #[error(
        "'{}' was trained with another [train] table ({changed}); only 'epochs' and 'patience' may change on --resume",
        directory.display()
    )]
    OtherTraining {
        /// The run directory.
        directory: PathBuf,
        /// Which settings, was and is.
        changed: String,
    },
    /// The run that is there was trained on something else.
    #[error("'{}' was trained on other images or values of the conditions; give the same --data, --select and --limit, or --force to start over", .0.display())]
    OtherData(PathBuf),
    /// The run that is there is of another model.
    #[error("'{}' was trained with another model configuration ({changed}); give the one in its config.toml, or --force to start over", directory.display())]
    OtherModel {
        /// The run directory.
        directory: PathBuf,
        /// Which settings, was and is.
        changed: String,
    },
}

/// What to train on what, and where to.
pub struct TrainPlan {
    /// The whole configuration.
    pub config: Box<dyn Configuration>,
    /// The images, already selected.
    pub dataset: Dataset,
    /// File that they came from, for the record.
    pub data: String,
    /// Selections made on it, as typed.
    pub select: Vec<String>,
    /// What the file was said to be, for the record.
    pub file: FileOptions,
    /// Run directory.
    pub out: PathBuf,
    /// Go on from the directory's state; start where there is none.
    pub resume: bool,
    /// Overwrite what stands in the directory.
    pub force: bool,
    /// Time between checkpoints inside an epoch.
    pub checkpoint_every: Duration,
}

impl TrainPlan {
    /// Train a model of `config` on `dataset` into the directory `out`: a new run, a checkpoint every five minutes.
    pub fn new(config: Box<dyn Configuration>, dataset: Dataset, out: impl Into<PathBuf>) -> Self {
        Self {
            config,
            dataset,
            data: String::new(),
            select: Vec::new(),
            file: FileOptions::default(),
            out: out.into(),
            resume: false,
            force: false,
            checkpoint_every: Duration::from_secs(300),
        }
    }
}

/// One epoch's figures: a line of `metrics.csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochMetrics {
    /// Counted from 1.
    pub epoch: usize,
    /// Adam's step size.
    pub learning_rate: f32,
    /// Mean NLL in nats per image over the epoch's steps; of a model without a likelihood, its loss.
    pub train_nll: f64,
    /// Mean NLL in nats per held-out image, after the epoch.
    pub validation_nll: Option<f64>,
    /// The terms of a loss that is no likelihood, by name: they add up to `validation_nll`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub terms: Vec<(String, f64)>,
    /// Whether this is the best model so far.
    pub best: bool,
    /// Wall time in seconds.
    pub seconds: f64,
    /// Training images per second.
    pub images_per_second: f64,
}

/// Told of progress.
pub trait Observer {
    /// Training starts, or goes on, at `epoch` (from 0) with `images` images to train on.
    fn start(&mut self, _model: &dyn Model, _images: [usize; 2], _epoch: usize) {}
    /// The distribution of these conditions is about to be learnt, which may take as long as an epoch.
    fn learns_prior(&mut self, _names: &[String]) {}
    /// The distribution of the conditions was learnt in `took`.
    fn prior(&mut self, _prior: &Prior, _took: Duration) {}
    /// How far what comes before training is, where it takes long, in a line.
    fn prepares(&mut self, _line: &str) {}
    /// `images` images of `epoch` (from 0) were seen, their NLL so far `nll`.
    fn step(&mut self, _epoch: usize, _images: usize, _nll: f64) {}
    /// An epoch ended.
    fn epoch(&mut self, _metrics: &EpochMetrics) {}
    /// Something that another configuration would do better, in a line.
    fn advice(&mut self, _line: &str) {}
    /// Asked several times a second: whether to save the state and end, to go on another time.
    fn stops(&mut self) -> bool {
        false
    }
}

/// Says nothing.
pub struct Silent;
impl Observer for Silent {}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All epochs are done.
    Complete,
    /// Patience ran out before the epochs did.
    StoppedEarly,
    /// It had ended before: nothing was done.
    AlreadyComplete,
    /// The observer asked to stop; `resume` goes on from the state that was saved.
    Interrupted,
}

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Summary {
    /// Why.
    pub ending: Ending,
    /// The best model; of a run that was interrupted in its first epoch, there is none yet.
    pub model: PathBuf,
    /// Its epoch, counted from 1.
    pub best_epoch: usize,
    /// Every epoch.
    pub history: Vec<EpochMetrics>,
    /// What the numbers of the epochs are.
    pub objective: Objective,
}

/// Train by `plan` on `devices`.
///
/// # Errors
/// See [`TrainError`]. Nothing of a run directory is touched before all that can be refused without it has been looked
/// at.
pub fn train(
    devices: &Devices,
    plan: TrainPlan,
    observer: &mut dyn Observer,
) -> Result<Summary, TrainError> {
    let mut run = match Run::start(devices, plan, observer)? {
        Started::Run(run) => run,
        Started::Ended(summary) => return Ok(summary),
    };
    while run.goes_on() {
        if run.epoch(observer)?.is_break() {
            return Ok(run.summary(Ending::Interrupted));
        }
    }
    let ending = match run.stopped_early() {
        true => Ending::StoppedEarly,
        false => Ending::Complete,
    };
    Ok(run.summary(ending))
}
