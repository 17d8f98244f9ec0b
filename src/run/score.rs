//! Log-likelihoods of the images of a file: exact ones, and bounds of models that have none.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::checkpoint::Checkpoint;
use super::conditions::{Given, GivenError};
use super::dataset::{DatasetError, conditions, read_for};
use super::on_threads_of;
use crate::conditions::ConditionedImages;
use crate::data::{self, About, DataError, Dataset, FileOptions, ReadOptions, Selection};
use crate::device::Devices;
use crate::family::{Beyond, Bound, EngineError, Model};
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
    /// Codes that the bound of a model without an exact likelihood is averaged over; `None`: [`SAMPLES`].
    pub samples: Option<usize>,
    /// What the files do not say of themselves.
    pub file: FileOptions,
}

/// Codes that a bound is averaged over where nobody says how many.
pub const SAMPLES: usize = 64;

/// How a model without an exact likelihood bounds it.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Codes of an image.
    pub samples: usize,
    /// The evidence bound of each image, nats.
    pub evidence: Vec<f64>,
    /// Standard error of each image's importance-weighted bound.
    pub error: Vec<f64>,
}

/// Log-likelihoods.
#[derive(Debug, Clone)]
pub struct Scores {
    /// ln p of each image given its conditions, nats; positive pixels count with a density per GeV. With [`bounds`](Self::bounds) the
    /// importance-weighted bound of it.
    pub log_likelihood: Vec<f64>,
    /// Where the model bounds the likelihood only.
    pub bounds: Option<Bounds>,
    /// ln p of the conditions that are no labels, given the labels, where the model knows their distribution.
    pub log_prior: Option<Vec<f64>>,
    /// Row of each image in its file.
    pub rows: Vec<u64>,
    /// How many images have pixels that the model gives no probability to: their log-likelihood is minus infinity.
    pub images_beyond: usize,
    /// Those pixels, for each end of the model's range that some lie beyond.
    pub beyond: Vec<BeyondImages>,
    /// What the files say of the images.
    pub about: About,
    /// Time that the likelihoods took.
    pub took: Duration,
}

/// Images with pixels beyond one end of a model's range.
#[derive(Debug, Clone, PartialEq)]
pub struct BeyondImages {
    /// How many, where the range ends, and the farthest pixel.
    pub found: Beyond,
    /// Row in its file of the image with the farthest.
    pub row: u64,
}

/// Why images cannot be scored.
#[derive(Debug, thiserror::Error)]
pub enum ScoreError {
    /// A family that has no likelihood.
    #[error(
        "this {0} gives no probabilities (its decoder makes one image of a code); score with a SARM, or train a VAE with [likelihood], whose bound can be given"
    )]
    NoLikelihood(String),
    /// More codes of an image than are counted.
    #[error("cannot take {0} codes an image (at most {most} are counted); lower --samples", most = Bound::MOST_SAMPLES)]
    Samples(usize),
    /// Codes for a model that has an exact likelihood.
    #[error("the likelihood of this {0} is exact (--samples is for bounds); leave it out")]
    Exact(String),
    /// The conditions given.
    #[error(transparent)]
    Given(#[from] GivenError),
    /// The file.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Conditions that are missing or no numbers.
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
    check(checkpoint.model.as_ref(), request.samples)?;
    let mut dataset = read_for(
        checkpoint,
        &request.data,
        ReadOptions {
            selections: request.select.clone(),
            columns: Given::scored(&request.given, checkpoint.model.conditions())?,
            prefer_given: true,
            limit: request.limit,
            file: request.file.clone(),
            ..ReadOptions::default()
        },
    )?;
    let rows = dataset.images.len();
    Given::put(&request.given, &mut dataset.columns, rows);
    score_with(checkpoint, devices, dataset, request.samples).map_err(|source| ScoreError::InFile {
        paths: request.data.clone(),
        source: Box::new(source),
    })
}

/// Score images in memory, with a column for each condition of the model.
///
/// An image with pixels beyond the model's range gets minus infinity; the others are scored.
///
/// # Errors
/// See [`ScoreError`].
pub fn score_dataset(
    checkpoint: &Checkpoint,
    devices: &Devices,
    dataset: Dataset,
) -> Result<Scores, ScoreError> {
    score_with(checkpoint, devices, dataset, None)
}

