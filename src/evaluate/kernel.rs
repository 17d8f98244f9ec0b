//! The kernel physics distance (KPD; Kansal et al., arXiv 2211.10295), by JetNet's conventions.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::Unavailable;
use super::features::Points;
use super::resample::{Random, Use, shuffled};
use super::weights::{Draws, weight};

/// Fewest events on either side.
pub const MIN_EVENTS: usize = 100;
/// JetNet's number of batches and their size.
const BATCHES: usize = 10;
const BATCH: usize = 5000;
const DEGREE: usize = 4;
/// Quantiles that are an error apart on either side of the median.
const QUANTILES: [f64; 2] = [0.162_75, 0.837_25];

/// Squared maximum mean discrepancy under a polynomial kernel, as JetNet reports it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Kpd {
    /// Median over the batches. An event that a batch holds twice looks like a near neighbour, so the value lies above that
    /// of the events: [`KpdUnbiased`] does not.
    pub value: f64,
    /// Half of the range from the 16.275th to the 83.725th percentile of the batches.
    pub error: f64,
    /// Number of batches.
    pub batches: usize,
    /// Events of either side in a batch, drawn with replacement.
    pub batch: usize,
}

/// Squared maximum mean discrepancy under the same kernel, of all events and without drawing any twice.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct KpdUnbiased {
    /// By the means of the kernel over all pairs of different events. Unbiased: of truth it is 0 on average, more often a little
    /// below than far above.
    pub value: f64,
    /// By the jackknife over groups of events; about 0, where the distribution is skewed, it is a rough one.
    pub error: f64,
    /// Groups of either side, each left out once.
    pub groups: usize,
}

/// Groups of the jackknife.
const GROUPS: usize = 20;

/// KPD of `generated` from `truth` without replacement; weights of any sign count as they are.
///
/// Features are divided by the truth's largest absolute values. `which`, and the number after it: the orders of the class's
/// stream that make the groups.
pub(super) fn kpd_unbiased(
    truth: &Points,
    generated: &Points,
    seed: u64,
    stream: u32,
    which: u32,
) -> Result<KpdUnbiased, Unavailable> {
    let counts = [truth, generated].map(|side| side.effective() as usize);
    if counts[0].min(counts[1]) < MIN_EVENTS {
        return Err(Unavailable::few(MIN_EVENTS, counts[0], counts[1]));
    }
    let sides = truth.rescaled(generated, &truth.jetnet_scale()?);
    let map = Map::new(truth.dimensions());
    let parts: Vec<Vec<Sums>> = (sides.iter().zip(which..))
        .map(|(side, which)| {
            let order = shuffled(seed, stream, which, side.len());
            (0..GROUPS)
                .into_par_iter()
                .map(|group| {
                    let places = order.iter().skip(group).step_by(GROUPS);
                    let places = places.map(|place| *place as usize);
                    map.weighted(
                        places.map(|place| (side.row(place), weight(side.weights(), place))),
                    )
                })
                .collect()
        })
        .collect();
    // All groups but one, and all of them.
    let without = |side: &[Sums], left: Option<usize>| {
        let mut all = map.sums(std::iter::empty());
        for (_, part) in side.iter().enumerate().filter(|(k, _)| Some(*k) != left) {
            all.add(part);
        }
        all
    };
    let estimate = |left| map.mmd(&without(&parts[0], left), &without(&parts[1], left));
    let value = estimate(None);
    let others: Vec<f64> = (0..GROUPS).map(|group| estimate(Some(group))).collect();
    let mean = others.iter().sum::<f64>() / GROUPS as f64;
    // Scaled, so that squares of the largest numbers stay in f64.
    let most = others
        .iter()
        .fold(0.0, |most: f64, v| most.max((v - mean).abs()));
    let scale = if most > 0.0 { most } else { 1.0 };
    let spread: f64 = others.iter().map(|v| ((v - mean) / scale).powi(2)).sum();
    let error = scale * (spread * (GROUPS - 1) as f64 / GROUPS as f64).sqrt();
    if !(value.is_finite() && error.is_finite()) {
        return Err(Unavailable::Beyond);
    }
    Ok(KpdUnbiased {
        value,
        error,
        groups: GROUPS,
    })
}

/// KPD of `generated` from `truth`.
///
/// Features are divided by the truth's largest absolute values; each of 10 batches draws 5 000
/// events of either side with replacement (no more than the smaller side holds). Weighted events are drawn in proportion
/// to their weights, and the effective number of events counts.
pub(super) fn kpd(
    truth: &Points,
    generated: &Points,
    seed: u64,
    stream: u32,
    usage: Use,
) -> Result<Kpd, Unavailable> {
    let draws = [
        Draws::new(truth.len(), truth.weights())?,
        Draws::new(generated.len(), generated.weights())?,
    ];
    let counts = [truth, generated].map(|side| side.effective() as usize);
    let least = counts[0].min(counts[1]);
    if least < MIN_EVENTS {
        return Err(Unavailable::few(MIN_EVENTS, counts[0], counts[1]));
    }
    let [truth, generated] = truth.rescaled(generated, &truth.jetnet_scale()?);
    let batch = BATCH.min(least);
    let map = Map::new(truth.dimensions());
    let mut found: Vec<f64> = (0..BATCHES)
        .into_par_iter()
        .map(|task| {
            let mut random = Random::new(seed, stream, usage, task);
            let [a, b] = [(&truth, &draws[0]), (&generated, &draws[1])].map(|(side, draws)| {
                map.sums((0..batch).map(|_| side.row(draws.draw(&mut random))))
            });
            map.mmd(&a, &b)
        })
        .collect();
    if found.iter().any(|v| !v.is_finite()) {
        return Err(Unavailable::Beyond);
    }
    found.sort_unstable_by(f64::total_cmp);
    let [low, high] = QUANTILES.map(|q| quantile(&found, q));
    Ok(Kpd {
        value: quantile(&found, 0.5),
        error: (high - low) / 2.0,
        batches: BATCHES,
        batch,
    })
}

