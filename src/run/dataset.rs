//! A data set as a model wants it: pixels within its range, a column for each condition.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::checkpoint::Checkpoint;
use crate::checkpoint::Record;
use crate::conditions::{ConditionConfig, Conditions};
use crate::data::{self, About, DataError, Dataset, FileOptions, ReadOptions, Unit};
use crate::family::{Beyond, End, Model};

/// Why images and their columns cannot be learnt from or scored.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DatasetError {
    /// Pixels that the model gives no probability to.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(". Also, "))]
    Beyond(Vec<PixelsBeyond>),
    /// No column for a condition.
    #[error("the data have no per-row data set '{name}'; they have: {has}")]
    NoColumn {
        /// The condition.
        name: String,
        /// The columns there are.
        has: String,
    },
    /// A column that is longer or shorter than the list of images.
    #[error(
        "the data set '{name}' has {found} values, there are {images} images; give one value an image"
    )]
    Length {
        /// The condition.
        name: String,
        /// How many values it has.
        found: usize,
        /// How many images there are.
        images: usize,
    },
    /// A condition without the logarithm that the model is shown.
    #[error(
        "{of}data set '{name}', row {row} holds {value} (the model is shown its logarithm, so it must be positive); leave the row out, with a selection for example; rows count from 0"
    )]
    NotPositive {
        /// `'FILE': `, or nothing of images in memory.
        of: String,
        /// The condition.
        name: String,
        /// Its row in the file.
        row: u64,
        /// What it holds.
        value: f32,
    },
    /// A condition, or the number of a group, that is no number.
    #[error("data set '{name}', row {row} holds {value}; it must be finite")]
    NotFinite {
        /// The condition.
        name: String,
        /// Place among the images.
        row: usize,
        /// What it holds.
        value: f32,
    },
}

/// Pixels beyond one end of a model's range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error(
    "{} {} {} {} at {} {unit} (the {} holds {} {unit}: image {image}, row {row}, column {column}); {remedy}",
    found.count,
    if found.count == 1 { "pixel lies" } else { "pixels lie" },
    found.side.beyond(),
    found.what,
    found.side.written(found.end),
    found.side.farthest(),
    found.farthest
)]
pub struct PixelsBeyond {
    /// How many, which end, the farthest of them.
    pub found: Beyond,
    /// Unit of the pixels.
    pub unit: Unit,
    /// The row in the file of the farthest one's image.
    pub image: u64,
    /// Its row in the image.
    pub row: usize,
    /// Its column in the image.
    pub column: usize,
    /// What to do.
    pub remedy: String,
}

impl DatasetError {
    /// Of what training met among the images of `dataset`.
    pub(super) fn beyond(found: &[Beyond], dataset: &Dataset) -> Self {
        let width = dataset.images.width();
        let of_end = |found: &Beyond| {
            let row = dataset.rows.get(found.image).copied();
            let remedy = match found.side {
                End::Upper => format!("raise {} or leave it out", found.key),
                // With a threshold nothing would be left.
                End::Lower if found.count == dataset.images.nonzeros() => {
                    format!("lower {} or leave it out", found.key)
                }
                End::Lower => format!(
                    "lower {} or leave it out, or set them to zero with --threshold {}",
                    found.key,
                    found.side.written(found.end)
                ),
            };
            PixelsBeyond {
                found: *found,
                unit: dataset.about.unit.clone(),
                image: row.unwrap_or(found.image as u64),
                row: found.pixel / width,
                column: found.pixel % width,
                remedy,
            }
        };
        Self::Beyond(found.iter().map(of_end).collect())
    }
}

/// The data set `name` of those read with `images` images.
pub(super) fn column<'a>(
    columns: &'a BTreeMap<String, Vec<f32>>,
    name: &str,
    images: usize,
) -> Result<&'a [f32], DatasetError> {
    match columns.get(name) {
        Some(column) if column.len() == images => Ok(column),
        Some(column) => Err(DatasetError::Length {
            name: name.into(),
            found: column.len(),
            images,
        }),
        None => Err(DatasetError::NoColumn {
            name: name.into(),
            has: columns.keys().cloned().collect::<Vec<_>>().join(", "),
        }),
    }
}