/// Whether `model` gives what is asked for.
fn check(model: &dyn Model, samples: Option<usize>) -> Result<(), ScoreError> {
    if model.scorer().is_none() && model.bounded().is_none() {
        return Err(ScoreError::NoLikelihood(model.title()));
    }
    if let Some(many) = samples.filter(|samples| *samples > Bound::MOST_SAMPLES) {
        return Err(ScoreError::Samples(many));
    }
    if model.scorer().is_some() && samples.is_some() {
        return Err(ScoreError::Exact(model.title()));
    }
    Ok(())
}

fn score_with(
    checkpoint: &Checkpoint,
    devices: &Devices,
    dataset: Dataset,
    samples: Option<usize>,
) -> Result<Scores, ScoreError> {
    let model = checkpoint.model.as_ref();
    check(model, samples)?;
    if let Some(unsuited) = model.unsuited(&dataset.images) {
        log::warn!("{unsuited}");
    }
    // Of all images: those beyond the range have conditions like the others.
    let told = conditions(model, &dataset)?;
    let log_prior = match &checkpoint.prior {
        Some(prior) if !prior.densities.is_empty() => Some(on_threads_of(devices, || {
            log_density(prior, &dataset.columns)
        })?),
        _ => None,
    };
    let (inside, beyond) = split(model, &dataset);
    let images_beyond = dataset.images.len() - inside.len();
    let (rows, about) = (dataset.rows, dataset.about);
    let data = match inside.len() == dataset.images.len() {
        true => ConditionedImages {
            images: dataset.images,
            conditions: told,
        },
        false => ConditionedImages {
            images: dataset.images.gather(inside.iter().copied()),
            conditions: told.gather(inside.iter().copied()),
        },
    };
    let started = Instant::now();
    let nothing = vec![f64::NEG_INFINITY; rows.len()];
    let mut log_likelihood = nothing.clone();
    let mut bounds = None;
    if let (Some(scorer), false) = (model.scorer(), inside.is_empty()) {
        let scores = scorer.score(devices, Arc::new(data))?;
        for (row, score) in inside.into_iter().zip(scores) {
            log_likelihood[row] = score;
        }
    } else if let Some(bounded) = model.bounded() {
        let samples = samples.unwrap_or(SAMPLES);
        let (mut evidence, mut error) = (nothing, vec![0.0; rows.len()]);
        if !inside.is_empty() {
            let numbers: Vec<u64> = inside.iter().map(|row| rows[*row]).collect();
            let found = bounded.bounds(devices, (&data, &numbers), samples)?;
            for (row, bound) in inside.into_iter().zip(found) {
                log_likelihood[row] = bound.weighted;
                (evidence[row], error[row]) = (bound.evidence, bound.error);
            }
        }
        bounds = Some(Bounds {
            samples,
            evidence,
            error,
        });
    }
    Ok(Scores {
        log_likelihood,
        bounds,
        log_prior,
        rows,
        images_beyond,
        beyond,
        about,
        took: started.elapsed(),
    })
}

/// The images of `dataset` whose pixels all lie in `model`'s range, and what there is of others.
fn split(model: &dyn Model, dataset: &Dataset) -> (Vec<usize>, Vec<BeyondImages>) {
    let all = dataset.images.len();
    let found = model.beyond(&dataset.images);
    if found.is_empty() {
        return ((0..all).collect(), Vec::new());
    }
    let mut inside = Vec::with_capacity(all);
    // Few images are beyond: halves without any are taken as a whole. The last range is the one that comes first.
    let mut ranges = vec![(0, all)];
    while let Some((start, end)) = ranges.pop() {
        let some = dataset.images.gather(start..end);
        if model.beyond(&some).is_empty() {
            inside.extend(start..end);
        } else if end - start > 1 {
            let middle = start + (end - start) / 2;
            ranges.extend([(middle, end), (start, middle)]);
        }
    }
    let row = |found: &Beyond| dataset.rows.get(found.image).copied();
    let beyond = found.into_iter().map(|found| BeyondImages {
        row: row(&found).unwrap_or(found.image as u64),
        found,
    });
    (inside, beyond.collect())
}
