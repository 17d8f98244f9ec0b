//! Learning how the conditions are distributed: labels are counted, the other conditions get a small network each.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::conditions::ConditionConfig;
use crate::conditions::{ConditionedImages, Conditions};
use crate::data::SparseImages;
use crate::families::sarm::Engine;
use crate::families::sarm::cpu::CpuEngine;
use crate::families::sarm::{Sarm, StageTensor, Statistics};
use crate::family::EngineError;
use crate::family::{ConfigError, TrainConfig};
use crate::nn::adam::Rates;
use crate::nn::schedule::Schedule;
use crate::prior::Prior;
use crate::prior::{Density, Labels, MOST_LABELS, PARTS, Range};
use crate::random;
use crate::random::Purpose;

/// Steps of one density's training, unless these are more or fewer passes than `PASSES` allow.
const STEPS: usize = 3000;
const PASSES: (usize, usize) = (4, 200);
/// Passes without a better likelihood after which it ends.
const PATIENCE: usize = 10;
/// Steps of a density given other numbers, all of which are made: it gains most from the last, smallest ones.
const STEPS_GIVEN_NUMBERS: usize = 6000;
const BATCH: usize = 256;
const MOST_THREADS: usize = 8;
/// A value that more than this fraction of the images share is a peak that pieces smear.
const SHARED: f64 = 0.02;

/// Why the distribution of the conditions cannot be learnt.
#[derive(Debug, thiserror::Error)]
pub enum LearnError {
    /// A likelihood that is no number.
    #[error(
        "the distribution of the condition '{name}' cannot be learnt (its likelihood left the range of numbers); leave out values that lie far from all others"
    )]
    Diverged {
        /// The condition.
        name: String,
    },
    /// Pieces that make no model.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// The distribution of `conditions` over the rows `train` of `columns`, one a condition; those in `held` say when to
/// stop. `None` if there are no conditions. With `weights`, one a row and 1 on average, each row counts so often: labels are
/// counted to the nearest whole image, or finer where that would change the share of one. Depends on the rows, their weights and
/// the seed alone.
///
/// # Errors
/// See [`LearnError`].
pub fn learn(
    conditions: &ConditionConfig,
    columns: &[&[f32]],
    weights: Option<&[f32]>,
    [train, held]: [&[u32]; 2],
    seed: u64,
) -> Result<Option<Prior>, LearnError> {
    let names = &conditions.names;
    let is_label = |i: &usize| {
        let mut seen = BTreeSet::new();
        train.iter().all(|row| {
            seen.insert((columns[*i][*row as usize] + 0.0).to_bits());
            seen.len() <= MOST_LABELS
        })
    };
    let (labels, others): (Vec<usize>, Vec<usize>) = (0..names.len()).partition(is_label);
    if names.is_empty() {
        return Ok(None);
    }
    let mut prior = Prior {
        labels: count(names, columns, weights, &labels, train),
        densities: Vec::new(),
    };
    // The densities are too small for a card, or for many threads, to be worth their while.
    let engine = CpuEngine::new(rayon::current_num_threads().min(MOST_THREADS))?;
    let (labels, mut before) = (labels.len(), labels);
    for place in others {
        let density = fit_density(
            conditions,
            (columns, weights),
            (&before, labels),
            place,
            [train, held],
            seed,
            &engine,
        )?;
        prior.densities.push(density);
        before.push(place);
    }
    Ok(Some(prior))
}

