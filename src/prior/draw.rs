//! Drawing the conditions that images are drawn under, from what a model knows of their distribution.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::conditions::{ConditionedImages, Conditions};
use crate::data::SparseImages;
use crate::families::sarm::Engine;
use crate::families::sarm::cpu::CpuEngine;
use crate::family::EngineError;
use crate::family::SamplingPlan;
use crate::prior::Prior;
use crate::prior::{Density, Labels};
use crate::random;
use crate::random::Purpose;

/// The way that conditions of images up to number `end` are drawn, for whoever has to know whether it is still the same.
///
/// Those of number 2^20 and above were once the first ones again.
pub fn way(end: u64) -> &'static str {
    match end <= 1 << 20 {
        true => "conditions 1",
        false => "conditions 2",
    }
}

/// Rows that one call of the engine draws.
const CHUNK: usize = 1 << 14;
/// Rows of which one is chosen where a condition is given that is drawn after others.
const CANDIDATES: usize = 32;
/// Fewer of them than this that count make a poor choice.
const FEW: f64 = 4.0;

/// What chance decides about a row, besides the densities' draws.
const LABELS: u32 = 0;
const CHOICE: u32 = 1;
/// Where in its piece a value lies; under the seed of its density.
const ALONG: u32 = 2;
const FIRST_DENSITY: u32 = 3;

/// Why conditions cannot be drawn.
#[derive(Debug, thiserror::Error)]
pub enum ConditionError {
    /// No training image had these labels.
    #[error("no image that the model was trained on had {given}; {seen}")]
    Labels {
        /// What was given.
        given: String,
        /// What there was.
        seen: String,
    },
    /// A value that no training image came near, and others are to be drawn that go with it.
    #[error(
        "no image that the model was trained on had {name} = {value:?} (they had {low} to {high}); give a value in that range"
    )]
    Beyond {
        /// The condition.
        name: String,
        /// What was given.
        value: f32,
        /// Smallest value trained on.
        low: f32,
        /// Largest value trained on.
        high: f32,
    },
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Rows `rows` of `seed`: what [`Drawing::rows`] gives, one column a condition.
///
/// # Errors
/// As [`Drawing::new`] and [`Drawing::rows`].
pub fn draw(
    prior: &Prior,
    given: &BTreeMap<String, f32>,
    seed: u64,
    rows: Range<u64>,
) -> Result<BTreeMap<String, Vec<f32>>, ConditionError> {
    let drawing = Drawing::new(prior, given, seed, rayon::current_num_threads())?;
    let drawn = drawing.rows(rows)?;
    drawing.remark(&drawn);
    Ok(prior.names().map(String::from).zip(drawn.columns).collect())
}

/// The conditions of a seed, ready to be drawn in any order: row i depends on prior, `given`, seed and i alone.
///
/// Where something is given that the prior draws after something that is not, each row is chosen among 32 by its likelihood
/// (importance resampling): right in the limit of many, coarse where what is given is rare.
pub struct Drawing {
    prior: Prior,
    /// Combinations of labels that agree with what is given, with the images that had them.
    labels: Vec<(Vec<f32>, u64)>,
    given: BTreeMap<String, f32>,
    seed: u64,
    candidates: usize,
    engine: CpuEngine,
}

/// Rows that were drawn.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    /// One a condition, in the order in which they are drawn: that of [`Prior::names`].
    pub columns: Vec<Vec<f32>>,
    /// Candidates that count, summed over the rows: of each (sum of weights)^2 / sum of their squares.
    counting: f64,
}

/// ln p in nats of each row's conditions that are no labels, given its labels; p per unit of each condition, of whole numbers
/// and of the smallest value a mass. Minus infinity where no training image came: beyond the range of a condition, or
/// with labels that none had.
///
/// `columns` holds all conditions by name, equally long. With the likelihood of an image given its conditions it adds up
/// to that of image and conditions together.
///
/// # Errors
/// Values that are no numbers, or absurd.
pub fn log_density(
    prior: &Prior,
    columns: &BTreeMap<String, Vec<f32>>,
) -> Result<Vec<f64>, EngineError> {
    let engine = CpuEngine::new(rayon::current_num_threads())?;
    let rows = columns.values().next().map_or(0, Vec::len);
    let mut all = Vec::new();
    for name in prior.names() {
        match columns.get(name) {
            Some(column) if column.len() == rows => all.push(column.clone()),
            _ => {
                return Err(EngineError::Mismatch(format!(
                    "no value of the condition '{name}' in each of {rows} rows"
                )));
            }
        }
    }
    let others = all.split_off(prior.labels.names.len());
    let mut before = all;
    let seen = |row: usize| {
        let mut values = prior.labels.values.iter();
        values.any(|v| v.iter().zip(&before).all(|(v, column)| *v == column[row]))
    };
    let mut sum: Vec<f64> = (0..rows)
        .map(|row| if seen(row) { 0.0 } else { f64::NEG_INFINITY })
        .collect();
    for (density, values) in prior.densities.iter().zip(others) {
        let range = &density.range;
        let mut images = SparseImages::new(1, 1).unwrap_or_default();
        for value in &values {
            push(&mut images, range.pixel(*value));
        }
        let conditions = of_draws(density, &before, 0, rows);
        let data = Arc::new(ConditionedImages { images, conditions });
        let scores = engine.score(&density.model, data)?;
        for ((sum, score), value) in sum.iter_mut().zip(scores).zip(&values) {
            *sum += match range.contains(*value) {
                true => score + range.log_factor(*value),
                false => f64::NEG_INFINITY,
            };
        }
        before.push(values);
    }
    Ok(sum)
}

