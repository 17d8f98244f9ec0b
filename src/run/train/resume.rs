//! The files of a run directory: what a killed run goes on from, and why it ends in the same bits.
//!
//! The state holds all that a step depends on besides the data: parameters, both moments and the number of steps, bit for
//! bit (JSON numbers come back as they were written: `float_roundtrip` in Cargo.toml). The order of the images is a function
//! of seed and epoch (`Shuffles` in `data.rs`), so the place in the epoch is enough to find the next batch. How many steps a
//! call of a trainer makes, and on how many threads, changes nothing ([`Trainer`](crate::family::Trainer) promises it; the order
//! of sums keeps it, see the headers of the families' trainers). The model is written before the state: a kill between
//! the two repeats an epoch, it never skips one. [`resume`] refuses another configuration, other data, other settings.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{EpochMetrics, TrainError};
use crate::checkpoint::tensors::{Named, Tensors, write_atomically, write_tensors};
use crate::checkpoint::{CheckpointError, Header, Record};
use crate::families;
use crate::family::{Model, TrainConfig, TrainingState};
use crate::prior::Prior;
use crate::run::checkpoint::{header, named};
use crate::run::lock::Lock;

/// Where a run stands, between two steps.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    pub epoch: usize,
    pub steps_in_epoch: usize,
    pub nll_sum: f64,
    pub best_epoch: usize,
    pub best_nll: Option<f64>,
    pub history: Vec<EpochMetrics>,
    pub data_checksum: u32,
    /// Nats per image before the first step, of the images that are [judged](super::run). States of older versions have none.
    #[serde(default)]
    pub start_nll: Option<f64>,
    /// The step size under which the epoch that comes next diverged. The same steps would end there again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diverged: Option<f32>,
}

impl Progress {
    /// Whether patience has run out.
    pub fn stopped_early(&self, train: &TrainConfig) -> bool {
        let patience = train.patience();
        patience > 0 && self.epoch >= self.best_epoch + patience
    }

    /// Whether another epoch is due.
    pub fn goes_on(&self, train: &TrainConfig) -> bool {
        self.epoch < train.epochs && !self.stopped_early(train)
    }
}

/// Files of a run directory.
pub(super) struct RunFiles {
    pub directory: PathBuf,
}