/// Refuse values of `conditions` that have no logarithm where it is wanted.
///
/// # Errors
/// [`DatasetError::NotPositive`] for the first; a condition without a column of the images' number.
pub(super) fn check_logs(
    conditions: &ConditionConfig,
    dataset: &Dataset,
) -> Result<(), DatasetError> {
    for (i, name) in conditions.names.iter().enumerate() {
        let column = column(&dataset.columns, name, dataset.images.len())?;
        if let Some(at) = conditions.without_log(i, column) {
            let (of, row) = match dataset.place(at) {
                Some((origin, row)) => (format!("'{}': ", origin.path.display()), row),
                None => (String::new(), at as u64),
            };
            return Err(DatasetError::NotPositive {
                of,
                name: name.clone(),
                row,
                value: column[at],
            });
        }
    }
    Ok(())
}

/// Standardised conditions of every row of `dataset`, as `model` wants them.
///
/// # Errors
/// A condition without a column of the images' number, or a value that is not finite or has not the logarithm that the model
/// is shown.
pub fn conditions(model: &dyn Model, dataset: &Dataset) -> Result<Conditions, DatasetError> {
    let c = model.conditions();
    let (width, images) = (c.names.len(), dataset.images.len());
    let mut values = vec![0.0; width * images];
    check_logs(c, dataset)?;
    for (i, name) in c.names.iter().enumerate() {
        for (row, v) in column(&dataset.columns, name, images)?.iter().enumerate() {
            if !v.is_finite() {
                return Err(DatasetError::NotFinite {
                    name: name.clone(),
                    row,
                    value: *v,
                });
            }
            values[row * width + i] = c.standardise(i, *v);
        }
    }
    Ok(Conditions::new(width, values).with_total(c.total_over(model.image().pixels())))
}

/// Read from `files` what `options` ask for, and `checkpoint` needs: images of its size, their totals, its numbers of classes.
///
/// # Errors
/// Files that cannot be read, images of another size, a name of a class that the model does not know.
pub(super) fn read_for(
    checkpoint: &Checkpoint,
    files: &[PathBuf],
    options: ReadOptions,
) -> Result<Dataset, DataError> {
    let size = checkpoint.model.image();
    let options = ReadOptions {
        total: checkpoint.model.conditions().total.clone(),
        size: Some((size.height, size.width)),
        ..options
    };
    let mut dataset = data::read_all(files, &options)?;
    known(&checkpoint.record, &mut dataset)?;
    let unlike = unlike(&checkpoint.record, &options.file, &dataset.about);
    dataset.about.warnings.extend(unlike);
    Ok(dataset)
}

/// Give names of `dataset` the numbers that the model knows them by.
///
/// # Errors
/// A name that it does not know.
pub(super) fn known(record: &Record, dataset: &mut Dataset) -> Result<(), DataError> {
    (record.names.iter()).try_for_each(|(name, order)| dataset.rename(name, order))
}

/// Where pixels of a file read with the options `file` are not in the unit of those that the model was trained on, or not above
/// their threshold: a sentence each.
pub(super) fn unlike(record: &Record, file: &FileOptions, about: &About) -> Vec<String> {
    let mut found = Vec::new();
    if about.unit != record.unit {
        found.push(format!(
            "pixels are in {} and the model was trained in {} (what it makes of them means nothing then); give --scale",
            about.unit, record.unit
        ));
    }
    if let Some(threshold) = record.threshold
        && file.threshold != Some(threshold)
    {
        found.push(format!(
            "the model was trained on images without pixels below {threshold} {} (such pixels count for much in a likelihood, and in a total); give --threshold {threshold}",
            record.unit
        ));
    }
    found
}
