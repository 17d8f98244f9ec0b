//! The kernel physics distance (KPD; Kansal et al., arXiv 2211.10295), by JetNet's conventions.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::Unavailable;
use super::features::Points;
use super::resample::{Random, Use};

/// Fewest events on either side.
pub const MIN_EVENTS: usize = 100;
/// JetNet's number of batches and their size.
const BATCHES: usize = 10;
const BATCH: usize = 5000;
const DEGREE: usize = 4;
/// Quantiles that are an error apart on either side of the median.
const QUANTILES: [f64; 2] = [0.162_75, 0.837_25];

/// Squared maximum mean discrepancy under a polynomial kernel.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Kpd {
    /// Median over the batches. Unbiased, so it may be below 0.
    pub value: f64,
    /// Half of the range from the 16.275th to the 83.725th percentile of the batches.
    pub error: f64,
    /// Number of batches.
    pub batches: usize,
    /// Events of either side in a batch, drawn with replacement.
    pub batch: usize,
}

/// KPD of `generated` from `truth`.
///
/// Features are divided by the truth's largest absolute values; each of 10 batches draws 5 000
/// events of either side with replacement (no more than the smaller side holds).
pub(super) fn kpd(
    truth: &Points,
    generated: &Points,
    seed: u64,
    stream: u32,
    usage: Use,
) -> Result<Kpd, Unavailable> {
    let least = truth.len().min(generated.len());
    if least < MIN_EVENTS {
        return Err(Unavailable::few(MIN_EVENTS, truth.len(), generated.len()));
    }
    let [truth, generated] = truth.rescaled(generated, &truth.jetnet_scale()?);
    let batch = BATCH.min(least);
    let map = Map::new(truth.dimensions());
    let mut found: Vec<f64> = (0..BATCHES)
        .into_par_iter()
        .map(|task| {
            let mut random = Random::new(seed, stream, usage, task);
            let [a, b] = [&truth, &generated]
                .map(|side| map.sums((0..batch).map(|_| side.row(random.below(side.len())))));
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
    count: f64,
    /// `[monomials]`
    monomials: Vec<f64>,
    /// Sum of the kernels of points with themselves.
    selves: f64,
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
        let mut out = Sums {
            count: 0.0,
            monomials: vec![0.0; self.weights.len()],
            selves: 0.0,
        };
        let mut values = vec![1.0; self.weights.len()];
        for point in points {
            for (k, (parent, factor)) in self.steps.iter().enumerate() {
                values[k + 1] = values[*parent as usize] * point[*factor as usize];
            }
            for (sum, value) in out.monomials.iter_mut().zip(&values) {
                *sum += value;
            }
            out.count += 1.0;
            let square: f64 = point.iter().map(|x| x * x).sum();
            out.selves += (square / self.dimensions as f64 + 1.0).powi(DEGREE as i32);
        }
        out
    }

    fn mmd(&self, a: &Sums, b: &Sums) -> f64 {
        let dot = |x: &Sums, y: &Sums| -> f64 {
            (self.weights.iter().zip(&x.monomials).zip(&y.monomials))
                .map(|((w, x), y)| w * x * y)
                .sum()
        };
        let within = |s: &Sums| (dot(s, s) - s.selves) / (s.count * (s.count - 1.0));
        within(a) + within(b) - 2.0 * dot(a, b) / (a.count * b.count)
    }
}

/// NumPy's `percentile`: linear between the neighbouring places of a sorted list.
pub(super) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let place = q * (sorted.len() - 1) as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64)
}