/// The combinations of labels that agree with `given`, with the images that had them.
fn matching(
    labels: &Labels,
    given: &BTreeMap<String, f32>,
) -> Result<Vec<(Vec<f32>, u64)>, ConditionError> {
    let agrees = |row: &[f32]| {
        let mut pairs = labels.names.iter().zip(row);
        pairs.all(|(name, v)| given.get(name).is_none_or(|g| g == v))
    };
    let found: Vec<_> = (labels.values.iter().cloned())
        .zip(labels.images.iter().copied())
        .filter(|(row, _)| agrees(row))
        .collect();
    if found.is_empty() {
        let asked = (labels.names.iter())
            .filter_map(|n| Some(format!("{n} = {}", given.get(n)?)))
            .collect::<Vec<_>>();
        let seen = labels.names.iter().enumerate().map(|(i, name)| {
            let values: Vec<f32> = labels.values_of(i).iter().map(|(v, _)| *v).collect();
            format!("{name} was one of {values:?}")
        });
        return Err(ConditionError::Labels {
            given: asked.join(", "),
            seen: seen.collect::<Vec<_>>().join(", "),
        });
    }
    Ok(found)
}

impl std::fmt::Debug for Drawing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (f.debug_struct("Drawing"))
            .field("given", &self.given)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

impl Drawing {
    /// Prepare to draw from `prior` what is not in `given`, under `seed`, on `threads` threads (0: one per core).
    ///
    /// # Errors
    /// Labels or values that no training image had, when others are to be drawn given them; threads that cannot be started.
    pub fn new(
        prior: &Prior,
        given: &BTreeMap<String, f32>,
        seed: u64,
        threads: usize,
    ) -> Result<Self, ConditionError> {
        let labels = matching(&prior.labels, given)?;
        let mut drawn = labels.len() > 1;
        let mut candidates = 1;
        for density in &prior.densities {
            let range = &density.range;
            match given.get(&range.name) {
                None => drawn = true,
                Some(_) if !drawn => {}
                Some(value) if range.near(*value) => candidates = CANDIDATES,
                Some(value) => {
                    return Err(ConditionError::Beyond {
                        name: range.name.clone(),
                        value: *value,
                        low: range.ends()[0],
                        high: range.ends()[1],
                    });
                }
            }
        }
        Ok(Self {
            prior: prior.clone(),
            labels,
            given: given.clone(),
            seed,
            candidates,
            engine: CpuEngine::new(threads)?,
        })
    }

    /// Rows `rows`: those in `given` as they are, the others drawn given these.
    ///
    /// # Errors
    /// An engine that fails.
    pub fn rows(&self, rows: Range<u64>) -> Result<Rows, EngineError> {
        let mut drawn = Rows {
            columns: self.prior.names().map(|_| Vec::new()).collect(),
            counting: 0.0,
        };
        let chunk = (CHUNK / self.candidates) as u64;
        let mut next = rows.start;
        // Chunks start at multiples of their size, whatever is asked for: their seeds hang on that.
        while next < rows.end {
            let first = next - next % chunk;
            let end = rows.end.min(first.saturating_add(chunk));
            let more = self.rows_of_chunk(first, (next - first) as usize, (end - next) as usize)?;
            drawn.counting += more.counting;
            for (column, more) in drawn.columns.iter_mut().zip(more.columns) {
                column.extend(more);
            }
            next = end;
        }
        Ok(drawn)
    }

    /// Say so where what is given is so rare that the rest goes with it only roughly, as it does in `rows`.
    pub fn remark(&self, rows: &Rows) {
        let count = rows.columns.first().map_or(0, Vec::len);
        let counting = rows.counting / count.max(1) as f64;
        if self.candidates > 1 && counting < FEW {
            log::warn!(
                "what is given is rare: of the {CANDIDATES} draws that a row is chosen among, {counting:.1} count on average; the other conditions go with it only roughly"
            );
        }
    }

