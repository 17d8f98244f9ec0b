//! The training loop: split, epochs, schedule, validation, checkpoints, resume.
//!
//! A run directory holds `config.toml` (what was asked for), `model.safetensors` (the best model so
//! far), `state.safetensors` (everything needed to go on) and `metrics.csv` (one line an epoch). Each
//! is written to a temporary name and renamed, the model before the state: a run killed at any moment
//! goes on from its last state and ends in the same bits as one that was not. While a process trains
//! there, it holds the file `lock`.

mod data;
mod files;

pub use data::{check_range, conditions};
pub use files::{check_directory, read_metrics};

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::checkpoint::tensors::write_atomically;
use crate::checkpoint::{CheckpointError, Record};
use crate::conditions::ConditionedImages;
use crate::data::Dataset;
use crate::device::EngineError;
use crate::families::sarm::Engine;
use crate::families::sarm::checkpoint::Checkpoint;
use crate::families::sarm::{Config, Sarm, Statistics};
use crate::family::ConfigError;
use crate::nn::adam::Rates;
use crate::prior::Prior;
use crate::prior::learn::{LearnError, learn};

use data::{Shuffles, checksum, column, complete, split};
use files::{Progress, RunFiles, RunLock, metrics_csv, prepare_directory, resume, save_state};

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
    /// The distribution of the conditions.
    #[error(transparent)]
    Prior(#[from] LearnError),
    /// Anything else, said in full.
    #[error("{0}")]
    Refused(String),
}

fn refuse<T>(message: impl Into<String>) -> Result<T, TrainError> {
    Err(TrainError::Refused(message.into()))
}

/// What to train on what, and where to.
pub struct TrainPlan {
    /// The whole configuration.
    pub config: Config,
    /// The images, already selected.
    pub dataset: Dataset,
    /// File that they came from, for the record.
    pub data: String,
    /// Selections made on it, as typed.
    pub select: Vec<String>,
    /// Run directory.
    pub out: PathBuf,
    /// Go on from the directory's state.
    pub resume: bool,
    /// Overwrite what stands in the directory.
    pub force: bool,
    /// Time between checkpoints inside an epoch.
    pub checkpoint_every: Duration,
}

/// One epoch's figures: a line of `metrics.csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochMetrics {
    /// Counted from 1.
    pub epoch: usize,
    /// Adam's step size.
    pub learning_rate: f32,
    /// Mean NLL in nats per image over the epoch's steps.
    pub train_nll: f64,
    /// Mean NLL in nats per held-out image, after the epoch.
    pub validation_nll: Option<f64>,
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
    fn start(&mut self, _model: &Sarm, _images: [usize; 2], _epoch: usize) {}
    /// The distribution of the conditions was learnt in `took`.
    fn prior(&mut self, _prior: &Prior, _took: Duration) {}
    /// `images` images of `epoch` (from 0) were seen, their NLL so far `nll`.
    fn step(&mut self, _epoch: usize, _images: usize, _nll: f64) {}
    /// An epoch ended.
    fn epoch(&mut self, _metrics: &EpochMetrics) {}
}

/// Says nothing.
pub struct Silent;
impl Observer for Silent {}

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Summary {
    /// The best model.
    pub model: PathBuf,
    /// Its epoch, counted from 1.
    pub best_epoch: usize,
    /// Every epoch.
    pub history: Vec<EpochMetrics>,
    /// Whether patience ran out before the epochs did.
    pub stopped_early: bool,
}

/// Time that one call of the engine should take: short enough for progress to move.
const CALL: Duration = Duration::from_millis(200);

/// Steps to ask for at once, after a call of `steps` took `took`: a device is kept busy only by many.
fn next_steps_per_call(steps: usize, took: Duration, checkpoint_every: Duration) -> usize {
    let aim = CALL.min(checkpoint_every / 4);
    if took < aim / 2 {
        (2 * steps).min(1 << 12)
    } else if took > aim {
        (steps / 2).max(1)
    } else {
        steps
    }
}