/// Unbiased estimate of the squared maximum mean discrepancy of two samples of at least two points
/// under the kernel `(x.y / d + 1)^4`.
#[cfg(test)]
pub(super) fn mmd(a: &Points, b: &Points) -> f64 {
    let map = Map::new(a.dimensions());
    let [a, b] = [a, b].map(|side| map.sums((0..side.len()).map(|i| side.row(i))));
    map.mmd(&a, &b)
}

/// The kernel as a scalar product: `(x.y / d + 1)^4` is a sum over all monomials of degree up to 4 of
/// a weight times the monomial of x times that of y. Sums over pairs of points so are products of
/// sums over points: N times 715 multiplications for 9 features in place of N^2 kernels.
struct Map {
    dimensions: usize,
    /// Each monomial but the first, which is 1: the one it comes from and the factor.
    steps: Vec<(u32, u32)>,
    /// `[steps + 1]`
    weights: Vec<f64>,
}

/// Sums over a sample.
struct Sums {
    /// Of the weights and of their squares: both are the number of points where all weigh 1.
    total: f64,
    squares: f64,
    /// `[monomials]`, times the weight.
    monomials: Vec<f64>,
    /// Sum of the kernels of points with themselves, times the square of the weight.
    selves: f64,
}

impl Sums {
    fn add(&mut self, other: &Self) {
        self.total += other.total;
        self.squares += other.squares;
        self.selves += other.selves;
        for (sum, more) in self.monomials.iter_mut().zip(&other.monomials) {
            *sum += more;
        }
    }
}

impl Map {
    fn new(dimensions: usize) -> Self {
        // A monomial: its place, degree, last factor, how often that is in it, and the number of
        // orders in which its factors can be multiplied.
        let mut steps = Vec::new();
        let gamma = 1.0 / dimensions as f64;
        let choose = [4.0, 6.0, 4.0, 1.0];
        let mut weights = vec![1.0];
        let mut layer = vec![(0u32, 0usize, 0usize, 1.0f64)];
        for (choose, degree) in choose.into_iter().zip(1..=DEGREE) {
            let mut next = Vec::new();
            for (parent, last, often, orders) in layer {
                for factor in last..dimensions {
                    let often = if factor == last { often + 1 } else { 1 };
                    let orders = orders * degree as f64 / often as f64;
                    steps.push((parent, factor as u32));
                    weights.push(choose * gamma.powi(degree as i32) * orders);
                    next.push((steps.len() as u32, factor, often, orders));
                }
            }
            layer = next;
        }
        Self {
            dimensions,
            steps,
            weights,
        }
    }

    fn sums<'a>(&self, points: impl Iterator<Item = &'a [f64]>) -> Sums {
        self.weighted(points.map(|point| (point, 1.0)))
    }

    fn weighted<'a>(&self, points: impl Iterator<Item = (&'a [f64], f64)>) -> Sums {
        let mut out = Sums {
            total: 0.0,
            squares: 0.0,
            monomials: vec![0.0; self.weights.len()],
            selves: 0.0,
        };
        let mut values = vec![1.0; self.weights.len()];
        for (point, weight) in points {
            for (k, (parent, factor)) in self.steps.iter().enumerate() {
                values[k + 1] = values[*parent as usize] * point[*factor as usize];
            }
            for (sum, value) in out.monomials.iter_mut().zip(&values) {
                *sum += weight * value;
            }
            out.total += weight;
            out.squares += weight * weight;
            let square: f64 = point.iter().map(|x| x * x).sum();
            let kernel = (square / self.dimensions as f64 + 1.0).powi(DEGREE as i32);
            out.selves += weight * weight * kernel;
        }
        out
    }

    fn mmd(&self, a: &Sums, b: &Sums) -> f64 {
        let dot = |x: &Sums, y: &Sums| -> f64 {
            (self.weights.iter().zip(&x.monomials).zip(&y.monomials))
                .map(|((w, x), y)| w * x * y)
                .sum()
        };
        let within = |s: &Sums| (dot(s, s) - s.selves) / (s.total * s.total - s.squares);
        within(a) + within(b) - 2.0 * dot(a, b) / (a.total * b.total)
    }
}

/// NumPy's `percentile`: linear between the neighbouring places of a sorted list.
pub(super) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let place = q * (sorted.len() - 1) as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64)
}
