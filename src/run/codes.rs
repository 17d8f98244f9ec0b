//! Codes of models with latents: which ones images are drawn from, and those of given images.

use std::ops::Range;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::checkpoint::Checkpoint;
use super::conditions::{Given, GivenError};
use super::dataset::{DatasetError, conditions, read_for};
use crate::conditions::ConditionedImages;
use crate::data::{self, About, Attribute, DataError, FileOptions, ReadOptions, Selection};
use crate::device::Devices;
use crate::family::{Codes, EngineError, Latent};

/// A number of a code that somebody names, at most: normal ones are far smaller.
const MOST: f64 = 1000.0;

/// Which codes the images of a run are drawn from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// The normal distribution; numbers of the code that are named, between two values.
    Drawn(Vec<Selection>),
    /// One number goes from one value to the other over the images of the run, the others are 0.
    Sweep(Selection),
    /// Rows of a file that [`encode`] wrote: image i has row i.
    File(PathBuf),
    /// A straight line over the images of the run, from the code in one row of a file to that in another.
    Line {
        /// The file.
        path: PathBuf,
        /// The two rows, from 0.
        rows: [u64; 2],
    },
}

impl Default for Source {
    fn default() -> Self {
        Source::Drawn(Vec::new())
    }
}

/// Why there are no such codes.
#[derive(Debug, thiserror::Error)]
pub enum CodesError {
    /// A family without codes.
    #[error("models of the family '{0}' have no codes; take a model of the family vae")]
    NoCodes(&'static str),
    /// A number that the code does not have, or what is not a number.
    #[error(
        "the model's codes have no number '{name}' (they have 0 to {last}); write K=VALUE or K=LOW..HIGH with one of those"
    )]
    Number {
        /// What was named.
        name: String,
        /// The last one.
        last: usize,
    },
    /// The same number twice.
    #[error("number {0} of the codes is named twice; give it one interval")]
    Twice(usize),
    /// Bounds that no normal number lies between.
    #[error(
        "cannot take number {0} of the codes (its bounds are reversed, or beyond all normal numbers); choose bounds within -8 to 8, or a value within -1000 to 1000"
    )]
    Bounds(String),
    /// A sweep without two ends.
    #[error(
        "cannot sweep {0} (a sweep has two finite ends); write K=LOW..HIGH, within -1000 to 1000"
    )]
    Ends(String),
    /// A line that starts or ends beyond the rows of the file.
    #[error("there is no row {row} ('{}' has {rows} rows, from 0); choose another --line", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// The row.
        row: u64,
        /// Its rows.
        rows: usize,
    },
    /// A file without a row.
    #[error("'{}' has no codes (it has no rows); choose another file", .0.display())]
    Empty(PathBuf),
    /// A code in a file that is no number.
    #[error("'{}', data set '{name}', row {row} holds {value} (a code must be finite); choose other codes", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The data set.
        name: String,
        /// The row.
        row: usize,
        /// What it holds.
        value: f32,
    },
    /// Codes that another model found.
    #[error("'{}' holds codes that another model found (its model_sha256 is {found}); a model that was packed or trained on is another; encode the images with this one", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Hash of that model's file.
        found: String,
    },
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
}

/// Name of the data set with the answers of the model's classifier.
const CLASSIFIER: &str = "classifier";

/// Name of the data set with the means of number `number` of the codes.
fn mean(number: usize) -> String {
    format!("mean_{number}")
}

/// Name of the data set with their log variances.
fn log_variance(number: usize) -> String {
    format!("log_variance_{number}")
}

impl Source {
    /// How many codes there are, where they are those of a file.
    ///
    /// # Errors
    /// See [`CodesError`].
    pub fn count(&self, checkpoint: &Checkpoint) -> Result<Option<u64>, CodesError> {
        match (self, checkpoint.model.encoder()) {
            (Source::File(path), Some(encoder)) => {
                let latents = encoder.latents();
                let rows = rows(path, checkpoint, latents)?;
                Ok(Some((rows.len() / latents) as u64))
            }
            _ => Ok(None),
        }
    }

