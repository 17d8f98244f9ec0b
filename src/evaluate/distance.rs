//! The one-dimensional Wasserstein distance, its bootstrap error and its truth-against-truth floor.
//!
//! `W1 = integral |F_a(x) - F_b(x)| dx` of the two empirical distribution functions: exact, for
//! samples of any sizes, in the unit of the observable; the value of SciPy's
//! `wasserstein_distance`.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::resample::{Random, Use, moments};
use super::weights::Sample;

/// How often to resample, and from which seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resampling {
    /// Bootstrap replicas behind an error; below 2 there is no error.
    pub bootstrap: usize,
    /// Random splits of the truth behind a floor; 0: no floor.
    pub splits: usize,
    /// Seed; equal seeds give equal errors and floors, whatever the number of threads.
    pub seed: u64,
}

impl Default for Resampling {
    fn default() -> Self {
        Self {
            bootstrap: 200,
            splits: 50,
            seed: 0,
        }
    }
}

/// A distance with what is needed to judge it; all in the unit of the observable.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Distance {
    /// W1 of truth and generated.
    pub w1: f64,
    /// Standard deviation of W1 over bootstrap replicas (both samples drawn anew with
    /// replacement, at their own sizes).
    pub error: Option<f64>,
    /// What W1 would be if the generated sample were truth.
    pub floor: Option<Floor>,
}

/// W1 of truth against itself at the sizes of the comparison.
///
/// Truth is split at random in two disjoint parts, the second of
/// `min(generated, truth / 2)` events, the first of all others. The expectation of
/// `|F_a - F_b|` goes as `sqrt(1/n_a + 1/n_b)` at every x, so the W1 of the parts is scaled by
/// `sqrt((1/truth + 1/generated) / (1/n_a + 1/n_b))` to the sizes that were compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Floor {
    /// Mean over the splits.
    pub mean: f64,
    /// Standard deviation over the splits: how far a perfect sample's W1 may stray from the mean.
    pub std: f64,
    /// Sizes of the two parts.
    pub sizes: [usize; 2],
    /// The scale applied.
    pub scale: f64,
}

/// W1 of two samples; `None` when one is empty or holds a number that is not finite.
pub fn w1(a: &[f32], b: &[f32]) -> Option<f64> {
    Merged::new(a.into(), b.into())?.plain()
}

/// W1 of `generated` from `truth` with error and floor.
///
/// `stream` keeps the random numbers of different observables apart. The error and the floor are
/// absent where a sample has fewer than two events. `None` as in [`w1`].
pub fn distance(
    truth: &[f32],
    generated: &[f32],
    resampling: &Resampling,
    stream: u32,
) -> Option<Distance> {
    between(truth.into(), generated.into(), resampling, stream)
}

/// [`distance`] of weighted samples; `None` also where the weights of a side do not add up to more than 0.
///
/// A bootstrap replica takes the weights of its events along. The floor is that of as many effective
/// events, `(sum w)^2 / sum w^2`, as either side has.
pub(super) fn between(
    truth: Sample<'_>,
    generated: Sample<'_>,
    resampling: &Resampling,
    stream: u32,
) -> Option<Distance> {
    let merged = Merged::new(truth, generated)?;
    let enough = truth.len() >= 2 && generated.len() >= 2;
    let seed = resampling.seed;
    Some(Distance {
        w1: merged.plain()?,
        error: (enough && resampling.bootstrap >= 2)
            .then(|| {
                let sizes = [truth.len(), generated.len()];
                merged.drawn(resampling.bootstrap, sizes, seed, stream, Use::Error)
            })
            .filter(|found| found.len() >= 2)
            .map(|found| moments(&found).1),
        floor: (enough && resampling.splits >= 1)
            .then(|| floor(truth, generated, resampling.splits, seed, stream))
            .flatten(),
    })
}

/// W1 as JetNet's `w1m` and `w1p` report it (arXiv 2106.11535): mean and standard deviation
/// (divided by the number of batches) over batches drawn with replacement from either side.
///
/// A batch has its own noise beside the samples', so the mean lies above W1 of the samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Batched {
    /// Mean over the batches, in the unit of the observable.
    pub mean: f64,
    /// Standard deviation over the batches.
    pub std: f64,
    /// Number of batches.
    pub batches: usize,
    /// Events of either side in a batch.
    pub batch: usize,
}

/// JetNet's number of batches and their size.
pub(super) const JETNET: (usize, usize) = (5, 50_000);

/// W1 of `b` from `a` as JetNet reports it; `None` as in [`between`]. Events are drawn evenly and take their weights along.
pub(super) fn jetnet(
    a: Sample<'_>,
    b: Sample<'_>,
    seed: u64,
    stream: u32,
    usage: Use,
) -> Option<Batched> {
    let (batches, batch) = JETNET;
    Batched::of(&Merged::new(a, b)?.drawn(batches, [batch; 2], seed, stream, usage))
}

