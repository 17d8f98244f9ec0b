//! How images end: what the training images say of the pixel that takes all that is left, and of gates that open, by how
//! much is left.
//!
//! Whether a soft pixel is the last one hardly depends on where it lies, and few images have such pixels. So what all of them
//! say together is where the weights of each pixel start.

use super::{Left, Sarm};
use crate::data::SparseImages;

/// Images that are looked at.
const MEASURED: usize = 1 << 12;
/// Of Newton's method.
const STEPS: usize = 20;
/// Images' worth of no opinion, which keeps slopes finite where a rule has no exception.
const PRIOR: f64 = 2.0;

/// ln of the odds, as a sum of a constant, a multiple of what is left over the mean total, and one of its scaled logarithm
/// ([`Left::functions`]: the first two).
pub(super) type LogOdds = [f64; 3];

/// Of all pixels together.
#[derive(Debug, Clone)]
pub(super) struct Endings {
    /// That a positive pixel takes all that is left.
    pub takes_all: LogOdds,
    /// That a gate stays shut, added to those of its pixel being zero.
    pub stays_shut: LogOdds,
}

/// A pixel that came when something was left.
struct Case {
    known: LogOdds,
    /// ln of the odds that are there before.
    offset: f64,
    happened: bool,
}

impl Endings {
    /// Of the images `rows`; `log_odds_of_zero` of each pixel. None where `model` is not shown what is left.
    pub fn of(
        model: &Sarm,
        images: &SparseImages,
        rows: &[u32],
        log_odds_of_zero: impl Fn(usize) -> f64,
    ) -> Option<Self> {
        let left = model.left()?;
        let order = model.order.concat();
        let (mut positive, mut gates) = (Vec::new(), Vec::new());
        let mut image = vec![0.0f32; order.len()];
        // From all parts of the data, which may be sorted.
        for row in rows.iter().step_by(rows.len().div_ceil(MEASURED).max(1)) {
            let (pixels, values) = images.image(*row as usize);
            for (pixel, x) in pixels.iter().zip(values) {
                image[usize::from(*pixel)] = *x;
            }
            // From the last pixel on, whose sums lose nothing to rounding.
            let mut remaining = 0.0f64;
            for pixel in order.iter().rev() {
                let x = std::mem::take(&mut image[usize::from(*pixel)]);
                let last = remaining == 0.0;
                remaining += f64::from(x);
                if remaining == 0.0 {
                    continue;
                }
                let known = known(left, remaining);
                gates.push(Case {
                    known,
                    offset: log_odds_of_zero(usize::from(*pixel)),
                    happened: x == 0.0,
                });
                if x > 0.0 {
                    positive.push(Case {
                        known,
                        offset: 0.0,
                        happened: last,
                    });
                }
            }
        }
        Some(Self {
            takes_all: logistic(&positive),
            stays_shut: logistic(&gates),
        })
    }
}

fn known(left: Left, remaining: f64) -> LogOdds {
    let functions = left.functions(left.place::<f64>(remaining as f32));
    // A function that the model does not have stays out of the sum.
    let has = |term: usize| {
        if term < left.terms {
            functions[term]
        } else {
            0.0
        }
    };
    [1.0, has(0), has(1)]
}

/// The most likely log odds (logistic regression), by Newton's method.
fn logistic(cases: &[Case]) -> LogOdds {
    let mut odds = [0.0; 3];
    for _ in 0..STEPS {
        // Second derivatives, the first behind them.
        let mut equations = vec![vec![0.0; 4]; 3];
        for (i, equation) in equations.iter_mut().enumerate() {
            equation[i] = PRIOR;
            equation[3] = -PRIOR * odds[i];
        }
        for case in cases {
            let sum: f64 = odds.iter().zip(case.known).map(|(a, b)| a * b).sum();
            let p = 1.0 / (1.0 + (-(sum + case.offset)).exp());
            let slope = f64::from(u8::from(case.happened)) - p;
            for (i, equation) in equations.iter_mut().enumerate() {
                for (e, b) in equation.iter_mut().zip(case.known) {
                    *e += p * (1.0 - p) * case.known[i] * b;
                }
                equation[3] += slope * case.known[i];
            }
        }
        let steps = crate::numeric::solve::<1>(equations);
        // From far away whole steps may overshoot.
        for (o, [step]) in odds.iter_mut().zip(steps) {
            *o += step.clamp(-4.0, 4.0);
        }
    }
    odds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, unit, words};

    #[test]
    fn odds_are_found_again() {
        let truth = [0.7, -2.0, -5.0];
        let cases: Vec<Case> = (0..100_000u64)
            .map(|i| {
                let w = words(3, Purpose::Synthetic, i, 0);
                let at = |k: usize| f64::from(unit(w[k]));
                let known = [1.0, at(0), 2.0 * at(1) - 1.0];
                let offset = at(2) - 0.5;
                let sum: f64 = truth.iter().zip(known).map(|(a, b)| a * b).sum();
                Case {
                    known,
                    offset,
                    happened: f64::from(unit(w[3])) < 1.0 / (1.0 + (-(sum + offset)).exp()),
                }
            })
            .collect();
        for (found, truth) in logistic(&cases).iter().zip(truth) {
            assert!((found - truth).abs() < 0.1, "{found}, not {truth}");
        }
        // A rule without an exception, and no case at all.
        let always: Vec<Case> = (cases.into_iter())
            .map(|c| Case {
                happened: true,
                ..c
            })
            .collect();
        assert!(logistic(&always).iter().all(|o| o.is_finite()));
        assert_eq!(logistic(&[]), [0.0; 3]);
    }
}