impl RunFiles {
    pub fn model(&self) -> PathBuf {
        self.directory.join("model.safetensors")
    }
    pub fn state(&self) -> PathBuf {
        self.directory.join("state.safetensors")
    }
    /// Whether there is something to go on from.
    pub fn has_state(&self) -> bool {
        self.state().exists()
    }
    pub fn metrics(&self) -> PathBuf {
        self.directory.join("metrics.csv")
    }
    pub fn config(&self) -> PathBuf {
        self.directory.join("config.toml")
    }
    fn lock(&self) -> PathBuf {
        self.directory.join("lock")
    }
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> CheckpointError {
    let path = path.to_path_buf();
    move |source| CheckpointError::Io {
        action,
        path,
        source,
    }
}

/// Keeps other processes from training in a run directory, which it makes if need be.
pub(super) fn keep_others_out(files: &RunFiles) -> Result<Lock, TrainError> {
    std::fs::create_dir_all(&files.directory).map_err(io("create", &files.directory))?;
    let path = files.lock();
    Lock::take(path.clone())
        .map_err(io("create", &path))?
        .ok_or_else(|| TrainError::Busy(files.directory.clone()))
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

pub(super) fn metrics_csv(history: &[EpochMetrics]) -> String {
    let terms = history.first().map_or(&[][..], |m| &m.terms);
    let names: String = (terms.iter())
        .map(|(name, _)| format!(",validation_{name}"))
        .collect();
    let mut text = format!(
        "epoch,learning_rate,train_nll,validation_nll,best,seconds,images_per_second{names}\n"
    );
    for m in history {
        let validation = m.validation_nll.map_or(String::new(), |v| v.to_string());
        let terms: String = m.terms.iter().map(|(_, v)| format!(",{v}")).collect();
        text += &format!(
            "{},{},{},{validation},{},{:.3},{:.1}{terms}\n",
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

/// Refuse a run directory that [`train`](super::train()) would refuse, before the images are read.
///
/// # Errors
/// A run is there and neither `resume` nor `force` says what to do with it, or one that has lost its state.
pub fn check_directory(out: &Path, resume: bool, force: bool) -> Result<(), TrainError> {
    let files = RunFiles {
        directory: out.to_path_buf(),
    };
    if out.exists() && !out.is_dir() {
        return Err(TrainError::NoDirectory(out.into()));
    }
    let (model, state) = (files.model().exists(), files.has_state());
    match (resume, force) {
        // The state is the first to be written: who has a model without one has thrown it away.
        (true, _) if model && !state => Err(TrainError::NoState(out.into())),
        (false, false) if model || state => Err(TrainError::Exists(out.into())),
        _ => Ok(()),
    }
}

pub(super) fn prepare_directory(files: &RunFiles, config: &str) -> Result<(), TrainError> {
    // The state first: without it nobody resumes a run that has lost its model.
    for stale in [files.state(), files.model(), files.metrics()] {
        if stale.exists() {
            std::fs::remove_file(&stale).map_err(io("remove", &stale))?;
        }
    }
    write_atomically(&files.config(), config.as_bytes())?;
    Ok(())
}

/// What the names of a state's three groups of tensors start with.
const GROUPS: [&str; 3] = ["parameter.", "first_moment.", "second_moment."];

pub(super) fn save_state(
    files: &RunFiles,
    model: &dyn Model,
    prior: Option<&Prior>,
    record: &Record,
    train: &TrainConfig,
    progress: &Progress,
    state: &TrainingState,
) -> Result<(), CheckpointError> {
    let lists = [
        &state.parameters,
        &state.first_moments,
        &state.second_moments,
    ];
    let mut tensors: Vec<Named> = (GROUPS.iter().zip(lists))
        .flat_map(|(group, list)| named(model, group, list))
        .collect();
    let json = |v: Result<String, serde_json::Error>| v.unwrap_or_default();
    let mut metadata = header(model, record).metadata();
    metadata.insert("train".into(), json(serde_json::to_string(train)));
    metadata.insert("progress".into(), json(serde_json::to_string(progress)));
    metadata.insert("steps".into(), state.steps.to_string());
    if let Some(prior) = prior {
        tensors.extend(prior.tensors());
        prior.describe(&mut metadata);
    }
    write_tensors(&files.state(), &tensors, metadata)
}

/// A run as its state file holds it.
pub(super) struct Resumed {
    pub progress: Progress,
    pub state: TrainingState,
    pub record: Record,
    /// `None` where no version of the program has learnt it yet.
    pub prior: Option<Prior>,
}

/// What a resumed run may not change of its [train] table, and did: "batch was 32, not 128".
fn differences(stored: &TrainConfig, asked: &TrainConfig) -> Vec<String> {
    let table = |t: &TrainConfig| match serde_json::to_value(t) {
        Ok(serde_json::Value::Object(table)) => table,
        _ => serde_json::Map::new(),
    };
    let (stored, asked) = (table(stored), table(asked));
    // A key that may be absent is so in one of them alone where it was added or left out.
    let keys: BTreeSet<&String> = stored.keys().chain(asked.keys()).collect();
    let value = |table: &serde_json::Map<_, _>, key: &str| match table.get(key) {
        Some(value) => value.to_string(),
        None => "none".into(),
    };
    (keys.into_iter())
        .filter(|key| !["epochs", "patience"].contains(&key.as_str()))
        .map(|key| (key, value(&stored, key), value(&asked, key)))
        .filter(|(_, was, is)| was != is)
        .map(|(key, was, is)| format!("{key} was {was}, not {is}"))
        .collect()
}

/// Settings of two configurations in JSON that differ, the first few, was and is.
fn changed_settings(stored: &str, asked: &str) -> String {
    /// Settings that are named.
    const MOST: usize = 3;

    fn flatten(at: String, value: serde_json::Value, all: &mut BTreeMap<String, String>) {
        let under = |key: &str| match at.is_empty() {
            true => key.to_string(),
            false => format!("{at}.{key}"),
        };
        match value {
            serde_json::Value::Object(table) => {
                let fields = table.into_iter();
                fields.for_each(|(key, value)| flatten(under(&key), value, all));
            }
            serde_json::Value::Array(list) if list.iter().any(serde_json::Value::is_object) => {
                let entries = list.into_iter().enumerate();
                entries.for_each(|(i, value)| flatten(under(&i.to_string()), value, all));
            }
            value => {
                all.insert(at, value.to_string());
            }
        }
    }

    let settings = |json: &str| {
        let mut all = BTreeMap::new();
        flatten(
            String::new(),
            serde_json::from_str(json).unwrap_or_default(),
            &mut all,
        );
        all
    };
    let (stored, asked) = (settings(stored), settings(asked));
    let keys: BTreeSet<&String> = stored.keys().chain(asked.keys()).collect();
    let value = |of: &BTreeMap<String, String>, key: &str| -> String {
        of.get(key).map_or("none", String::as_str).to_string()
    };
    let mut changed: Vec<String> = (keys.into_iter())
        .map(|key| (key, value(&stored, key), value(&asked, key)))
        .filter(|(_, was, is)| was != is)
        .map(|(key, was, is)| format!("{key} was {was}, not {is}"))
        .collect();
    if changed.len() > MOST {
        let more = changed.len() - MOST;
        changed.truncate(MOST);
        changed.push(format!("and {more} more"));
    }
    changed.join(", ")
}

/// Read the state of a run; it must be of this model, this data and this way to train on `images` images.
pub(super) fn resume(
    files: &RunFiles,
    model: &dyn Model,
    train: &TrainConfig,
    images: usize,
    checksum: u32,
) -> Result<Resumed, TrainError> {
    let file = Tensors::read(&files.state())?;
    let header = Header::read(&file)?;
    let parse = |what: &str, e: serde_json::Error| file.damaged(format!("its {what}: {e}"));
    let stored_train: TrainConfig =
        serde_json::from_str(file.metadata("train")?).map_err(|e| parse("training", e))?;
    let progress: Progress =
        serde_json::from_str(file.metadata("progress")?).map_err(|e| parse("progress", e))?;
    let directory = files.directory.clone();
    // What the model's configuration follows from comes before it: split, images, conditions.
    let changed = differences(&stored_train, train);
    if !changed.is_empty() {
        return Err(TrainError::OtherTraining {
            directory,
            changed: changed.join(", "),
        });
    }
    // Before the tensors, which may hold anything.
    if let Some(rate) = progress.diverged {
        return Err(TrainError::HasDiverged {
            directory,
            epoch: progress.epoch + 1,
            rate,
            best_epoch: progress.best_epoch,
        });
    }
    let stored = families::model(&header, &file)?;
    let same_conditions = stored.conditions().names == model.conditions().names;
    if same_conditions && progress.data_checksum != checksum {
        return Err(TrainError::OtherData(directory));
    }
    if (stored.family(), stored.config_json()) != (model.family(), model.config_json()) {
        let changed = match stored.family() == model.family() {
            true => changed_settings(&stored.config_json(), &model.config_json()),
            false => format!("family was {}, not {}", stored.family(), model.family()),
        };
        return Err(TrainError::OtherModel { directory, changed });
    }
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
    let [parameters, first_moments, second_moments] = GROUPS.map(|group| model.read(&file, group));
    let state = TrainingState {
        parameters: parameters?,
        first_moments: first_moments?,
        second_moments: second_moments?,
        steps,
    };
    let names = &model.conditions().names;
    let mut prior = Prior::read(&file, names)?;
    if prior.is_none() && !names.is_empty() {
        // Older states do not hold it: their model does. If it cannot be read, it is learnt again.
        let model = Tensors::read(&files.model());
        prior = model
            .and_then(|file| Prior::read(&file, names))
            .ok()
            .flatten();
    }
    Ok(Resumed {
        progress,
        state,
        record: header.record,
        prior,
    })
}