impl Batched {
    /// Of the distances of all batches; `None` where some are missing.
    pub(super) fn of(found: &[f64]) -> Option<Self> {
        let (batches, batch) = JETNET;
        if found.len() < batches {
            return None;
        }
        let mean = found.iter().sum::<f64>() / batches as f64;
        let squares: f64 = found.iter().map(|w| (w - mean).powi(2)).sum();
        Some(Self {
            mean,
            std: (squares / batches as f64).sqrt(),
            batches,
            batch,
        })
    }
}

/// Two disjoint parts of the truth, and what takes their distance to the sizes that are compared.
pub(super) struct Split {
    pub(super) sizes: [usize; 2],
    pub(super) scale: f64,
}

impl Split {
    /// Of `total` true events; `effective` are the effective numbers of true and generated ones.
    pub(super) fn new(total: usize, effective: [f64; 2]) -> Self {
        // Parts of the truth have effective events in proportion to their events.
        let dilution = total as f64 / effective[0];
        let wanted = (effective[1] * dilution).round() as usize;
        let second = wanted.clamp(1, (total / 2).max(1));
        Self::of([total - second, second], effective)
    }

    /// Of parts of these sizes.
    pub(super) fn of(sizes: [usize; 2], effective: [f64; 2]) -> Self {
        let dilution = (sizes[0] + sizes[1]) as f64 / effective[0];
        let inverse = |n: usize| 1.0 / n as f64;
        let compared = 1.0 / effective[0] + 1.0 / effective[1];
        let parts = (inverse(sizes[0]) + inverse(sizes[1])) * dilution;
        Self {
            sizes,
            scale: (compared / parts).sqrt(),
        }
    }

    /// The floor that these distances, scaled already, are; `None` of none.
    pub(super) fn floor(&self, distances: &[f64]) -> Option<Floor> {
        if distances.is_empty() {
            return None;
        }
        let (mean, std) = moments(distances);
        Some(Floor {
            mean,
            std,
            sizes: self.sizes,
            scale: self.scale,
        })
    }
}

/// Both samples in one ascending list.
struct Merged {
    /// Sample sizes.
    n: usize,
    m: usize,
    /// At each place of the list whose event is there: below `n` of the first sample (by rank),
    /// from `n` on of the second.
    order: Vec<u32>,
    /// Distance to the next place.
    gap: Vec<f64>,
    /// Weight of each event, by its number in `order`; `None` where all are 1.
    weights: Option<Vec<f64>>,
}

impl Merged {
    fn new(a: Sample<'_>, b: Sample<'_>) -> Option<Self> {
        let (n, m) = (a.len(), b.len());
        u32::try_from(n + m).ok()?;
        let mut both = a.values.iter().chain(b.values);
        if n == 0 || m == 0 || !both.all(|x| x.is_finite()) {
            return None;
        }
        let weighted = a.weights.is_some() || b.weights.is_some();
        let ((a, u), (b, v)) = (sorted(a), sorted(b));
        let (mut order, mut values) = (Vec::with_capacity(n + m), Vec::with_capacity(n + m));
        let (mut i, mut j) = (0, 0);
        while i < n || j < m {
            if j == m || (i < n && a[i] <= b[j]) {
                order.push(i as u32);
                values.push(f64::from(a[i]));
                i += 1;
            } else {
                order.push((n + j) as u32);
                values.push(f64::from(b[j]));
                j += 1;
            }
        }
        let gap = (values.windows(2).map(|w| w[1] - w[0]))
            .chain([0.0])
            .collect();
        let ones = |weights: Option<Vec<f64>>, count| weights.unwrap_or_else(|| vec![1.0; count]);
        Some(Self {
            n,
            m,
            order,
            gap,
            weights: weighted.then(|| [ones(u, n), ones(v, m)].concat()),
        })
    }

    fn plain(&self) -> Option<f64> {
        self.counted(&vec![1; self.n + self.m], [self.n, self.m])
    }

