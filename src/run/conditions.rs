//! The conditions of a run: given by name, taken from the rows of a file, or drawn from what the model learnt.

mod drawn;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::checkpoint::Checkpoint;
use super::dataset::{known, unlike};
use crate::checkpoint::Record;
use crate::conditions::{ConditionConfig, Conditions};
use crate::data::{self, DataError, FileOptions, ReadOptions, Selection};
use crate::family::{DrawConditions, EngineError, Model, SamplingPlan};
use crate::prior::Prior;
use crate::prior::draw::ConditionError;
use drawn::{DrawnConditions, standardised};

/// Why a run cannot have the conditions that were asked for.
#[derive(Debug, thiserror::Error)]
pub enum GivenError {
    /// A shipped model that stands for another value.
    #[error(
        "{model} stands for {name} = {value} (--given says {given}); choose another model or leave it out"
    )]
    Own {
        /// The model.
        model: String,
        /// The condition.
        name: String,
        /// What the model's name stands for.
        value: f32,
        /// What was given.
        given: f32,
    },
    /// A name given more than once.
    #[error("--given names '{0}' twice; give it one value")]
    Twice(String),
    /// A name that the model is not conditioned on.
    #[error("the model has no condition '{name}' ({has}); leave it out of --given")]
    Unknown {
        /// The name.
        name: String,
        /// What the model has.
        has: String,
    },
    /// A value given that has not the logarithm that the model is shown.
    #[error(
        "--given {name}={value} has no logarithm (the model is shown that of {name}); give a positive value"
    )]
    NotPositive {
        /// The condition.
        name: String,
        /// Its value.
        value: f32,
    },
    /// The same in a row of a file.
    #[error(
        "'{}', data set '{name}', row {row} holds {value} (the model is shown its logarithm, so it must be positive); deselect it; rows count from 0", path.display()
    )]
    RowNotPositive {
        /// The file.
        path: PathBuf,
        /// The data set.
        name: String,
        /// Row in the file.
        row: u64,
        /// What it holds.
        value: f32,
    },
    /// A total given for images that have one.
    #[error("'{0}' is the sum of each image's pixels; leave it out of --given")]
    Total(String),
    /// Rows for a model without conditions.
    #[error("the model has no conditions (--given-from makes no sense); leave it out")]
    NoConditions,
    /// Conditions left out of a model that cannot draw them.
    #[error(
        "the model is conditioned on {names} and does not know how these are distributed; give every one (--given {missing}=VALUE,..) or --given-from FILE"
    )]
    NotLearnt {
        /// All conditions.
        names: String,
        /// The first that is missing.
        missing: String,
    },
    /// A value in a file that is no number.
    #[error(
        "'{}', data set '{name}', row {row} holds {value} (a condition must be finite); deselect it", path.display()
    )]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The data set.
        name: String,
        /// Row among those selected.
        row: usize,
        /// What it holds.
        value: f32,
    },
    /// Conditions that cannot be drawn.
    #[error("cannot draw {names}: {source}")]
    Draw {
        /// Which.
        names: String,
        /// Why.
        source: ConditionError,
    },
    /// The file of rows.
    #[error(transparent)]
    Data(#[from] DataError),
}

/// A condition and its value for all images of a run; parsed from `NAME=VALUE`.
#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    /// Name of the condition.
    pub name: String,
    /// Its value, finite.
    pub value: f32,
}

impl std::str::FromStr for Given {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| format!("'{text}' is not NAME=VALUE"))?;
        match value.trim().parse::<f32>() {
            Ok(value) if value.is_finite() => Ok(Self {
                name: name.trim().into(),
                value,
            }),
            _ => Err(format!("'{value}' is not a finite number")),
        }
    }
}

