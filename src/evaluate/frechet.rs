//! The Frechet physics distance (FPD; Kansal et al., arXiv 2211.10295), by JetNet's conventions.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::Unavailable;
use super::bounded;
use super::features::Points;
use super::resample::{Random, Use};
use super::weights::Draws;

/// Fewest events on either side.
pub const MIN_EVENTS: usize = 1000;
/// JetNet's sample sizes.
const SIZES: [usize; 2] = [20_000, 50_000];
const POINTS: usize = 10;
const BATCHES: usize = 20;

/// The Frechet distance of two samples, extrapolated to samples without end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fpd {
    /// Intercept of the line through the points in `1 / size`, by least squares.
    pub value: f64,
    /// Its error, from the scatter of the points about the line.
    pub error: f64,
    /// Slope of the fit.
    pub slope: f64,
    /// Sizes of the samples drawn.
    pub sizes: Vec<usize>,
    /// Frechet distance at each size: mean over the batches.
    pub distances: Vec<f64>,
    /// Samples drawn at each size.
    pub batches: usize,
}

/// What JetNet makes of the points of an [`Fpd`].
///
/// Its fit (SciPy's `curve_fit` with bounds, from intercept 1 and slope 1) ends where the gradient is below 1e-8. With 1/size of
/// some 3e-5, the slope's share of it is, for slopes of up to about 10: the fit ends with a slope near 0 and gives the mean of
/// the points instead of their intercept, 1e-4 too large for a slope of 3.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FpdJetnet {
    /// The intercept that the fit ends with.
    pub value: f64,
    /// Its error as SciPy gives it.
    pub error: f64,
    /// The slope that the fit ends with.
    pub slope: f64,
}

impl Fpd {
    /// The number of JetNet's `fpd` from the same points.
    ///
    /// # Errors
    /// A fit that does not end, as SciPy's.
    pub fn jetnet(&self) -> Result<FpdJetnet, Unavailable> {
        let inverse: Vec<f64> = self.sizes.iter().map(|n| 1.0 / *n as f64).collect();
        let fit = bounded::line(&inverse, &self.distances).ok_or(Unavailable::Unfitted)?;
        Ok(FpdJetnet {
            value: fit.intercept,
            error: fit.error,
            slope: fit.slope,
        })
    }
}

/// Mean and covariance of a sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Gaussian {
    /// `[dimensions]`
    pub mean: Vec<f64>,
    /// `[dimensions * dimensions]`, divided by n - 1.
    pub covariance: Vec<f64>,
}

/// FPD of `generated` from `truth`.
///
/// Features are divided by the truth's largest absolute values. At each of 10 sizes, regular in
/// 1/size from 20 000 to 50 000, 20 pairs of samples are drawn with replacement; a line is fitted
/// through the mean distances as a function of 1/size, with intercept and slope of at least 0.
/// With fewer than 50 000 events on a side the sizes end at that number, and start at two fifths
/// of it. Weighted events are drawn in proportion to their weights, and the effective number of events counts.
pub(super) fn fpd(
    truth: &Points,
    generated: &Points,
    seed: u64,
    stream: u32,
    usage: Use,
) -> Result<Fpd, Unavailable> {
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
    let last = SIZES[1].min(least);
    let first = SIZES[0].min(last * SIZES[0] / SIZES[1]);
    // As numpy's linspace, down to the rounding that decides about a size.
    let (from, to) = (1.0 / first as f64, 1.0 / last as f64);
    let step = (to - from) / (POINTS - 1) as f64;
    let sizes: Vec<usize> = (0..POINTS)
        .map(|k| {
            if k + 1 < POINTS {
                from + k as f64 * step
            } else {
                to
            }
        })
        .map(|inverse| (1.0 / inverse) as usize)
        .collect();
    let found: Vec<f64> = (0..POINTS * BATCHES)
        .into_par_iter()
        .map(|task| {
            let size = sizes[task / BATCHES];
            let mut random = Random::new(seed, stream, usage, task);
            let [a, b] = [(&truth, &draws[0]), (&generated, &draws[1])].map(|(side, draws)| {
                Gaussian::of((0..size).map(|_| side.row(draws.draw(&mut random))))
            });
            distance(&a, &b)
        })
        .collect();
    let distances: Vec<f64> = (found.chunks(BATCHES))
        .map(|batch| batch.iter().sum::<f64>() / BATCHES as f64)
        .collect();
    let inverse: Vec<f64> = sizes.iter().map(|n| 1.0 / *n as f64).collect();
    let (value, slope, error) = line(&inverse, &distances);
    if !(value.is_finite() && error.is_finite() && slope.is_finite()) {
        return Err(Unavailable::Beyond);
    }
    Ok(Fpd {
        value,
        error,
        slope,
        sizes,
        distances,
        batches: BATCHES,
    })
}

