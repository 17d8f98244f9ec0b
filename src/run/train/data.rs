//! What training takes from the data: the split, the statistics, the conditions, the range.

use std::sync::Arc;
use std::thread::JoinHandle;

use super::TrainError;
use crate::conditions::{ConditionConfig, ConditionedImages};
use crate::data::Dataset;
use crate::family::{Configuration, Model, TrainConfig};
use crate::random::{self, Purpose};
use crate::run::dataset::{DatasetError, check_logs, column};

/// Rows to train on and rows held out, ascending: a random choice that depends on seed, count and, where there are some, on the
/// groups.
pub(super) fn split(config: &TrainConfig, dataset: &Dataset) -> Result<[Vec<u32>; 2], TrainError> {
    let mut both = split_at_random(config, dataset)?;
    both.iter_mut().for_each(|rows| rows.sort_unstable());
    Ok(both)
}

/// The same in random order, each group in one piece.
pub(in crate::run) fn split_at_random(
    config: &TrainConfig,
    dataset: &Dataset,
) -> Result<[Vec<u32>; 2], TrainError> {
    let images = dataset.images.len();
    let held = (config.validation * images as f64).round() as usize;
    let (mut rows, held) = match &config.group {
        None => (
            random::permutation(config.seed, Purpose::Split, 0, images),
            held,
        ),
        Some(name) => {
            let groups = column(&dataset.columns, name, images)?;
            if let Some((row, value)) = groups.iter().enumerate().find(|(_, v)| !v.is_finite()) {
                return Err(DatasetError::NotFinite {
                    name: name.clone(),
                    row,
                    value: *value,
                }
                .into());
            }
            let (rows, whole) = by_group(config.seed, groups, held);
            if whole > 2 * held {
                log::warn!(
                    "{whole} of {images} images are held out where {held} were asked for (groups of '{name}' are large); take another data set if it is not the number of an event"
                );
            }
            (rows, whole)
        }
    };
    if held == 0 && config.validation > 0.0 {
        return Err(TrainError::NoneToValidate {
            images,
            validation: config.validation,
        });
    }
    let train = rows.split_off(held);
    if train.is_empty() {
        return Err(TrainError::NoneToTrain { images });
    }
    Ok([train, rows])
}

/// All rows, groups of equal numbers in random order and each in one piece; and how many rows the first groups have that
/// hold no fewer than `held` together.
fn by_group(seed: u64, groups: &[f32], held: usize) -> (Vec<u32>, usize) {
    let mut rows: Vec<u32> = (0..groups.len() as u32).collect();
    rows.sort_by(|a, b| groups[*a as usize].total_cmp(&groups[*b as usize]));
    let pieces: Vec<&[u32]> = rows
        .chunk_by(|a, b| groups[*a as usize] == groups[*b as usize])
        .collect();
    let order = random::permutation(seed, Purpose::Split, 0, pieces.len());
    let mut all = Vec::with_capacity(rows.len());
    let mut first = 0;
    for piece in order {
        if all.len() < held {
            first += pieces[piece as usize].len();
        }
        all.extend(pieces[piece as usize]);
    }
    (all, first)
}

/// The order of the training images in each epoch. The next one is made while an epoch is trained on: a fast
/// device would wait for it.
pub(super) struct Shuffles {
    rows: Arc<[u32]>,
    seed: u64,
    ahead: Option<(usize, JoinHandle<Vec<u32>>)>,
}

impl Shuffles {
    /// Of the images `rows`.
    pub fn new(rows: &[u32], seed: u64) -> Self {
        Self {
            rows: rows.into(),
            seed,
            ahead: None,
        }
    }

    /// The order of epoch `epoch`, which depends on rows, seed and epoch alone; `more` if the next will be asked for.
    pub fn order(&mut self, epoch: usize, more: bool) -> Vec<u32> {
        let make = |epoch: usize| {
            let (rows, seed) = (Arc::clone(&self.rows), self.seed);
            move || -> Vec<u32> {
                let order = random::permutation(seed, Purpose::Shuffle, epoch as u32, rows.len());
                order.into_iter().map(|i| rows[i as usize]).collect()
            }
        };
        let ready = match self.ahead.take() {
            Some((of, thread)) if of == epoch => thread.join().ok(),
            _ => None,
        };
        let order = ready.unwrap_or_else(make(epoch));
        if more {
            // Without a thread to be had, it is made when it is asked for.
            let thread = std::thread::Builder::new().spawn(make(epoch + 1));
            self.ahead = thread.ok().map(|thread| (epoch + 1, thread));
        }
        order
    }
}