    /// W1 when event `k` is there `counts[k]` times; `totals` are the sums of the counts of
    /// either sample. `None` where the weights of a side do not add up to more than 0.
    ///
    /// Without weights the difference of the distribution functions is kept as a whole number of `1 / (n m)`, so
    /// equal samples are at exactly 0.
    fn counted(&self, counts: &[u32], totals: [usize; 2]) -> Option<f64> {
        if let Some(weights) = &self.weights {
            let each = || counts.iter().zip(weights).map(|(c, w)| f64::from(*c) * w);
            let sums = [
                each().take(self.n).sum::<f64>(),
                each().skip(self.n).sum::<f64>(),
            ];
            if !sums.iter().all(|sum| *sum > 0.0) {
                return None;
            }
            let (mut difference, mut sum) = (0.0f64, 0.0f64);
            for (&event, gap) in self.order.iter().zip(&self.gap) {
                let event = event as usize;
                let weight = f64::from(counts[event]) * weights[event];
                difference += match event < self.n {
                    true => weight / sums[0],
                    false => -weight / sums[1],
                };
                sum += difference.abs() * gap;
            }
            return Some(sum);
        }
        let [n, m] = totals.map(|total| total as i64);
        let (mut difference, mut sum) = (0i64, 0.0f64);
        for (&event, gap) in self.order.iter().zip(&self.gap) {
            let weight = if (event as usize) < self.n { m } else { -n };
            difference += weight * i64::from(counts[event as usize]);
            sum += difference.unsigned_abs() as f64 * gap;
        }
        Some(sum / (n as f64 * m as f64))
    }

    /// W1 of `replicas` pairs of samples of these sizes, drawn with replacement; those whose weights do not add up to more
    /// than 0 are left out.
    fn drawn(
        &self,
        replicas: usize,
        sizes: [usize; 2],
        seed: u64,
        stream: u32,
        usage: Use,
    ) -> Vec<f64> {
        let found: Vec<Option<f64>> = (0..replicas)
            .into_par_iter()
            .map_init(
                || vec![0u32; self.n + self.m],
                |counts, replica| {
                    counts.fill(0);
                    let mut random = Random::new(seed, stream, usage, replica);
                    let (truth, generated) = counts.split_at_mut(self.n);
                    for (side, size) in [truth, generated].into_iter().zip(sizes) {
                        for _ in 0..size {
                            side[random.below(side.len())] += 1;
                        }
                    }
                    self.counted(counts, sizes)
                },
            )
            .collect();
        found.into_iter().flatten().collect()
    }
}

/// Values in ascending order, and the weights that belong to them.
fn sorted(sample: Sample<'_>) -> (Vec<f32>, Option<Vec<f64>>) {
    let Some(weights) = sample.weights else {
        let mut values = sample.values.to_vec();
        values.par_sort_unstable_by(f32::total_cmp);
        return (values, None);
    };
    let mut pairs: Vec<(f32, f32)> = (sample.values.iter().copied())
        .zip(weights.iter().copied())
        .collect();
    // Equal values by their weights: one order of the sums, whatever the threads.
    pairs.par_sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let weights = pairs.iter().map(|p| f64::from(p.1)).collect();
    (pairs.into_iter().map(|p| p.0).collect(), Some(weights))
}

/// See [`Floor`]; `None` where no split leaves either part a positive sum of weights.
fn floor(
    truth: Sample<'_>,
    generated: Sample<'_>,
    splits: usize,
    seed: u64,
    stream: u32,
) -> Option<Floor> {
    let total = truth.len();
    let split = Split::new(total, [truth.effective(), generated.effective()]);
    let ([first, second], scale) = (split.sizes, split.scale);
    let (values, weights) = sorted(truth);
    let distances: Vec<Option<f64>> = (0..splits)
        .into_par_iter()
        .map(|replica| {
            // The first `second` places of a shuffle are a random subset.
            let mut random = Random::new(seed, stream, Use::Floor, replica);
            let mut ranks: Vec<u32> = (0..total as u32).collect();
            let mut chosen = vec![false; total];
            for k in 0..second {
                ranks.swap(k, k + random.below(total - k));
                chosen[ranks[k] as usize] = true;
            }
            if let Some(weights) = &weights {
                return Some(scale * split_weighted(&values, weights, &chosen)?);
            }
            let (mut difference, mut sum) = (0i64, 0.0f64);
            for (k, pair) in values.windows(2).enumerate() {
                difference += if chosen[k] {
                    -(first as i64)
                } else {
                    second as i64
                };
                sum += difference.unsigned_abs() as f64 * f64::from(pair[1] - pair[0]);
            }
            Some(scale * sum / (first as f64 * second as f64))
        })
        .collect();
    let distances: Vec<f64> = distances.into_iter().flatten().collect();
    split.floor(&distances)
}