impl Gaussian {
    /// Of points that all have the same length; zeros for fewer than two.
    pub fn of<'a>(points: impl IntoIterator<Item = &'a [f64]>) -> Self {
        let mut points = points.into_iter().peekable();
        // Sums about a point of the sample: no digits are lost to a mean far from 0.
        let origin = points.peek().map_or(Vec::new(), |p| p.to_vec());
        let d = origin.len();
        let (mut n, mut sum, mut products) = (0.0, vec![0.0; d], vec![0.0; d * d]);
        // Blocks of points, by dimension: the loops over them are long and vectorise.
        let mut block = vec![[0.0; BLOCK]; d];
        loop {
            let mut filled = 0;
            for point in points.by_ref().take(BLOCK) {
                for ((column, p), o) in block.iter_mut().zip(point).zip(&origin) {
                    column[filled] = p - o;
                }
                filled += 1;
            }
            if filled == 0 {
                break;
            }
            n += filled as f64;
            for column in &mut block {
                column[filled..].fill(0.0);
            }
            for k in 0..d {
                sum[k] += dot(&block[k], &[1.0; BLOCK]);
                for l in 0..=k {
                    products[k * d + l] += dot(&block[k], &block[l]);
                }
            }
        }
        let mut covariance = vec![0.0; d * d];
        for k in 0..d {
            for l in 0..=k {
                let value = (products[k * d + l] - sum[k] * sum[l] / n) / f64::max(n - 1.0, 1.0);
                covariance[k * d + l] = value;
                covariance[l * d + k] = value;
            }
        }
        let mean = sum.iter().zip(origin).map(|(s, o)| o + s / n).collect();
        Self { mean, covariance }
    }
}

const BLOCK: usize = 32;

fn dot(a: &[f64; BLOCK], b: &[f64; BLOCK]) -> f64 {
    let mut parts = [0.0; 4];
    for at in (0..BLOCK).step_by(4) {
        for (k, part) in parts.iter_mut().enumerate() {
            *part += a[at + k] * b[at + k];
        }
    }
    (parts[0] + parts[2]) + (parts[1] + parts[3])
}

/// `|m_a - m_b|^2 + Tr(C_a + C_b - 2 sqrt(C_a C_b))`, the squared Frechet distance of two normal
/// distributions (Dowson, Landau, J. Multivariate Anal. 12, 450 (1982)).
///
/// The trace of the root is that of `sqrt(sqrt(C_a) C_b sqrt(C_a))`, whose matrices are symmetric, so
/// singular covariances need no special care.
pub fn distance(a: &Gaussian, b: &Gaussian) -> f64 {
    let d = a.mean.len();
    let apart: f64 = (a.mean.iter().zip(&b.mean))
        .map(|(x, y)| (x - y).powi(2))
        .sum();
    let trace = |m: &[f64]| (0..d).map(|k| m[k * d + k]).sum::<f64>();
    let (values, vectors) = eigen(&a.covariance, d);
    // sqrt(C_a) up to a rotation, which the trace does not see: rows sqrt(value) times vector.
    let mut root = vectors;
    for (row, value) in root.chunks_exact_mut(d.max(1)).zip(&values) {
        let factor = value.max(0.0).sqrt();
        row.iter_mut().for_each(|x| *x *= factor);
    }
    let half = product(&root, &b.covariance, d);
    let inner: Vec<f64> = (0..d * d)
        .map(|at| {
            let (i, j) = (at / d, at % d);
            (0..d).map(|k| half[i * d + k] * root[j * d + k]).sum()
        })
        .collect();
    let roots: f64 = (eigen(&inner, d).0.iter())
        .map(|value| value.max(0.0).sqrt())
        .sum();
    apart + trace(&a.covariance) + trace(&b.covariance) - 2.0 * roots
}