/// Train by `plan` on `engine`.
pub fn train(
    engine: &dyn Engine,
    plan: TrainPlan,
    observer: &mut dyn Observer,
) -> Result<Summary, TrainError> {
    let files = RunFiles {
        directory: plan.out.clone(),
    };
    check_directory(&plan.out, plan.resume, plan.force)?;
    // The plan as asked for, before anything of it is used up.
    let asked = toml::to_string(&plan.config).map_err(|e| TrainError::Refused(e.to_string()))?;
    let train_config = plan.config.train.clone();
    let [rows, held] = split(&train_config, plan.dataset.images.len())?;
    let statistics = Statistics::of(&plan.dataset.images, &rows);
    let all = Statistics::largest_of(&plan.dataset.images);
    let mut model = complete(
        &plan.config,
        &plan.dataset,
        &statistics.with_largest(all),
        &rows,
    )?;
    let conditions = conditions(&model, &plan.dataset)?;
    let mut record = Record {
        data: plan.data,
        select: plan.select,
        constants: plan
            .dataset
            .columns
            .iter()
            .filter(|(_, v)| v.windows(2).all(|w| w[0] == w[1]))
            .filter_map(|(name, v)| Some((name.clone(), *v.first()?)))
            .collect(),
        images: [rows.len(), held.len()],
        version: env!("CARGO_PKG_VERSION").into(),
        ..Record::default()
    };
    let columns = plan.dataset.columns;
    let data = Arc::new(ConditionedImages {
        images: plan.dataset.images,
        conditions,
    });
    let checksum = checksum(&data);

    let mut progress = Progress {
        data_checksum: checksum,
        ..Progress::default()
    };
    let mut state = None;
    // Nothing of the directory is touched before all that can be refused without it has been looked at.
    let _lock = RunLock::take(&files)?;
    check_directory(&plan.out, plan.resume, plan.force)?;
    if plan.resume {
        let resumed = resume(&files, &model, &train_config, rows.len(), checksum)?;
        (progress, record) = (resumed.progress, resumed.record);
        state = Some(resumed.state);
    } else {
        let mut start = statistics;
        if train_config.running_sums > 0.0 {
            start = start.with_ends(&model, &data.images, &rows, &|row| {
                data.conditions.row(u64::from(row))
            });
        }
        model.initialise(train_config.seed, &start, train_config.running_sums);
    }
    // A device may lack the room: nothing of an old run is thrown away before it has been found.
    let mut trainer = engine.trainer(&model, Arc::clone(&data))?;
    match &state {
        Some(state) => trainer.restore(state)?,
        None => prepare_directory(&files, &asked)?,
    }
    // A run that goes on has learnt it before, unless a version wrote it that did not know how.
    let learnt = match plan.resume {
        true => Checkpoint::read(&files.model())
            .ok()
            .and_then(|c| c.model.prior),
        false => None,
    };
    if learnt.is_some() {
        model.prior = learnt;
    } else {
        let began = Instant::now();
        let condition = &model.config.condition;
        let columns = (condition.names.iter())
            .map(|name| column(&columns, name))
            .collect::<Result<Vec<_>, _>>()?;
        model.prior = learn(condition, &columns, [&rows, &held], train_config.seed)?;
        if let Some(prior) = &model.prior {
            observer.prior(prior, began.elapsed());
        }
    }
    observer.start(&model, [rows.len(), held.len()], progress.epoch);
    let mut last_checkpoint = Instant::now();
    let mut steps_per_call = 1usize;
    let mut shuffles = Shuffles::new(&rows, train_config.seed);
    while progress.epoch < train_config.epochs && !progress.stopped_early(&train_config) {
        let epoch = progress.epoch;
        let started = Instant::now();
        let rate = train_config.learning_rate_at(epoch);
        let rates = Rates {
            learning_rate: rate,
            weight_decay: train_config.weight_decay as f32,
        };
        let order = shuffles.order(epoch, epoch + 1 < train_config.epochs);
        let done_before = progress.steps_in_epoch;
        let mut left = &order[(done_before * train_config.batch).min(order.len())..];
        while !left.is_empty() {
            let (now, later) = left.split_at(
                left.len()
                    .min(steps_per_call.saturating_mul(train_config.batch)),
            );
            left = later;
            let called = Instant::now();
            let losses = trainer.steps(now, train_config.batch, rates)?;
            steps_per_call =
                next_steps_per_call(steps_per_call, called.elapsed(), plan.checkpoint_every);
            for (batch, nll) in now.chunks(train_config.batch).zip(losses) {
                if !nll.is_finite() {
                    return refuse(format!(
                        "the likelihood left the range of numbers in epoch {}, step {}; start again with a lower learning_rate (it was {rate})",
                        epoch + 1,
                        progress.steps_in_epoch + 1
                    ));
                }
                progress.steps_in_epoch += 1;
                progress.nll_sum += nll * batch.len() as f64;
            }
            let seen = (progress.steps_in_epoch * train_config.batch).min(rows.len());
            observer.step(epoch, seen, progress.nll_sum / seen as f64);
            if last_checkpoint.elapsed() >= plan.checkpoint_every {
                save_state(
                    &files,
                    &model,
                    &record,
                    &train_config,
                    &progress,
                    &trainer.state()?,
                )?;
                last_checkpoint = Instant::now();
            }
        }
        let validation_nll = if held.is_empty() {
            None
        } else {
            Some(trainer.nll(&held)?.iter().sum::<f64>() / held.len() as f64)
        };
        if validation_nll.is_some_and(|nll| !nll.is_finite()) {
            return refuse(format!(
                "the likelihood of the held-out images left the range of numbers after epoch {}; start again with a lower learning_rate (it was {rate})",
                epoch + 1
            ));
        }
        let train_nll = progress.nll_sum / rows.len() as f64;
        let best = match (validation_nll, progress.best_nll) {
            (Some(v), Some(b)) => v < b,
            _ => true,
        };
        let images = rows.len().saturating_sub(done_before * train_config.batch);
        let seconds = started.elapsed().as_secs_f64();
        let metrics = EpochMetrics {
            epoch: epoch + 1,
            learning_rate: rate,
            train_nll,
            validation_nll,
            best,
            seconds,
            images_per_second: images as f64 / seconds,
        };
        observer.epoch(&metrics);
        progress.history.push(metrics);
        progress.epoch += 1;
        progress.steps_in_epoch = 0;
        progress.nll_sum = 0.0;
        let state = trainer.state()?;
        if best {
            progress.best_epoch = progress.epoch;
            progress.best_nll = validation_nll;
            record.epochs = progress.epoch;
            record.train_nll = Some(train_nll);
            record.validation_nll = validation_nll;
            model.parameters.clone_from(&state.parameters);
            model.save(&files.model(), &record)?;
        }
        write_atomically(&files.metrics(), metrics_csv(&progress.history).as_bytes())?;
        save_state(&files, &model, &record, &train_config, &progress, &state)?;
        last_checkpoint = Instant::now();
    }
    Ok(Summary {
        model: files.model(),
        best_epoch: progress.best_epoch,
        stopped_early: progress.stopped_early(&train_config),
        history: progress.history,
    })
}