/// How often each image counts.
pub(in crate::run) struct Weights {
    /// One an image; their mean over the training images is 1, so that rates and likelihoods mean what they do without.
    pub of_rows: Vec<f32>,
}

impl Weights {
    /// Those of `dataset`, where it has any, for training on the rows `train` and validation on `held`.
    pub fn of(dataset: &Dataset, [train, held]: [&[u32]; 2]) -> Result<Option<Self>, TrainError> {
        let Some(weights) = &dataset.weights else {
            return Ok(None);
        };
        if weights.len() != dataset.images.len() {
            return Err(DatasetError::Length {
                name: "weights".into(),
                found: weights.len(),
                images: dataset.images.len(),
            }
            .into());
        }
        if let Some((row, weight)) = weights.iter().enumerate().find(|(_, w)| !w.is_finite()) {
            return Err(TrainError::WeightNotFinite {
                row,
                weight: *weight,
            });
        }
        let total = |rows: &[u32]| rows.iter().map(|r| f64::from(weights[*r as usize])).sum();
        for (rows, what) in [(train, "to train on"), (held, "held out")] {
            let total: f64 = total(rows);
            if !rows.is_empty() && total <= 0.0 {
                return Err(TrainError::NoWeight {
                    images: rows.len(),
                    what,
                    total,
                });
            }
        }
        let mean: f64 = total(train) / train.len() as f64;
        Ok(Some(Self {
            of_rows: weights
                .iter()
                .map(|w| (f64::from(*w) / mean) as f32)
                .collect(),
        }))
    }

    fn on(&self, rows: &[u32]) -> impl Iterator<Item = f64> {
        rows.iter()
            .map(|row| f64::from(self.of_rows[*row as usize]))
    }

    /// Weighted mean of `values`, one for each of `rows`.
    pub fn mean(&self, values: &[f64], rows: &[u32]) -> f64 {
        let sum: f64 = self.on(rows).zip(values).map(|(w, v)| w * v).sum();
        sum / self.on(rows).sum::<f64>()
    }

    /// How much the images `rows` tell with their weights.
    pub fn in_words(&self, rows: &[u32]) -> String {
        let (sum, squares) = self
            .on(rows)
            .fold((0.0, 0.0), |(s, q), w| (s + w, q + w * w));
        let negative = self.on(rows).filter(|w| *w < 0.0).count();
        format!(
            "each image counts by its weight, {negative} of {} negatively; they tell as much as {:.0} images of equal weight",
            rows.len(),
            sum * sum / squares
        )
    }
}

/// Correlation of a condition with the sum of the pixels from which on it is worth to tell a model that sum.
const PROPORTIONAL: f64 = 0.9;

/// What to write into a configuration without a total, where a condition of the images `rows` is nearly proportional to the
/// sum of their pixels.
pub(super) fn advise_total(
    conditions: &ConditionConfig,
    dataset: &Dataset,
    rows: &[u32],
) -> Option<String> {
    if conditions.total.is_some() {
        return None;
    }
    let sum = |row: &u32| -> f64 {
        let (_, values) = dataset.images.image(*row as usize);
        values.iter().map(|v| f64::from(*v)).sum()
    };
    let sums: Vec<f64> = rows.iter().map(sum).collect();
    let names = &conditions.names;
    let found = names.iter().find_map(|name| {
        let column = dataset.columns.get(name)?;
        let values: Vec<f64> = rows
            .iter()
            .map(|r| f64::from(column[*r as usize]))
            .collect();
        let r = correlation(&values, &sums);
        (r > PROPORTIONAL).then_some((name, r))
    });
    let (name, r) = found?;
    let free = ["sum", "total", "pixel_sum"].into_iter();
    let total = free
        .into_iter()
        .find(|n| !names.iter().any(|name| name == n))?;
    let all: Vec<String> = names
        .iter()
        .map(|n| n.as_str())
        .chain([total])
        .map(|n| format!("\"{n}\""))
        .collect();
    Some(format!(
        "condition '{name}' is nearly proportional to the sum of the pixels (correlation {r:.3}); write names = [{}] and total = \"{total}\" under [condition], as configs/calorimeter.toml does, and a D+C model draws the sum first, then pixels that add up to it",
        all.join(", ")
    ))
}