/// W1 of the chosen events from the others, of ascending weighted values; `None` where the weights of one part do not add up
/// to more than 0.
fn split_weighted(values: &[f32], weights: &[f64], chosen: &[bool]) -> Option<f64> {
    let mut sums = [0.0; 2];
    for (weight, chosen) in weights.iter().zip(chosen) {
        sums[usize::from(*chosen)] += weight;
    }
    if !sums.iter().all(|sum| *sum > 0.0) {
        return None;
    }
    let (mut difference, mut sum) = (0.0f64, 0.0f64);
    for (k, pair) in values.windows(2).enumerate() {
        difference += match chosen[k] {
            true => -weights[k] / sums[1],
            false => weights[k] / sums[0],
        };
        sum += difference.abs() * f64::from(pair[1] - pair[0]);
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(serde::Deserialize)]
    struct Case {
        name: String,
        a: Vec<f32>,
        b: Vec<f32>,
        w1: f64,
    }

    #[test]
    fn equals_scipy() {
        let text = include_str!("../../tests/golden/w1.json");
        let cases: Vec<Case> = serde_json::from_str(text).unwrap();
        assert!(cases.len() >= 7);
        for Case { name, a, b, w1 } in cases {
            let got = super::w1(&a, &b).unwrap();
            assert!(
                (got - w1).abs() <= 1e-9 * (1.0 + w1),
                "{name}: {got}, SciPy {w1}"
            );
        }
    }

    fn normal(n: usize, shift: f32, seed: u64) -> Vec<f32> {
        let mut random = Random::new(seed, 9, Use::Error, 0);
        (0..n)
            .map(|_| {
                let sum: usize = (0..12).map(|_| random.below(1 << 20)).sum();
                sum as f32 / (1 << 20) as f32 - 6.0 + shift
            })
            .collect()
    }

    #[test]
    fn impossible_samples_are_refused() {
        assert_eq!(w1(&[], &[1.0]), None);
        assert_eq!(w1(&[1.0], &[f32::NAN]), None);
        assert_eq!(w1(&[f32::INFINITY], &[1.0]), None);
        let one = distance(&[1.0], &[3.0], &Resampling::default(), 0).unwrap();
        assert_eq!((one.w1, one.error, one.floor), (2.0, None, None));
    }

    #[test]
    fn equal_samples_are_at_zero_and_constants_have_no_spread() {
        let a = normal(300, 0.0, 1);
        let mut b = a.clone();
        b.reverse();
        assert_eq!(w1(&a, &b), Some(0.0));
        let flat = distance(&[2.0; 40], &[2.0; 30], &Resampling::default(), 0).unwrap();
        assert_eq!((flat.w1, flat.error), (0.0, Some(0.0)));
        assert_eq!(flat.floor.unwrap().mean, 0.0);
    }

    #[test]
    fn the_error_is_the_spread_over_real_repetitions() {
        // Shifted by half a sigma W1 is the shift, and its error that of a difference of means.
        let (a, b) = (normal(900, 0.0, 3), normal(400, 0.5, 4));
        let got = distance(&a, &b, &Resampling::default(), 0).unwrap();
        let expected = (1.0f64 / 900.0 + 1.0 / 400.0).sqrt();
        assert!(
            (got.error.unwrap() / expected - 1.0).abs() < 0.25,
            "{got:?}"
        );
    }

    #[test]
    fn the_floor_is_what_independent_truth_would_give() {
        let r = Resampling::default();
        for (n, m) in [(1000, 1000), (1000, 200), (300, 2000)] {
            let floor = distance(&normal(n, 0.0, 1), &normal(m, 3.0, 2), &r, 0).unwrap();
            let fresh: Vec<f64> = (0..60)
                .map(|k| w1(&normal(n, 0.0, 100 + k), &normal(m, 0.0, 900 + k)).unwrap())
                .collect();
            let ratio = floor.floor.unwrap().mean / moments(&fresh).0;
            assert!((ratio - 1.0).abs() < 0.3, "{n} against {m}: {ratio}");
        }
    }

    #[test]
    fn resampling_does_not_depend_on_threads() {
        let (a, b) = (normal(500, 0.0, 1), normal(300, 0.1, 2));
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.unwrap()
                .install(|| distance(&a, &b, &Resampling::default(), 7))
        };
        assert_eq!(run(1), run(4));
        let other = distance(
            &a,
            &b,
            &Resampling {
                seed: 1,
                ..Default::default()
            },
            7,
        );
        assert_ne!(run(1).unwrap().error, other.unwrap().error);
    }

    proptest! {
        #[test]
        fn is_a_metric_that_follows_shifts(
            a in proptest::collection::vec(-100f32..100.0, 1..40),
            b in proptest::collection::vec(-100f32..100.0, 1..40),
            c in proptest::collection::vec(-100f32..100.0, 1..40),
        ) {
            let d = |x: &[f32], y: &[f32]| w1(x, y).unwrap();
            prop_assert!((d(&a, &b) - d(&b, &a)).abs() < 1e-9);
            prop_assert!(d(&a, &c) <= d(&a, &b) + d(&b, &c) + 1e-9);
            let shifted: Vec<f32> = a.iter().map(|x| x + 64.0).collect();
            prop_assert!((d(&a, &shifted) - 64.0).abs() < 1e-3);
        }
    }
}