    /// Rows `skip .. skip + count` of the chunk that starts with row `first`.
    fn rows_of_chunk(&self, first: u64, skip: usize, count: usize) -> Result<Rows, EngineError> {
        let all = count * self.candidates;
        // Draws of the densities are numbered from the chunk's start.
        let start = (skip * self.candidates) as u64;
        let mut columns = self.labels(first, start, all);
        let mut log_weight = vec![0.0f64; all];
        for (i, density) in self.prior.densities.iter().enumerate() {
            let values = match self.given.get(&density.range.name) {
                None => {
                    let use_of_it = FIRST_DENSITY + i as u32;
                    let [a, b, ..] = random::words(self.seed, Purpose::Condition, first, use_of_it);
                    let plan = SamplingPlan {
                        seed: u64::from(a) << 32 | u64::from(b),
                        conditions: of_draws(density, &columns, start, all),
                        ..SamplingPlan::default()
                    };
                    let mut sampler = self.engine.sampler(&density.model, &plan)?;
                    let images = sampler.sample(start, all)?;
                    let pixels = images
                        .iter()
                        .map(|(_, x)| x.first().copied().unwrap_or(0.0));
                    let along = |n: u64| {
                        let [a, b, ..] = random::words(plan.seed, Purpose::Condition, n, ALONG);
                        random::unit_f64(a, b)
                    };
                    (start..)
                        .zip(pixels)
                        .map(|(n, x)| density.range.value(x, along(n)))
                        .collect()
                }
                Some(value) => {
                    if self.candidates > 1 {
                        let images = alike(density.range.pixel(*value), all);
                        let conditions = of_draws(density, &columns, 0, all);
                        let data = Arc::new(ConditionedImages { images, conditions });
                        let more = self.engine.score(&density.model, data)?;
                        log_weight.iter_mut().zip(more).for_each(|(w, m)| *w += m);
                    }
                    vec![*value; all]
                }
            };
            columns.push(values);
        }
        let mut counting = count as f64;
        if self.candidates > 1 {
            let row_of = |place: usize| first + (skip + place) as u64;
            let (chosen, counts): (Vec<usize>, Vec<f64>) =
                (log_weight.chunks(self.candidates).enumerate())
                    .map(|(row, weights)| {
                        let (place, counting) = self.choose(row_of(row), weights);
                        (row * self.candidates + place, counting)
                    })
                    .unzip();
            for column in &mut columns {
                *column = chosen.iter().map(|i| column[*i]).collect();
            }
            counting = counts.iter().sum();
        }
        Ok(Rows { columns, counting })
    }

    /// Labels of `count` candidates, from number `start` on of those of the chunk that starts with row `first`.
    fn labels(&self, first: u64, start: u64, count: usize) -> Vec<Vec<f32>> {
        let total: u64 = self.labels.iter().map(|(_, images)| images).sum();
        let rows: Vec<&[f32]> = (start..start + count as u64)
            .map(|n| {
                // Candidates of all rows are numbered in a row, and there are more than 64 bits count.
                let n = u128::from(first) * self.candidates as u128 + u128::from(n);
                let use_of_it = LABELS | (((n >> 64) as u32) << 16);
                let [a, b, ..] = random::words(self.seed, Purpose::Condition, n as u64, use_of_it);
                let mut left = random::unit_f64(a, b) * total as f64;
                let found = self.labels.iter().find(|(_, images)| {
                    left -= *images as f64;
                    left < 0.0
                });
                found.or(self.labels.last()).map_or(&[][..], |(row, _)| row)
            })
            .collect();
        (0..self.prior.labels.names.len())
            .map(|i| rows.iter().map(|row| row[i]).collect())
            .collect()
    }

    /// One of the candidates of row `row`, by their weights, and how many of them count.
    fn choose(&self, row: u64, log_weights: &[f64]) -> (usize, f64) {
        let most = log_weights
            .iter()
            .copied()
            .fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = log_weights
            .iter()
            .map(|w| crate::numeric::exp((w - most) as f32).into())
            .collect();
        let sum: f64 = weights.iter().sum();
        let counting = sum * sum / weights.iter().map(|w| w * w).sum::<f64>();
        let [a, b, ..] = random::words(self.seed, Purpose::Condition, row, CHOICE);
        let mut left = random::unit_f64(a, b) * sum;
        let found = weights.iter().position(|w| {
            left -= w;
            left < 0.0
        });
        (found.unwrap_or(log_weights.len() - 1), counting)
    }
}

/// What `density`'s model is shown of the columns before it, one row for each of the `rows` draws from number `first` on.
fn of_draws(density: &Density, columns: &[Vec<f32>], first: u64, rows: usize) -> Conditions {
    let row =
        |row| (columns.iter().enumerate()).map(move |(i, c)| density.model.standardise(i, c[row]));
    Conditions::of_images(first, columns.len(), (0..rows).flat_map(row).collect())
}

/// `count` images of this one pixel.
fn alike(pixel: f32, count: usize) -> SparseImages {
    let mut images = SparseImages::new(1, 1).unwrap_or_default();
    for _ in 0..count {
        push(&mut images, pixel);
    }
    images
}

fn push(images: &mut SparseImages, pixel: f32) {
    images.push((pixel > 0.0).then_some((0, pixel)));
}