    /// The codes of images `images` of the model in `checkpoint`.
    ///
    /// # Errors
    /// See [`CodesError`].
    pub fn codes(&self, checkpoint: &Checkpoint, images: Range<u64>) -> Result<Codes, CodesError> {
        let model = checkpoint.model.as_ref();
        if *self == Source::default() {
            return Ok(Codes::default());
        }
        let encoder = (model.encoder()).ok_or(CodesError::NoCodes(model.family()))?;
        let latents = encoder.latents();
        match self {
            Source::Drawn(wanted) => {
                let mut all: Vec<Latent> = Vec::with_capacity(wanted.len());
                for one in wanted {
                    let latent = latent(one, latents)?;
                    let Latent { number, low, high } = latent;
                    if all.iter().any(|other| other.number == number) {
                        return Err(CodesError::Twice(number));
                    }
                    let far = Latent::FARTHEST;
                    let fixed = low == high && (-MOST..=MOST).contains(&low);
                    let possible = low < high && low < far && high > -far;
                    if !fixed && !possible {
                        return Err(CodesError::Bounds(one.to_string()));
                    }
                    all.push(latent);
                }
                Ok(Codes::Drawn(all))
            }
            Source::Sweep(wanted) => {
                let Latent { number, low, high } = latent(wanted, latents)?;
                if ![low, high].iter().all(|end| (-MOST..=MOST).contains(end)) {
                    return Err(CodesError::Ends(wanted.to_string()));
                }
                let end = |value: f64| {
                    let mut code = vec![0.0; latents];
                    code[number] = value as f32;
                    code
                };
                Ok(Codes::Line {
                    ends: [end(low), end(high)],
                    images,
                })
            }
            Source::File(path) => {
                let rows = rows(path, checkpoint, latents)?;
                if rows.is_empty() {
                    return Err(CodesError::Empty(path.clone()));
                }
                Ok(Codes::Rows(rows.into()))
            }
            Source::Line { path, rows: wanted } => {
                let rows = rows(path, checkpoint, latents)?;
                let row = |row: u64| {
                    let mut codes = rows.chunks_exact(latents);
                    let found = usize::try_from(row).ok().and_then(|row| codes.nth(row));
                    found.map(<[f32]>::to_vec).ok_or_else(|| CodesError::Row {
                        path: path.clone(),
                        row,
                        rows: rows.len() / latents,
                    })
                };
                Ok(Codes::Line {
                    ends: [row(wanted[0])?, row(wanted[1])?],
                    images,
                })
            }
        }
    }
}

fn latent(wanted: &Selection, latents: usize) -> Result<Latent, CodesError> {
    let number = wanted.name.parse().ok().filter(|number| *number < latents);
    let number = number.filter(|_| wanted.text.is_none());
    Ok(Latent {
        number: number.ok_or_else(|| CodesError::Number {
            name: wanted.to_string(),
            last: latents - 1,
        })?,
        low: wanted.low,
        high: wanted.high,
    })
}

/// The means of a file's codes, `[rows, latents]`.
fn rows(path: &Path, checkpoint: &Checkpoint, latents: usize) -> Result<Vec<f32>, CodesError> {
    let attributes = data::read_attributes(path)?;
    if let Some(Attribute::Text(found)) = attributes.get("model_sha256")
        && *found != checkpoint.sha256
    {
        return Err(CodesError::Foreign {
            path: path.into(),
            found: found.clone(),
        });
    }
    let names: Vec<String> = (0..latents).map(mean).collect();
    let columns = data::read_columns(path, &names)?;
    let count = columns.first().map_or(0, Vec::len);
    let mut rows = vec![0.0; count * latents];
    for (number, (name, column)) in names.into_iter().zip(columns).enumerate() {
        if let Some((row, value)) = column.iter().enumerate().find(|(_, v)| !v.is_finite()) {
            return Err(CodesError::NotFinite {
                path: path.into(),
                row,
                value: *value,
                name,
            });
        }
        for (row, value) in rows.chunks_exact_mut(latents).zip(column) {
            row[number] = value;
        }
    }
    Ok(rows)
}

