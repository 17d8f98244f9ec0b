//! Exact log-likelihoods of the images of a file.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::checkpoint::Checkpoint;
use super::conditions::{Given, GivenError};
use super::dataset::{DatasetError, check_range, conditions};
use super::on_threads_of;
use crate::conditions::ConditionedImages;
use crate::data::{self, About, DataError, Dataset, FileOptions, ReadOptions, Selection};
use crate::device::Devices;
use crate::family::EngineError;
use crate::prior::draw::log_density;

/// Which images to score.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The files, treated as one.
    pub data: Vec<PathBuf>,
    /// Which of its rows.
    pub select: Vec<Selection>,
    /// Conditions of all images, in place of the file's.
    pub given: Vec<Given>,
    /// Only so many of the selected images.
    pub limit: Option<usize>,
    /// What the files do not say of themselves.
    pub file: FileOptions,
}

/// Log-likelihoods.
#[derive(Debug, Clone)]
pub struct Scores {
    /// ln p of each image given its conditions, nats; positive pixels count with a density per GeV.
    pub log_likelihood: Vec<f64>,
    /// ln p of the conditions that are no labels, given the labels, where the model knows their distribution.
    pub log_prior: Option<Vec<f64>>,
    /// Row of each image in its file.
    pub rows: Vec<u64>,
    /// What the files say of the images.
    pub about: About,
    /// Time that the likelihoods took.
    pub took: Duration,
}

/// Why images cannot be scored.
#[derive(Debug, thiserror::Error)]
pub enum ScoreError {
    /// A family that has no likelihood.
    #[error("models of the family '{0}' have no exact likelihood; score with a SARM")]
    NoLikelihood(&'static str),
    /// The conditions given.
    #[error(transparent)]
    Given(#[from] GivenError),
    /// The file.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Images or conditions that the model gives no probability to.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The device, or images that are not the model's.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The same, of the images of a file.
    #[error("scoring {}: {source}", data::joined(.paths))]
    InFile {
        /// The files.
        paths: Vec<PathBuf>,
        /// Why.
        source: Box<ScoreError>,
    },
}

/// Score the images that `request` names.
///
/// # Errors
/// See [`ScoreError`].
pub fn score(
    checkpoint: &Checkpoint,
    devices: &Devices,
    request: &Request,
) -> Result<Scores, ScoreError> {
    let model = checkpoint.model.as_ref();
    let size = model.image();
    let mut dataset = data::read_all(
        &request.data,
        &ReadOptions {
            selections: request.select.clone(),
            columns: Given::scored(&request.given, model.conditions())?,
            prefer_given: true,
            total: model.conditions().total.clone(),
            limit: request.limit,
            size: Some((size.height, size.width)),
            file: request.file.clone(),
        },
    )?;
    suits(checkpoint, &request.file, &mut dataset)?;
    let rows = dataset.images.len();
    Given::put(&request.given, &mut dataset.columns, rows);
    score_dataset(checkpoint, devices, dataset).map_err(|source| ScoreError::InFile {
        paths: request.data.clone(),
        source: Box::new(source),
    })
}

/// Give names the numbers that the model knows them by, and say where unit or threshold are not the model's.
fn suits(
    checkpoint: &Checkpoint,
    file: &FileOptions,
    dataset: &mut Dataset,
) -> Result<(), ScoreError> {
    let record = &checkpoint.record;
    for (name, order) in &record.names {
        dataset.rename(name, order)?;
    }
    if dataset.about.unit != record.unit {
        log::warn!(
            "pixels are in {} and the model was trained in {} (its likelihoods mean nothing then); give --scale",
            dataset.about.unit,
            record.unit
        );
    }
    if let Some(threshold) = record.threshold
        && file.threshold != Some(threshold)
    {
        log::warn!(
            "the model was trained on images without pixels below {threshold} {} (such pixels count for much in a likelihood); give --threshold {threshold}",
            record.unit
        );
    }
    Ok(())
}

/// Score images in memory, with a column for each condition of the model.
///
/// # Errors
/// See [`ScoreError`].
pub fn score_dataset(
    checkpoint: &Checkpoint,
    devices: &Devices,
    dataset: Dataset,
) -> Result<Scores, ScoreError> {
    let model = checkpoint.model.as_ref();
    let scorer = (model.scorer()).ok_or(ScoreError::NoLikelihood(model.family()))?;
    let remedy = "score with a model of a higher range or leave those images out";
    check_range(model, &dataset, remedy)?;
    let conditions = conditions(model, &dataset)?;
    let log_prior = match &checkpoint.prior {
        Some(prior) if !prior.densities.is_empty() => Some(on_threads_of(devices, || {
            log_density(prior, &dataset.columns)
        })?),
        _ => None,
    };
    let (rows, about) = (dataset.rows, dataset.about);
    let images = Arc::new(ConditionedImages {
        images: dataset.images,
        conditions,
    });
    let started = Instant::now();
    let log_likelihood = scorer.score(devices, images)?;
    Ok(Scores {
        log_likelihood,
        log_prior,
        rows,
        about,
        took: started.elapsed(),
    })
}
