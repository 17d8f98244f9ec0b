//! The training loop: split, epochs, schedule, validation, checkpoints, resume.
//!
//! A run directory holds `config.toml` (what was asked for), `model.safetensors` (the best model so
//! far), `state.safetensors` (everything needed to go on) and `metrics.csv` (one line an epoch). Each
//! is written to a temporary name and renamed, the model before the state: a run killed at any moment
//! goes on from its last state and ends in the same bits as one that was not.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::data::Dataset;
use crate::engine::{ConditionedImages, Conditions, Engine, EngineError, TrainingState};
use crate::model::checkpoint::{Named, Tensors, write_atomically, write_tensors};
use crate::model::config::{ImageSize, LikelihoodConfig};
use crate::model::{CheckpointError, Config, ConfigError, Model, Record, Statistics, TrainConfig};
use crate::random::{self, Purpose};

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
    fn start(&mut self, _model: &Model, _images: [usize; 2], _epoch: usize) {}
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

/// Where a run stands, between two steps.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Progress {
    epoch: usize,
    steps_in_epoch: usize,
    nll_sum: f64,
    best_epoch: usize,
    best_nll: Option<f64>,
    history: Vec<EpochMetrics>,
    data_checksum: u32,
}

impl Progress {
    fn stopped_early(&self, train: &TrainConfig) -> bool {
        train.patience > 0 && self.epoch >= self.best_epoch + train.patience
    }
}

/// Files of a run directory.
struct RunFiles {
    directory: PathBuf,
}

impl RunFiles {
    fn model(&self) -> PathBuf {
        self.directory.join("model.safetensors")
    }
    fn state(&self) -> PathBuf {
        self.directory.join("state.safetensors")
    }
    fn metrics(&self) -> PathBuf {
        self.directory.join("metrics.csv")
    }
    fn config(&self) -> PathBuf {
        self.directory.join("config.toml")
    }
}

/// Read `metrics.csv` beside a model, oldest epoch first: (epoch, train NLL, validation NLL).
pub fn read_metrics(model: &Path) -> Vec<(usize, f64, Option<f64>)> {
    let text = std::fs::read_to_string(model.with_file_name("metrics.csv")).unwrap_or_default();
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split(',');
            let epoch = fields.next()?.parse().ok()?;
            let train = fields.nth(1)?.parse().ok()?;
            Some((epoch, train, fields.next()?.parse().ok()))
        })
        .collect()
}

fn metrics_csv(history: &[EpochMetrics]) -> String {
    let mut text = String::from(
        "epoch,learning_rate,train_nll,validation_nll,best,seconds,images_per_second\n",
    );
    for m in history {
        let validation = m.validation_nll.map_or(String::new(), |v| v.to_string());
        text += &format!(
            "{},{},{},{validation},{},{:.3},{:.1}\n",
            m.epoch,
            m.learning_rate,
            m.train_nll,
            u8::from(m.best),
            m.seconds,
            m.images_per_second
        );
    }
    text
}

/// Rows to train on and rows held out: a random choice that depends on seed and count alone.
fn split(config: &TrainConfig, images: usize) -> Result<[Vec<u32>; 2], TrainError> {
    let held = (config.validation * images as f64).round() as usize;
    let mut rows = random::permutation(config.seed, Purpose::Split, 0, images);
    if held == 0 && config.validation > 0.0 {
        return refuse(format!(
            "{images} images leave none to validate on (validation = {}); select more or set it to 0",
            config.validation
        ));
    }
    let mut train = rows.split_off(held);
    if train.is_empty() {
        return refuse(format!(
            "{images} images leave none to train on; select more"
        ));
    }
    train.sort_unstable();
    rows.sort_unstable();
    Ok([train, rows])
}