/// `condition`, the hash of what images are told, with the codes they are drawn from; the same where these are drawn as always.
pub(super) fn hash(codes: &Codes, condition: [u8; 32]) -> [u8; 32] {
    if *codes == Codes::default() {
        return condition;
    }
    let mut hash = Sha256::new();
    hash.update(condition);
    match codes {
        Codes::Drawn(latents) => {
            hash.update(b"drawn");
            let mut latents = latents.clone();
            latents.sort_by_key(|latent| latent.number);
            for latent in &latents {
                hash.update((latent.number as u64).to_le_bytes());
                hash.update(latent.low.to_le_bytes());
                hash.update(latent.high.to_le_bytes());
            }
        }
        Codes::Line { ends, images } => {
            hash.update(b"line");
            hash.update(images.start.to_le_bytes());
            hash.update(images.end.to_le_bytes());
            let values = ends.iter().flatten();
            values.for_each(|v| hash.update(v.to_le_bytes()));
        }
        Codes::Rows(rows) => {
            hash.update(b"rows");
            rows.iter().for_each(|v| hash.update(v.to_le_bytes()));
        }
    }
    hash.finalize().into()
}

/// Which images to encode.
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

/// The codes of images.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// Columns by name, one value an image: `mean_0` .., `log_variance_0` .., `classifier` of a model with one, the model's conditions, `row` in the file.
    pub columns: Vec<(String, Vec<f64>)>,
    /// Images.
    pub images: usize,
    /// What the files say of the images.
    pub about: About,
}

/// Encode the images that `request` names.
///
/// # Errors
/// See [`CodesError`].
pub fn encode(
    checkpoint: &Checkpoint,
    devices: &Devices,
    request: &Request,
) -> Result<Encoded, CodesError> {
    let model = checkpoint.model.as_ref();
    let encoder = (model.encoder()).ok_or(CodesError::NoCodes(model.family()))?;
    let mut dataset = read_for(
        checkpoint,
        &request.data,
        ReadOptions {
            selections: request.select.clone(),
            columns: Given::scored(&request.given, model.conditions())?,
            prefer_given: true,
            limit: request.limit,
            file: request.file.clone(),
            ..ReadOptions::default()
        },
    )?;
    let images = dataset.images.len();
    Given::put(&request.given, &mut dataset.columns, images);
    let data = ConditionedImages {
        conditions: conditions(model, &dataset)?,
        images: dataset.images,
    };
    let codes = encoder.encode(devices, &data)?;
    let latents = encoder.latents();
    let column = |place: usize| {
        let values = codes.iter().skip(place).step_by(2 * latents);
        values.map(|v| f64::from(*v)).collect()
    };
    let means = (0..latents).map(|i| (mean(i), column(i)));
    let variances = (0..latents).map(|i| (log_variance(i), column(latents + i)));
    let mut columns: Vec<(String, Vec<f64>)> = means.chain(variances).collect();
    // A condition of that name comes first.
    let taken = dataset.columns.contains_key(CLASSIFIER);
    if let Some(answers) = encoder.classify(devices, &data)?.filter(|_| !taken) {
        columns.push((
            CLASSIFIER.into(),
            answers.into_iter().map(f64::from).collect(),
        ));
    }
    let row = dataset.rows.iter().map(|row| *row as f64).collect();
    columns.push(("row".into(), row));
    for name in &model.conditions().names {
        if let Some(values) = dataset.columns.get(name) {
            columns.push((name.clone(), values.iter().map(|v| f64::from(*v)).collect()));
        }
    }
    Ok(Encoded {
        columns,
        images,
        about: dataset.about,
    })
}