impl Given {
    /// Refuse names that stand for no condition, or that stand twice.
    fn check(list: &[Self], conditions: &ConditionConfig) -> Result<(), GivenError> {
        let names = &conditions.names;
        for (i, g) in list.iter().enumerate() {
            if list[..i].iter().any(|other| other.name == g.name) {
                return Err(GivenError::Twice(g.name.clone()));
            }
            let Some(place) = names.iter().position(|name| *name == g.name) else {
                return Err(GivenError::Unknown {
                    name: g.name.clone(),
                    has: match names.is_empty() {
                        true => "it has none".into(),
                        false => format!("it has {}", names.join(", ")),
                    },
                });
            };
            if conditions.without_log(place, &[g.value]).is_some() {
                return Err(GivenError::NotPositive {
                    name: g.name.clone(),
                    value: g.value,
                });
            }
        }
        Ok(())
    }

    /// The conditions that `list` leaves out.
    fn left_out(list: &[Self], conditions: &ConditionConfig) -> Result<Vec<String>, GivenError> {
        Self::check(list, conditions)?;
        let names = conditions.names.iter();
        let left = names.filter(|n| !list.iter().any(|g| g.name == **n));
        Ok(left.cloned().collect())
    }

    /// Columns that images to be scored need of a file; their total is computed from them and cannot be given.
    pub(super) fn scored(
        list: &[Self],
        conditions: &ConditionConfig,
    ) -> Result<Vec<String>, GivenError> {
        let total = conditions.total.as_ref();
        if let Some(g) = list.iter().find(|g| Some(&g.name) == total) {
            return Err(GivenError::Total(g.name.clone()));
        }
        let left = Self::left_out(list, conditions)?.into_iter();
        Ok(left.filter(|name| Some(name) != total).collect())
    }

    /// Put the values of `list` in the place of the columns of `rows` rows.
    pub(super) fn put(list: &[Self], columns: &mut BTreeMap<String, Vec<f32>>, rows: usize) {
        columns.extend(list.iter().map(|g| (g.name.clone(), vec![g.value; rows])));
    }
}

/// Where the conditions of a run come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// These are given; the others are drawn, given these.
    Given(Vec<Given>),
    /// The selected rows of a data file: image i has row i, round and round.
    Rows {
        /// The file.
        path: PathBuf,
        /// Which of its rows.
        select: Vec<Selection>,
        /// What the file does not say of itself.
        file: FileOptions,
    },
    /// The rows of a file of codes: image i has row i, round and round. These are given, in the place of its columns. Where it lacks one that
    /// is not, what is left out is drawn.
    Encoded {
        /// The file.
        path: PathBuf,
        /// What is given.
        given: Vec<Given>,
    },
}

/// The conditions of a run's images, as they are in files and as the network is shown them.
#[derive(Debug)]
pub struct RunConditions {
    names: Vec<String>,
    values: Values,
}

#[derive(Debug)]
enum Values {
    /// Columns, one a name; image i has row i, round and round: one row for all images where all are given.
    Table(Vec<Vec<f32>>),
    /// Drawn as images are.
    Drawn(Arc<DrawnConditions>),
}

impl RunConditions {
    /// Of `source`, for `images` of the model in `checkpoint`; what is not given is drawn under `seed`, on `threads` threads
    /// (0: one per core).
    ///
    /// # Errors
    /// See [`GivenError`].
    pub fn new(
        checkpoint: &Checkpoint,
        source: &Source,
        seed: u64,
        images: Range<u64>,
        threads: usize,
    ) -> Result<Self, GivenError> {
        let model = checkpoint.model.as_ref();
        let conditions = model.conditions();
        let names = conditions.names.clone();
        let values = match source {
            Source::Rows { .. } if names.is_empty() => return Err(GivenError::NoConditions),
            Source::Rows { path, select, file } => {
                Values::Table(of_file(path, select, file, conditions, &checkpoint.record)?)
            }
            Source::Encoded { path, given } => match of_codes(path, given, conditions)? {
                Some(columns) => Values::Table(columns),
                None => given_or_drawn(checkpoint, given, seed, images, threads)?,
            },
            Source::Given(given) => given_or_drawn(checkpoint, given, seed, images, threads)?,
        };
        Ok(Self { names, values })
    }

    /// Names of the conditions.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Where the conditions come from, where that is not plain from what was asked for.
    pub fn origin(&self) -> Option<String> {
        let Values::Drawn(drawn) = &self.values else {
            return None;
        };
        let names = drawn.names.join(", ");
        Some(format!("{names} drawn from what the model learnt"))
    }

