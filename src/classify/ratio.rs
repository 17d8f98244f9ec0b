//! How much likelier an image is in truth than among generated ones, estimated from its observables.

use super::boosting::{Boosted, Events};
use super::score::{self, Auc};
use crate::numeric;

/// The first of so many parts of a half chooses the number of trees.
const VALIDATES: usize = 7;
/// No event counts more than so many times, or less than one so-manieth.
const MOST: f32 = 5.0;

/// Density ratios of generated events.
#[derive(Debug, Clone, PartialEq)]
pub struct Ratios {
    /// Truth over generated `[events]`, from 1/5 to 5 before they are scaled to a mean of 1.
    pub of_generated: Vec<f32>,
    /// How well the trees tell events apart that they were not fitted to; `None` where they found nothing to tell them by.
    pub auc: Option<Auc>,
}

/// Estimate them with boosted trees from `truth` and `generated` `[columns][events]`, equally many events of both, in random
/// order; true events that are related stand side by side, so that few are on both sides of a cut.
///
/// The trees of either half of the events judge the other half, so that no event's ratio comes from trees that have seen it.
/// A ratio is p / (1 - p), p being the trees' chance that the event is a true one (Cranmer, Pavez and Louppe,
/// arXiv:1506.02169). Values must be finite.
///
/// # Panics
/// Where columns differ in length.
pub fn ratios(truth: &[Vec<f32>], generated: &[Vec<f32>]) -> Ratios {
    let count = generated.first().map_or(0, Vec::len);
    let halves = [0..count / 2, count / 2..count];
    let mut logits = vec![0.0; count];
    let (mut scores, mut labels) = (Vec::new(), Vec::new());
    let mut found = false;
    for (own, other) in [(0, 1), (1, 0)].map(|(a, b)| (&halves[a], &halves[b])) {
        let part = |validates: bool| {
            let first = own.start + own.len() / VALIDATES;
            let rows = match validates {
                true => own.start..first,
                false => first..own.end,
            };
            let of = |column: &Vec<f32>| column[rows.clone()].to_vec();
            Events {
                columns: (generated.iter().zip(truth))
                    .map(|(generated, truth)| [of(generated), of(truth)].concat())
                    .collect(),
                labels: (0..2 * rows.len()).map(|i| i >= rows.len()).collect(),
            }
        };
        let (train, validation) = (part(false), part(true));
        if validation.labels.is_empty() {
            continue;
        }
        let Some(trees) = Boosted::fit(&train, &validation) else {
            continue;
        };
        found = true;
        let judged = |side: &[Vec<f32>]| {
            let columns: Vec<Vec<f32>> = (side.iter().map(|c| c[other.clone()].to_vec())).collect();
            trees.scores(&columns)
        };
        let (of_generated, of_truth) = (judged(generated), judged(truth));
        logits[other.clone()].copy_from_slice(&of_generated);
        labels.extend(std::iter::repeat_n(false, of_generated.len()));
        labels.extend(std::iter::repeat_n(true, of_truth.len()));
        scores.extend(of_generated.into_iter().chain(of_truth));
    }
    let clipped = (logits.iter()).map(|s| numeric::exp(*s).clamp(1.0 / MOST, MOST));
    let mean = clipped.clone().map(f64::from).sum::<f64>() / count.max(1) as f64;
    Ratios {
        of_generated: clipped.map(|w| (f64::from(w) / mean) as f32).collect(),
        auc: if found {
            score::auc(&scores, &labels)
        } else {
            None
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, normal, words};

    /// Normal numbers of mean `mean`, and a column that tells nothing.
    fn columns(count: usize, seed: u64, mean: f64) -> Vec<Vec<f32>> {
        let value = |i: usize, k: u32| normal(words(seed, Purpose::Synthetic, i as u64, k))[0];
        vec![
            (0..count).map(|i| (value(i, 0) + mean) as f32).collect(),
            (0..count).map(|i| value(i, 1) as f32).collect(),
        ]
    }

    #[test]
    fn ratios_are_those_of_the_densities() {
        const COUNT: usize = 20_000;
        let (truth, generated) = (columns(COUNT, 1, 0.5), columns(COUNT, 2, 0.0));
        let found = ratios(&truth, &generated);
        // Of two normal densities half a standard deviation apart: exp(x / 2 - 1 / 8).
        let mut squares = 0.0;
        for (w, x) in found.of_generated.iter().zip(&generated[0]) {
            squares += f64::from(w.ln() - (x / 2.0 - 0.125)).powi(2);
        }
        let error = (squares / COUNT as f64).sqrt();
        // The logarithm itself has a standard deviation of 0.5.
        assert!(error < 0.2, "{error}");
        let mean = found
            .of_generated
            .iter()
            .map(|w| f64::from(*w))
            .sum::<f64>()
            / COUNT as f64;
        assert!((mean - 1.0).abs() < 1e-6, "{mean}");
        // With them, the generated events have the true mean.
        let weighted: f64 = (found.of_generated.iter().zip(&generated[0]))
            .map(|(w, x)| f64::from(w * x))
            .sum();
        // Trees that end early find a little less.
        assert!((weighted / COUNT as f64 - 0.5).abs() < 0.1, "{weighted}");
        // P(x > y) of normal numbers half a standard deviation apart.
        let auc = found.auc.unwrap();
        assert!((auc.value - 0.638).abs() < 0.012, "{auc:?}");
    }

    #[test]
    fn alike_and_few_events_count_once() {
        let same = vec![vec![1.0; 500]];
        let found = ratios(&same, &same);
        assert!(found.auc.is_none() && found.of_generated == [1.0; 500]);
        for count in [0, 1, 3] {
            let few = vec![vec![1.0; count]];
            assert_eq!(ratios(&few, &few).of_generated, vec![1.0; count]);
        }
        let (truth, generated) = (columns(4000, 3, 0.0), columns(4000, 4, 0.0));
        let found = ratios(&truth, &generated);
        let far = (found.of_generated.iter()).filter(|w| (**w - 1.0).abs() > 0.5);
        assert!(far.count() < 40, "{:?}", found.auc);
    }
}