fn product(a: &[f64], b: &[f64], d: usize) -> Vec<f64> {
    (0..d * d)
        .map(|at| {
            let (i, j) = (at / d, at % d);
            (0..d).map(|k| a[i * d + k] * b[k * d + j]).sum()
        })
        .collect()
}

/// Eigenvalues and eigenvectors (as rows) of a symmetric `[d * d]` matrix, by Jacobi's rotations.
fn eigen(matrix: &[f64], d: usize) -> (Vec<f64>, Vec<f64>) {
    let mut m = matrix.to_vec();
    let mut vectors: Vec<f64> = (0..d * d)
        .map(|at| if at / d == at % d { 1.0 } else { 0.0 })
        .collect();
    let size: f64 = m.iter().map(|x| x * x).sum();
    // Each sweep squares what is left beside the diagonal; ten are more than ever needed.
    for _ in 0..30 {
        let beside: f64 = (0..d * d)
            .filter(|at| at / d != at % d)
            .map(|at| m[at] * m[at])
            .sum();
        if beside <= 1e-32 * size || !beside.is_finite() {
            break;
        }
        for p in 0..d {
            for q in p + 1..d {
                let off = m[p * d + q];
                if off == 0.0 {
                    continue;
                }
                let theta = (m[q * d + q] - m[p * d + p]) / (2.0 * off);
                let t = theta.signum() / (theta.abs() + theta.hypot(1.0));
                let c = 1.0 / t.hypot(1.0);
                let s = t * c;
                for k in 0..d {
                    let (x, y) = (m[k * d + p], m[k * d + q]);
                    (m[k * d + p], m[k * d + q]) = (c * x - s * y, s * x + c * y);
                }
                for k in 0..d {
                    let (x, y) = (m[p * d + k], m[q * d + k]);
                    (m[p * d + k], m[q * d + k]) = (c * x - s * y, s * x + c * y);
                    let (x, y) = (vectors[p * d + k], vectors[q * d + k]);
                    (vectors[p * d + k], vectors[q * d + k]) = (c * x - s * y, s * x + c * y);
                }
            }
        }
    }
    ((0..d).map(|k| m[k * d + k]).collect(), vectors)
}

/// Intercept, slope and the intercept's error of the least-squares line with intercept and slope of
/// at least 0; at least three points. SciPy's `curve_fit` with those bounds ends there where distances are not small:
/// see [`FpdJetnet`].
pub(super) fn line(x: &[f64], y: &[f64]) -> (f64, f64, f64) {
    let n = x.len() as f64;
    let mean = |v: &[f64]| v.iter().sum::<f64>() / n;
    let (mx, my) = (mean(x), mean(y));
    let sxx: f64 = x.iter().map(|x| (x - mx).powi(2)).sum();
    let sxy: f64 = x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my)).sum();
    let residual = |a: f64, b: f64| -> f64 {
        let errors = x.iter().zip(y).map(|(x, y)| y - a - b * x);
        errors.map(|e| e * e).sum()
    };
    let slope = sxy / sxx;
    let free = (my - slope * mx, slope);
    // Of the lines on the bounds the best one that is allowed.
    let through_zero =
        x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>() / x.iter().map(|x| x * x).sum::<f64>();
    let bounded = [(0.0, through_zero.max(0.0)), (my.max(0.0), 0.0)];
    let (a, b) = if free.0 >= 0.0 && free.1 >= 0.0 {
        free
    } else if residual(bounded[0].0, bounded[0].1) <= residual(bounded[1].0, bounded[1].1) {
        bounded[0]
    } else {
        bounded[1]
    };
    let variance = residual(a, b) / (n - 2.0) * (1.0 / n + mx * mx / sxx);
    (a, b, variance.sqrt())
}