/// Pearson's; 0 where one of the two never varies.
fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len() as f64;
    let (mean_a, mean_b) = (a.iter().sum::<f64>() / n, b.iter().sum::<f64>() / n);
    let (mut aa, mut bb, mut ab) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (a - mean_a, b - mean_b);
        aa += a * a;
        bb += b * b;
        ab += a * b;
    }
    match aa > 0.0 && bb > 0.0 {
        true => ab / (aa * bb).sqrt(),
        false => 0.0,
    }
}

/// CRC-32 of all that training reads of images, conditions and weights.
pub(in crate::run) fn checksum(images: &ConditionedImages, weights: Option<&Weights>) -> u32 {
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
    for weight in weights.iter().flat_map(|w| &w.of_rows) {
        hasher.update(&weight.to_le_bytes());
    }
    hasher.finalize()
}

/// The model of `config`, with what the data say filled in: sizes, the grid's end, the conditions' mean and scale.
pub(super) fn complete(
    config: &dyn Configuration,
    dataset: &Dataset,
    train: &[u32],
) -> Result<Box<dyn Model>, TrainError> {
    let mut conditions = config.conditions().clone();
    check_logs(&conditions, dataset)?;
    let logged = conditions.clone();
    let measured = conditions.mean.is_empty();
    for (i, name) in conditions.names.iter().enumerate() {
        let column = column(&dataset.columns, name, dataset.images.len())?;
        if let Some(value) = column.first()
            && column.iter().all(|v| v == value)
        {
            log::warn!("condition '{name}' is {value} in every image (the model cannot learn it)");
        }
        if measured {
            let n = train.len() as f64;
            let values = || train.iter().map(|r| logged.shown(i, column[*r as usize]));
            let mean = values().sum::<f64>() / n;
            let square: f64 = values().map(|v| (v - mean).powi(2)).sum();
            conditions.mean.push(mean);
            // A condition that never varies tells nothing; any scale will do.
            let scale = (square / n).sqrt();
            conditions.scale.push(if scale > 0.0 { scale } else { 1.0 });
        }
    }
    let model = config.complete(&dataset.images, conditions)?;
    let found = model.beyond(&dataset.images);
    if !found.is_empty() {
        return Err(DatasetError::beyond(&found, dataset).into());
    }
    if let Some(unsuited) = model.unsuited(&dataset.images) {
        log::warn!("{unsuited}");
    }
    Ok(model)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_do_not_depend_on_what_was_asked_for_before() {
        let rows: Vec<u32> = (0..100).map(|i| 3 * i + 1).collect();
        let mut through = Shuffles::new(&rows, 5);
        for epoch in 0..4 {
            let order = through.order(epoch, epoch != 2);
            assert_eq!(order, Shuffles::new(&rows, 5).order(epoch, false));
            assert_ne!(order, Shuffles::new(&rows, 6).order(epoch, false));
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert!(sorted == rows && order != rows);
        }
        // A resumed run asks for another epoch than the one that was made ahead.
        assert_eq!(
            through.order(9, true),
            Shuffles::new(&rows, 5).order(9, false)
        );
    }

    #[test]
    fn groups_are_held_out_whole() {
        let groups: Vec<f32> = (0..100).map(|row| (row % 13) as f32).collect();
        let (rows, held) = by_group(1, &groups, 20);
        let mut sorted = rows.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
        // A group has seven or eight rows, and the last one that is wanted is held out whole.
        assert!((20..28).contains(&held), "{held}");
        let of = |rows: &[u32]| -> std::collections::BTreeSet<u32> {
            rows.iter().map(|row| row % 13).collect()
        };
        assert!(of(&rows[..held]).is_disjoint(&of(&rows[held..])));
        assert_ne!(rows, by_group(2, &groups, 20).0);
        assert_eq!(by_group(1, &groups, 0).1, 0);
    }
}