    /// SHA-256 of what the conditions of an image follow from, besides the model and its number, for images up to number
    /// `end`; zeros without any.
    pub fn hash(&self, model: &dyn Model, end: u64) -> [u8; 32] {
        match &self.values {
            Values::Drawn(drawn) => drawn.hash(end),
            Values::Table(columns) if rows(columns) == 0 => [0; 32],
            Values::Table(columns) => {
                let mut hash = Sha256::new();
                for v in standardised(model.conditions(), columns, rows(columns)) {
                    hash.update(v.to_le_bytes());
                }
                hash.finalize().into()
            }
        }
    }

    /// Conditions beyond all that the model was trained on, a sentence each.
    pub fn beyond(&self, prior: Option<&Prior>) -> Vec<String> {
        let Some(prior) = prior else {
            return Vec::new();
        };
        // What is drawn is never beyond it.
        let column = |name: &str| -> Option<&[f32]> {
            match &self.values {
                Values::Table(columns) => {
                    let place = self.names.iter().position(|n| n == name)?;
                    Some(&columns[place])
                }
                Values::Drawn(drawn) => drawn.given.get(name).map(std::slice::from_ref),
            }
        };
        let mut remarks = Vec::new();
        for (i, name) in prior.labels.names.iter().enumerate() {
            // A label: the model knows nothing of what lies between two of its values.
            let seen: Vec<f32> = prior.labels.values_of(i).iter().map(|(v, _)| *v).collect();
            if let Some(v) = column(name).and_then(|c| c.iter().find(|v| !seen.contains(v))) {
                remarks.push(format!(
                    "no image that the model was trained on had {name} = {v}: there were {seen:?}"
                ));
            }
        }
        for range in prior.densities.iter().map(|d| &d.range) {
            if let Some(v) = column(&range.name).and_then(|c| c.iter().find(|v| !range.near(**v))) {
                remarks.push(format!(
                    "{} = {v} lies outside the {} to {} that the model was trained on",
                    range.name,
                    range.ends()[0],
                    range.ends()[1]
                ));
            }
        }
        remarks
    }

    /// How many rows there are; 0 where they are drawn.
    pub fn rows(&self) -> usize {
        match &self.values {
            Values::Table(columns) => rows(columns),
            Values::Drawn(_) => 0,
        }
    }

    /// `plan` with what `model`'s network is told of each image.
    pub fn tell(&self, model: &dyn Model, plan: SamplingPlan) -> SamplingPlan {
        match &self.values {
            Values::Drawn(drawn) => SamplingPlan {
                drawn: Some(Arc::clone(drawn) as Arc<dyn DrawConditions>),
                ..plan
            },
            Values::Table(columns) => {
                let config = model.conditions();
                let values = standardised(config, columns, rows(columns));
                let total = config.total_over(model.image().pixels());
                SamplingPlan {
                    conditions: Conditions::new(columns.len(), values).with_total(total),
                    ..plan
                }
            }
        }
    }