fn checksum(images: &ConditionedImages) -> u32 {
    let (indptr, index, value) = images.images.csr();
    let mut hasher = crc32fast::Hasher::new();
    indptr.iter().for_each(|v| hasher.update(&v.to_le_bytes()));
    index.iter().for_each(|v| hasher.update(&v.to_le_bytes()));
    value.iter().for_each(|v| hasher.update(&v.to_le_bytes()));
    for row in 0..images.conditions.rows() as u64 {
        for v in images.conditions.row(row) {
            hasher.update(&v.to_le_bytes());
        }
    }
    hasher.finalize()
}

/// Fill in what the data say: sizes, the grid's end, the conditions' mean and scale.
fn complete(
    config: &Config,
    dataset: &Dataset,
    statistics: &Statistics,
    train: &[u32],
) -> Result<Model, TrainError> {
    let size = ImageSize {
        height: dataset.images.height(),
        width: dataset.images.width(),
    };
    let mut model = config.resolve(size)?;
    model.check()?;
    if let LikelihoodConfig::Dd { maximum, .. } = &mut model.likelihood {
        maximum.get_or_insert(f64::from(statistics.largest()).max(1e-3));
    }
    let conditions = &mut model.condition;
    let measured = conditions.mean.is_empty();
    for name in &conditions.names {
        let column = column(dataset, name)?;
        if measured {
            let n = train.len() as f64;
            let mean = train
                .iter()
                .map(|r| f64::from(column[*r as usize]))
                .sum::<f64>()
                / n;
            let square: f64 = train
                .iter()
                .map(|r| (f64::from(column[*r as usize]) - mean).powi(2))
                .sum();
            conditions.mean.push(mean);
            // A condition that never varies tells nothing; any scale will do.
            let scale = (square / n).sqrt();
            conditions.scale.push(if scale > 0.0 { scale } else { 1.0 });
        }
    }
    model.check()?;
    model.check_complete()?;
    let model = Model::new(model)?;
    let key = match model.config.likelihood {
        LikelihoodConfig::Dc { .. } => "likelihood.upper",
        LikelihoodConfig::Dd { .. } => "likelihood.maximum",
    };
    check_range(&model, dataset, &format!("raise {key} or leave it out"))?;
    Ok(model)
}

/// Refuse images with pixels that `model` gives no probability to, saying how many; `remedy` ends the message.
pub fn check_range(model: &Model, dataset: &Dataset, remedy: &str) -> Result<(), TrainError> {
    let Some(found) = model.values().beyond(&dataset.images) else {
        return Ok(());
    };
    let what = match model.config.likelihood {
        LikelihoodConfig::Dc { .. } => "likelihood.upper",
        LikelihoodConfig::Dd { .. } => "the grid's end",
    };
    let width = dataset.images.width();
    let row = dataset.rows.get(found.image).copied();
    refuse(format!(
        "{} {} beyond {what} at {:.4} GeV (the largest holds {} GeV: image {}, row {}, column {}); {remedy}",
        found.count,
        if found.count == 1 {
            "pixel lies"
        } else {
            "pixels lie"
        },
        found.end,
        found.largest,
        row.unwrap_or(found.image as u64),
        found.pixel / width,
        found.pixel % width,
    ))
}

fn column<'a>(dataset: &'a Dataset, name: &str) -> Result<&'a [f32], TrainError> {
    match dataset.columns.get(name) {
        Some(column) => Ok(column),
        None => refuse(format!(
            "the data have no per-row data set '{name}' to condition on; they have: {}",
            dataset
                .columns
                .keys()
                .cloned()
                .collect::<Vec<_>>()
                .join(", ")
        )),
    }
}

