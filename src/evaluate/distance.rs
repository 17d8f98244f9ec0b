//! The one-dimensional Wasserstein distance, its bootstrap error and its truth-against-truth floor.
//!
//! `W1 = integral |F_a(x) - F_b(x)| dx` of the two empirical distribution functions: exact, for
//! samples of any sizes, in the unit of the observable; the value of SciPy's
//! `wasserstein_distance`.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::resample::{Random, Use, moments};

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
    Some(Merged::new(a, b)?.plain())
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
    let merged = Merged::new(truth, generated)?;
    let enough = truth.len() >= 2 && generated.len() >= 2;
    let seed = resampling.seed;
    Some(Distance {
        w1: merged.plain(),
        error: (enough && resampling.bootstrap >= 2).then(|| {
            let sizes = [truth.len(), generated.len()];
            moments(&merged.drawn(resampling.bootstrap, sizes, seed, stream, Use::Error)).1
        }),
        floor: (enough && resampling.splits >= 1)
            .then(|| floor(truth, generated.len(), resampling.splits, seed, stream)),
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
const JETNET: (usize, usize) = (5, 50_000);

/// W1 of `b` from `a` as JetNet reports it; `None` as in [`w1`].
pub(super) fn jetnet(a: &[f32], b: &[f32], seed: u64, stream: u32, usage: Use) -> Option<Batched> {
    let (batches, batch) = JETNET;
    let found = Merged::new(a, b)?.drawn(batches, [batch; 2], seed, stream, usage);
    let mean = found.iter().sum::<f64>() / batches as f64;
    let squares: f64 = found.iter().map(|w| (w - mean).powi(2)).sum();
    Some(Batched {
        mean,
        std: (squares / batches as f64).sqrt(),
        batches,
        batch,
    })
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
}

impl Merged {
    fn new(a: &[f32], b: &[f32]) -> Option<Self> {
        let (n, m) = (a.len(), b.len());
        u32::try_from(n + m).ok()?;
        if n == 0 || m == 0 || !a.iter().chain(b).all(|x| x.is_finite()) {
            return None;
        }
        let (a, b) = (sorted(a), sorted(b));
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
        Some(Self { n, m, order, gap })
    }

    fn plain(&self) -> f64 {
        self.weighted(&vec![1; self.n + self.m], [self.n, self.m])
    }

    /// W1 when event `k` is there `counts[k]` times; `totals` are the sums of the counts of
    /// either sample.
    ///
    /// The difference of the distribution functions is kept as a whole number of `1 / (n m)`, so
    /// equal samples are at exactly 0.
    fn weighted(&self, counts: &[u32], totals: [usize; 2]) -> f64 {
        let [n, m] = totals.map(|total| total as i64);
        let (mut difference, mut sum) = (0i64, 0.0f64);
        for (&event, gap) in self.order.iter().zip(&self.gap) {
            let weight = if (event as usize) < self.n { m } else { -n };
            difference += weight * i64::from(counts[event as usize]);
            sum += difference.unsigned_abs() as f64 * gap;
        }
        sum / (n as f64 * m as f64)
    }

    /// W1 of `replicas` pairs of samples of these sizes, drawn with replacement.
    fn drawn(
        &self,
        replicas: usize,
        sizes: [usize; 2],
        seed: u64,
        stream: u32,
        usage: Use,
    ) -> Vec<f64> {
        (0..replicas)
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
                    self.weighted(counts, sizes)
                },
            )
            .collect()
    }
}

fn sorted(values: &[f32]) -> Vec<f32> {
    let mut values = values.to_vec();
    values.par_sort_unstable_by(f32::total_cmp);
    values
}

/// See [`Floor`].
fn floor(truth: &[f32], generated: usize, splits: usize, seed: u64, stream: u32) -> Floor {
    let total = truth.len();
    let second = generated.min(total / 2);
    let first = total - second;
    let values = sorted(truth);
    let inverse = |n: usize| 1.0 / n as f64;
    let scale = ((inverse(total) + inverse(generated)) / (inverse(first) + inverse(second))).sqrt();
    let distances: Vec<f64> = (0..splits)
        .into_par_iter()
        .map(|split| {
            // The first `second` places of a shuffle are a random subset.
            let mut random = Random::new(seed, stream, Use::Floor, split);
            let mut ranks: Vec<u32> = (0..total as u32).collect();
            let mut chosen = vec![false; total];
            for k in 0..second {
                ranks.swap(k, k + random.below(total - k));
                chosen[ranks[k] as usize] = true;
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
            scale * sum / (first as f64 * second as f64)
        })
        .collect();
    let (mean, std) = moments(&distances);
    Floor {
        mean,
        std,
        sizes: [first, second],
        scale,
    }
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