    /// What images `first ..` were conditioned on, by the name it is written under: a quantity that is
    /// also computed from the image keeps that name for the computed one.
    ///
    /// # Errors
    /// An engine that fails, where they are drawn.
    pub fn written(
        &self,
        first: u64,
        count: usize,
        computed: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, Vec<f32>>, EngineError> {
        let columns = match &self.values {
            Values::Drawn(drawn) => drawn.columns(first, count)?,
            Values::Table(columns) => {
                let of_image = |column: &Vec<f32>, i| column[(i % column.len() as u64) as usize];
                let images = first..first + count as u64;
                (columns.iter())
                    .map(|column| images.clone().map(|i| of_image(column, i)).collect())
                    .collect()
            }
        };
        let name = |name: &String| match computed.contains(name) {
            true => format!("given_{name}"),
            false => name.clone(),
        };
        Ok(self.names.iter().map(name).zip(columns).collect())
    }
}

/// These are given, what is left out is drawn.
fn given_or_drawn(
    checkpoint: &Checkpoint,
    given: &[Given],
    seed: u64,
    images: Range<u64>,
    threads: usize,
) -> Result<Values, GivenError> {
    let model = checkpoint.model.as_ref();
    let names = &model.conditions().names;
    let left_out = Given::left_out(given, model.conditions())?;
    let given: BTreeMap<String, f32> = given.iter().map(|g| (g.name.clone(), g.value)).collect();
    match (left_out.first(), &checkpoint.prior) {
        (None, _) => Ok(Values::Table(
            names.iter().map(|n| vec![given[n]]).collect(),
        )),
        (Some(missing), None) => Err(GivenError::NotLearnt {
            names: names.join(", "),
            missing: missing.clone(),
        }),
        (Some(_), Some(prior)) => {
            let drawn = DrawnConditions::new(model, prior, given, seed, images, threads);
            Ok(Values::Drawn(Arc::new(drawn.map_err(|source| {
                GivenError::Draw {
                    names: left_out.join(", "),
                    source,
                }
            })?)))
        }
    }
}

/// Rows of columns that are equally long.
fn rows(columns: &[Vec<f32>]) -> usize {
    columns.first().map_or(0, Vec::len)
}

/// The conditions of the images whose codes are in `path`, but for those given; `None` where the file lacks one.
fn of_codes(
    path: &Path,
    given: &[Given],
    conditions: &ConditionConfig,
) -> Result<Option<Vec<Vec<f32>>>, GivenError> {
    let left_out = Given::left_out(given, conditions)?;
    let read = match data::read_columns(path, &left_out) {
        Err(DataError::Missing { .. }) => return Ok(None),
        read => read?,
    };
    let count = read.first().map_or(1, Vec::len);
    let mut columns: BTreeMap<String, Vec<f32>> = left_out.into_iter().zip(read).collect();
    Given::put(given, &mut columns, count);
    let columns: Vec<Vec<f32>> = (conditions.names.iter())
        .map(|name| columns.remove(name).unwrap_or_default())
        .collect();
    let rows: Vec<u64> = (0..count as u64).collect();
    check_columns(path, conditions, &columns, &rows)?;
    Ok(Some(columns))
}

/// Refuse columns of a file that are no conditions of a model; `rows`: which rows of the file they are.
fn check_columns(
    path: &Path,
    conditions: &ConditionConfig,
    columns: &[Vec<f32>],
    rows: &[u64],
) -> Result<(), GivenError> {
    for (place, (name, column)) in conditions.names.iter().zip(columns).enumerate() {
        if let Some(at) = conditions.without_log(place, column) {
            return Err(GivenError::RowNotPositive {
                path: path.into(),
                name: name.clone(),
                row: rows[at],
                value: column[at],
            });
        }
        if let Some(row) = column.iter().position(|v| !v.is_finite()) {
            return Err(GivenError::NotFinite {
                path: path.into(),
                name: name.clone(),
                row,
                value: column[row],
            });
        }
    }
    Ok(())
}

/// The conditions of the rows of `path` that `select` takes.
fn of_file(
    path: &Path,
    select: &[Selection],
    file: &FileOptions,
    conditions: &ConditionConfig,
    record: &Record,
) -> Result<Vec<Vec<f32>>, GivenError> {
    let names = &conditions.names;
    let options = ReadOptions {
        selections: select.to_vec(),
        columns: conditions.read().cloned().collect(),
        total: conditions.total.clone(),
        prefer_given: true,
        file: file.clone(),
        ..ReadOptions::default()
    };
    let mut read = data::read(path, &options)?;
    known(record, &mut read)?;
    // Of the pixels only their total is used.
    let unlike = (conditions.total.as_ref()).map(|_| unlike(record, file, &read.about));
    let said = read.about.remarks.iter().chain(&read.about.warnings);
    for sentence in said.chain(unlike.iter().flatten()) {
        log::warn!("{sentence}");
    }
    let columns: Vec<Vec<f32>> = (names.iter())
        .map(|n| read.columns.remove(n).unwrap_or_default())
        .collect();
    check_columns(path, conditions, &columns, &read.rows)?;
    Ok(columns)
}