/// Standardised conditions of every row of `dataset`, as `model` wants them.
pub fn conditions(model: &Model, dataset: &Dataset) -> Result<Conditions, TrainError> {
    let c = &model.config.condition;
    let width = c.names.len();
    let mut values = vec![0.0; width * dataset.images.len()];
    for (i, name) in c.names.iter().enumerate() {
        for (row, v) in column(dataset, name)?.iter().enumerate() {
            if !v.is_finite() {
                return refuse(format!(
                    "data set '{name}', row {row} holds {v}; a condition must be finite"
                ));
            }
            values[row * width + i] = model.standardise(i, *v);
        }
    }
    Ok(Conditions::new(width, values))
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
    if plan.resume {
        let resumed = resume(&files, &model, &train_config, rows.len(), checksum)?;
        (progress, record) = (resumed.progress, resumed.record);
        state = Some(resumed.state);
    } else {
        model.initialise(train_config.seed, &statistics);
        // Nothing is overwritten before all that can be refused has been looked at.
        prepare_directory(&files, &asked)?;
    }
    drop(statistics);
    let mut trainer = engine.trainer(&model, Arc::clone(&data))?;
    if let Some(state) = &state {
        trainer.restore(state)?;
    }
    observer.start(&model, [rows.len(), held.len()], progress.epoch);
    let mut last_checkpoint = Instant::now();
    while progress.epoch < train_config.epochs && !progress.stopped_early(&train_config) {
        let epoch = progress.epoch;
        let started = Instant::now();
        let rate = train_config.learning_rate_at(epoch);
        let order: Vec<u32> = random::permutation(
            train_config.seed,
            Purpose::Shuffle,
            epoch as u32,
            rows.len(),
        )
        .into_iter()
        .map(|i| rows[i as usize])
        .collect();
        let done_before = progress.steps_in_epoch;
        for batch in order.chunks(train_config.batch).skip(done_before) {
            let nll = trainer.step(batch, rate)?;
            if !nll.is_finite() {
                return refuse(format!(
                    "the likelihood left the range of numbers in epoch {}, step {}; start again with a lower learning_rate (it was {rate})",
                    epoch + 1,
                    progress.steps_in_epoch + 1
                ));
            }
            progress.steps_in_epoch += 1;
            progress.nll_sum += nll * batch.len() as f64;
            let seen = (progress.steps_in_epoch * train_config.batch).min(rows.len());
            observer.step(epoch, seen, progress.nll_sum / seen as f64);
            if last_checkpoint.elapsed() >= plan.checkpoint_every {
                save_state(
                    &files,
                    &model,
                    &record,
                    &train_config,
                    &progress,
                    &trainer.state(),
                )?;
                last_checkpoint = Instant::now();
            }
        }
        let validation_nll = if held.is_empty() {
            None
        } else {
            Some(trainer.nll(&held)?.iter().sum::<f64>() / held.len() as f64)
        };
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
        let state = trainer.state();
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

/// Refuse a run directory that [`train`] would refuse, before the images are read.
///
/// # Errors
/// A run is there and neither `resume` nor `force` says what to do with it, or none is there to resume.
pub fn check_directory(out: &Path, resume: bool, force: bool) -> Result<(), TrainError> {
    let files = RunFiles {
        directory: out.to_path_buf(),
    };
    let directory = out.display();
    if out.exists() && !out.is_dir() {
        return refuse(format!(
            "'{directory}' is a file; a run directory is needed"
        ));
    }
    let there = files.model().exists() || files.state().exists();
    if resume {
        if !files.state().exists() {
            return refuse(format!(
                "nothing to resume in '{directory}' (no state.safetensors); leave --resume out to start"
            ));
        }
        return Ok(());
    }
    if there && !force {
        return refuse(format!(
            "'{directory}' already holds a run; use --resume to go on with it, --force to overwrite it"
        ));
    }
    Ok(())
}

fn prepare_directory(files: &RunFiles, config: &str) -> Result<(), TrainError> {
    let io = |action, path: &Path| {
        let path = path.to_path_buf();
        move |source| CheckpointError::Io {
            action,
            path,
            source,
        }
    };
    std::fs::create_dir_all(&files.directory).map_err(io("create", &files.directory))?;
    // The state first: without it nobody resumes a run that has lost its model.
    for stale in [files.state(), files.model(), files.metrics()] {
        if stale.exists() {
            std::fs::remove_file(&stale).map_err(io("remove", &stale))?;
        }
    }
    write_atomically(&files.config(), config.as_bytes())?;
    Ok(())
}

fn save_state(
    files: &RunFiles,
    model: &Model,
    record: &Record,
    train: &TrainConfig,
    progress: &Progress,
    state: &TrainingState,
) -> Result<(), CheckpointError> {
    let groups = [
        ("parameter", &state.parameters),
        ("first_moment", &state.first_moments),
        ("second_moment", &state.second_moments),
    ];
    let tensors: Vec<Named> = groups
        .iter()
        .flat_map(|(group, list)| {
            model
                .tensors
                .iter()
                .zip(*list)
                .map(move |(spec, values)| Named {
                    name: format!("{group}.{}", spec.name),
                    shape: spec.shape.clone(),
                    values,
                })
        })
        .collect();
    let json = |v: Result<String, serde_json::Error>| v.unwrap_or_default();
    let mut metadata = model.metadata(record);
    metadata.insert("train".into(), json(serde_json::to_string(train)));
    metadata.insert("progress".into(), json(serde_json::to_string(progress)));
    metadata.insert("steps".into(), state.steps.to_string());
    write_tensors(&files.state(), &tensors, metadata)
}

/// A run as its state file holds it.
struct Resumed {
    progress: Progress,
    state: TrainingState,
    record: Record,
}

/// Read the state of a run; it must be of this model, this data and this way to train on `images` images.
fn resume(
    files: &RunFiles,
    model: &Model,
    train: &TrainConfig,
    images: usize,
    checksum: u32,
) -> Result<Resumed, TrainError> {
    let file = Tensors::read(&files.state())?;
    let (stored, record) = Model::from_metadata(&file)?;
    let parse = |what: &str, e: serde_json::Error| file.damaged(format!("its {what}: {e}"));
    let stored_train: TrainConfig =
        serde_json::from_str(file.metadata("train")?).map_err(|e| parse("training", e))?;
    let progress: Progress =
        serde_json::from_str(file.metadata("progress")?).map_err(|e| parse("progress", e))?;
    let directory = files.directory.display();
    if stored.config != model.config {
        return refuse(format!(
            "'{directory}' was trained with another model configuration; give the one in its config.toml, or --force to start over"
        ));
    }
    let comparable = |t: &TrainConfig| TrainConfig {
        epochs: 0,
        patience: 0,
        ..t.clone()
    };
    if comparable(&stored_train) != comparable(train) {
        return refuse(format!(
            "'{directory}' was trained with another [train] table; only `epochs` and `patience` may change on --resume"
        ));
    }
    if progress.data_checksum != checksum {
        return refuse(format!(
            "'{directory}' was trained on other images; give the same --data and --select, or --force to start over"
        ));
    }
    let all = |group: &str| {
        model
            .tensors
            .iter()
            .map(|spec| file.tensor(&format!("{group}.{}", spec.name), &spec.shape))
            .collect::<Result<Vec<_>, _>>()
    };
    let steps: u64 = file
        .metadata("steps")?
        .parse()
        .map_err(|_| file.damaged("its number of steps is not a number"))?;
    let in_epoch = images.div_ceil(train.batch);
    let made = progress.history.len() as u64 * in_epoch as u64;
    if progress.history.len() != progress.epoch
        || progress.best_epoch > progress.epoch
        || progress.steps_in_epoch > in_epoch
        || steps != made + progress.steps_in_epoch as u64
    {
        return Err(file.damaged("its progress does not add up").into());
    }
    let state = TrainingState {
        parameters: all("parameter")?,
        first_moments: all("first_moment")?,
        second_moments: all("second_moment")?,
        steps,
    };
    Ok(Resumed {
        progress,
        state,
        record,
    })
}