fn count(
    names: &[String],
    columns: &[&[f32]],
    weights: Option<&[f32]>,
    labels: &[usize],
    train: &[u32],
) -> Labels {
    let of = |row: &u32| -> (Vec<f32>, f64) {
        // A negative zero is a zero.
        let values = labels.iter().map(|i| columns[*i][*row as usize] + 0.0);
        let weight = weights.map_or(1.0, |w| f64::from(w[*row as usize]));
        (values.collect(), weight)
    };
    let mut rows: Vec<(Vec<f32>, f64)> = train.iter().map(of).collect();
    // Stable, so that weights are added up in the order of the rows.
    rows.sort_by(|(a, _), (b, _)| {
        let mut pairs = a.iter().zip(b).map(|(a, b)| a.total_cmp(b));
        pairs
            .find(|o| o.is_ne())
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    let sums: Vec<(Vec<f32>, f64)> = rows
        .chunk_by(|(a, _), (b, _)| a == b)
        .map(|same| {
            let sum = same.iter().map(|(_, weight)| weight).sum::<f64>();
            (same[0].0.clone(), sum)
        })
        .collect();
    let names: Vec<String> = labels.iter().map(|i| names[*i].clone()).collect();
    // Without labels there is one sum, which is no label's.
    let lost = sums
        .iter()
        .filter(|(_, sum)| !names.is_empty() && *sum <= 0.0);
    for (values, sum) in lost {
        let pairs = names.iter().zip(values).map(|(n, v)| format!("{n} = {v}"));
        log::warn!(
            "the model will draw no image with {} (the weights of those add up to {sum}); deselect them or give --weights another data set",
            pairs.collect::<Vec<_>>().join(", ")
        );
    }
    let counts = whole(&sums.iter().map(|(_, sum)| *sum).collect::<Vec<_>>());
    let (values, images) = (sums.into_iter().map(|(values, _)| values))
        .zip(counts)
        .filter(|(_, count)| *count > 0)
        .unzip();
    Labels {
        names,
        values,
        images,
    }
}

/// What `sums` of weights count, in whole numbers: those next to them, or, where that would change one by more than a per mille,
/// those next to their multiples that are [`PARTS`] together. Nothing positive counts 0, what is not positive counts nothing.
fn whole(sums: &[f64]) -> Vec<u64> {
    let total: f64 = sums.iter().filter(|sum| **sum > 0.0).sum();
    let coarse = |sum: &f64| *sum > 0.0 && (sum.round() - sum).abs() > 1e-3 * sum;
    let factor = match sums.iter().any(coarse) {
        true => PARTS as f64 / total,
        false => 1.0,
    };
    (sums.iter())
        .map(|sum| match *sum > 0.0 {
            true => ((sum * factor).round() as u64).max(1),
            false => 0,
        })
        .collect()
}

/// The density of condition `place` given the conditions `before`, the first `labels` of which are labels.
fn fit_density(
    condition: &ConditionConfig,
    (columns, weights): (&[&[f32]], Option<&[f32]>),
    (before, labels): (&[usize], usize),
    place: usize,
    [train, held]: [&[u32]; 2],
    seed: u64,
    engine: &CpuEngine,
) -> Result<Density, LearnError> {
    let value = |row: &u32| columns[place][*row as usize];
    let range = Range::of(&condition.names[place], train.iter().map(value));
    if let Some((value, share)) = peak(&range, train.iter().map(value)) {
        log::warn!(
            "condition '{}' is {value} in {:.0} % of the images: only the smallest value may be that common, others are drawn spread over their surroundings",
            range.name,
            100.0 * share
        );
    }
    let given: Vec<String> = before.iter().map(|i| condition.names[*i].clone()).collect();
    let mut network = Density::model(
        &range,
        ConditionConfig {
            total: None,
            log: condition.log_among(&given),
            names: given,
            mean: before.iter().map(|i| condition.mean[*i]).collect(),
            scale: before.iter().map(|i| condition.scale[*i]).collect(),
        },
    )?;
    let mut held: Vec<u32> = (held.iter().copied())
        .filter(|row| range.contains(value(row)))
        .collect();
    // Rows that weigh nothing judge nothing.
    let weight = |row: &u32| weights.map_or(1.0, |w| f64::from(w[*row as usize]));
    if held.iter().map(weight).sum::<f64>() <= 0.0 {
        held.clear();
    }
    let mut images = SparseImages::new(1, 1).unwrap_or_default();
    let mut log_factors = Vec::with_capacity(train.len() + held.len());
    let mut given = Vec::with_capacity(before.len() * (train.len() + held.len()));
    for row in train.iter().chain(&held) {
        let pixel = range.pixel(value(row));
        images.push((pixel > 0.0).then_some((0, pixel)));
        log_factors.push(range.log_factor(value(row)));
        given.extend(
            before
                .iter()
                .map(|i| condition.standardise(*i, columns[*i][*row as usize])),
        );
    }
    let (learnt, judged) = (train.len() as u32, (train.len() + held.len()) as u32);
    let rows: Vec<u32> = (0..learnt).collect();
    let validation: Vec<u32> = match held.is_empty() {
        true => rows.clone(),
        false => (learnt..judged).collect(),
    };
    let statistics = Statistics::of(&images, &rows);
    network.initialise(seed, &statistics, 0.0);
    let given_numbers = before.len() > labels;
    let (steps, patience) = match given_numbers {
        true => (STEPS_GIVEN_NUMBERS, usize::MAX),
        false => (STEPS, PATIENCE),
    };
    if given_numbers {
        smooth_levels(&mut network, &images, learnt as usize);
    }
    let data = Arc::new(ConditionedImages {
        images,
        conditions: Conditions::new(before.len(), given),
    });
    let mut trainer = engine.trainer(&network, data)?;
    let weights = weights.map(|all| -> Vec<f32> {
        let rows = train.iter().chain(&held);
        rows.map(|row| all[*row as usize]).collect()
    });
    if let Some(weights) = &weights {
        trainer.weigh(weights)?;
    }
    // Mean of a value of each row that judges.
    let mean = |values: &mut dyn Iterator<Item = f64>| match &weights {
        None => values.sum::<f64>() / validation.len() as f64,
        Some(weights) => {
            let weight = |row: &u32| f64::from(weights[*row as usize]);
            let sum: f64 = validation
                .iter()
                .map(weight)
                .zip(values)
                .map(|(w, v)| w * v)
                .sum();
            sum / validation.iter().map(weight).sum::<f64>()
        }
    };
    let plan = TrainConfig {
        epochs: (steps / rows.len().div_ceil(BATCH)).clamp(PASSES.0, PASSES.1),
        learning_rate: 5e-3,
        schedule: Schedule::Cosine,
        ..TrainConfig::default()
    };
    let (mut best, mut best_epoch) = (f64::INFINITY, 0);
    for epoch in 0..plan.epochs {
        // Few images are soon learnt by heart.
        if epoch - best_epoch > patience {
            break;
        }
        let rates = Rates {
            learning_rate: plan.learning_rate_at(epoch),
            weight_decay: 0.0,
        };
        let order = random::permutation(seed, Purpose::Shuffle, epoch as u32, rows.len());
        trainer.steps(&order, BATCH, rates)?;
        let nll = mean(&mut trainer.nll(&validation)?.into_iter());
        if nll < best {
            (best, best_epoch) = (nll, epoch);
            network.parameters = trainer.state()?.parameters;
        }
    }
    if !best.is_finite() {
        return Err(LearnError::Diverged { name: range.name });
    }
    Ok(Density {
        nll: best - mean(&mut validation.iter().map(|i| log_factors[*i as usize])),
        range,
        model: network,
    })
}

/// Let the map from latents to levels start from waves along the pieces rather than from chance: pieces that lie side by side
/// then answer alike to what is given, and the outermost ones, too rare to learn that by themselves, are as improbable far
/// from where they occur as their neighbours.
fn smooth_levels(network: &mut Sarm, images: &SparseImages, learnt: usize) {
    let Some(place) = (network.tensors.iter()).position(|t| t.tensor == StageTensor::LevelsWeight)
    else {
        return;
    };
    let (pieces, latents) = (
        network.tensors[place].rows(),
        network.tensors[place].columns(),
    );
    let mut images_of = vec![0usize; pieces];
    for row in 0..learnt {
        // Pixel 0, the smallest value itself, is no level.
        let piece = (images.image(row).1.first()).map_or(0, |pixel| *pixel as usize);
        if let Some(n) = piece.checked_sub(1).and_then(|i| images_of.get_mut(i)) {
            *n += 1;
        }
    }
    let all = images_of.iter().sum::<usize>().max(1) as f64;
    let mut below = 0.0;
    let rows = network.parameters[place].chunks_mut(latents.max(1));
    for (row, n) in rows.zip(images_of) {
        let middle = (below + 0.5 * n as f64) / all;
        below += n as f64;
        for (i, weight) in row.iter_mut().enumerate() {
            let height = wave((i + 1) as f64 * middle);
            *weight = ((2.0 / latents as f64).sqrt() * height) as f32;
        }
    }
}

/// cos(pi x) to 0.002, the same bits on every machine: Bhaskara's fraction.
fn wave(x: f64) -> f64 {
    // How far it is to the next even number, 0 to 1; from 1/2 on the wave is below 0.
    let off = (x - 2.0 * (x / 2.0).round()).abs();
    let (sign, y) = match off <= 0.5 {
        true => (1.0, off),
        false => (-1.0, 1.0 - off),
    };
    sign * (1.0 - 4.0 * y * y) / (1.0 + y * y)
}

/// A value that is neither the smallest one nor a whole number and that many of `values` share, and their fraction.
fn peak(range: &Range, values: impl Iterator<Item = f32>) -> Option<(f32, f64)> {
    let mut values: Vec<f32> = values.collect();
    values.sort_unstable_by(f32::total_cmp);
    let most = (values.chunk_by(|a, b| a == b))
        .filter(|same| !range.whole && same[0] > range.ends()[0])
        .max_by_key(|same| same.len())?;
    let share = most.len() as f64 / values.len() as f64;
    (share > SHARED).then_some((most[0], share))
}

#[cfg(test)]
mod tests {
    use super::whole;

    #[test]
    fn rare_labels_keep_their_share() {
        assert_eq!(whole(&[7.0, 0.0, 20_000.0]), [7, 0, 20_000]);
        // 10 000 images at weight 1 and as many at 1e-5, brought to 1 on average.
        let [background, signal] = whole(&[19_999.8, 0.199_998])[..] else {
            panic!("two sums make two counts");
        };
        let share = signal as f64 / (signal + background) as f64;
        assert!((share / (0.199_998 / 19_999.999_998) - 1.0).abs() < 1e-3);
        assert_eq!(whole(&[1e20, 1e-20, -1.0])[1..], [1, 0]);
    }
}
