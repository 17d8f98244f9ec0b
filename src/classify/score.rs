//! How well scores tell two classes apart: ROC curve, its area with an error, the divergence of the classes.
//!
//! Conventions are scikit-learn's: `labels` are true for the positive class, and a larger score means that class.

use serde::{Deserialize, Serialize};

/// Area under the ROC curve and its standard error.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Auc {
    /// Chance that a positive scores above a negative, half of equal scores counted.
    pub value: f64,
    /// Of the finite test sample, by DeLong, DeLong and Clarke-Pearson (1988): it holds for this trained classifier,
    /// another training would give another one. 0 for a class of one event.
    pub error: f64,
}

/// Errors of an AUC above 0.5 that are no chance.
const ERRORS: f64 = 3.0;

impl Auc {
    /// Whether equal samples do not have it by chance: it is above 0.5 by more than three errors.
    pub fn above_chance(self) -> bool {
        self.value - ERRORS * self.error > 0.5 && self.value > 0.5
    }
}

/// Groups of equal scores in ascending order, as numbers of (negatives, positives); the totals with them.
///
/// `None` when a class is empty, the lengths differ or a score is not a number.
fn ranked(scores: &[f32], labels: &[bool]) -> Option<(Vec<Group>, [usize; 2])> {
    let positives = labels.iter().filter(|l| **l).count();
    let negatives = labels.len() - positives;
    let unusable = scores.iter().any(|s| s.is_nan());
    if scores.len() != labels.len() || positives == 0 || negatives == 0 || unusable {
        return None;
    }
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_unstable_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    let mut groups: Vec<Group> = Vec::new();
    for i in order {
        // By `==`, so that both zeros are one score.
        if groups.last().is_none_or(|g| g.score != scores[i]) {
            groups.push(Group {
                score: scores[i],
                count: [0, 0],
            });
        }
        if let Some(group) = groups.last_mut() {
            group.count[usize::from(labels[i])] += 1;
        }
    }
    Some((groups, [negatives, positives]))
}

/// Events of one score.
struct Group {
    score: f32,
    /// Negatives and positives.
    count: [usize; 2],
}

/// Area under the ROC curve: the value of scikit-learn's `roc_auc_score`.
///
/// `None` when a class is empty, the lengths differ or a score is not a number.
pub fn auc(scores: &[f32], labels: &[bool]) -> Option<Auc> {
    let (groups, [negatives, positives]) = ranked(scores, labels)?;
    let (m, n) = (positives as f64, negatives as f64);
    // For each positive the fraction of negatives below it, for each negative that of positives above it: the mean of
    // either is the area, their variances are its error.
    let mut below = [0usize; 2];
    let mut sums = [Moments::default(), Moments::default()];
    for group in &groups {
        let [zeros, ones] = group.count;
        let over_negatives = (below[0] as f64 + 0.5 * zeros as f64) / n;
        let under_positives = (m - below[1] as f64 - 0.5 * ones as f64) / m;
        sums[0].add(under_positives, zeros);
        sums[1].add(over_negatives, ones);
        below[0] += zeros;
        below[1] += ones;
    }
    Some(Auc {
        value: sums[1].sum / m,
        error: (sums[0].variance() / n + sums[1].variance() / m).sqrt(),
    })
}

/// Running sums of numbers between 0 and 1.
#[derive(Default)]
struct Moments {
    count: usize,
    sum: f64,
    squares: f64,
}

impl Moments {
    fn add(&mut self, value: f64, times: usize) {
        self.count += times;
        self.sum += value * times as f64;
        self.squares += value * value * times as f64;
    }

    /// With n - 1; 0 of fewer than two.
    fn variance(&self) -> f64 {
        let n = self.count as f64;
        if self.count < 2 {
            return 0.0;
        }
        ((self.squares - self.sum * self.sum / n) / (n - 1.0)).max(0.0)
    }
}

/// One point of a ROC curve, for "score at least `threshold`".
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RocPoint {
    /// Infinite at the first point, which accepts nothing.
    pub threshold: f32,
    /// Fraction of negatives accepted.
    pub false_positive: f64,
    /// Fraction of positives accepted.
    pub true_positive: f64,
}

/// The ROC curve from (0, 0) to (1, 1), one point per different score: scikit-learn's
/// `roc_curve(drop_intermediate=False)`.
///
/// `None` as in [`auc`].
pub fn roc(scores: &[f32], labels: &[bool]) -> Option<Vec<RocPoint>> {
    let (groups, [negatives, positives]) = ranked(scores, labels)?;
    let mut accepted = [0usize; 2];
    let mut curve = vec![RocPoint {
        threshold: f32::INFINITY,
        false_positive: 0.0,
        true_positive: 0.0,
    }];
    for group in groups.iter().rev() {
        accepted[0] += group.count[0];
        accepted[1] += group.count[1];
        curve.push(RocPoint {
            threshold: group.score,
            false_positive: accepted[0] as f64 / negatives as f64,
            true_positive: accepted[1] as f64 / positives as f64,
        });
    }
    Some(curve)
}

/// Fraction of negatives accepted where `true_positive` of the positives are, linear between the points of `curve`.
pub fn false_positive_at(curve: &[RocPoint], true_positive: f64) -> f64 {
    let next = curve.partition_point(|p| p.true_positive < true_positive);
    match (
        next.checked_sub(1).and_then(|p| curve.get(p)),
        curve.get(next),
    ) {
        (Some(a), Some(b)) => {
            let part = (true_positive - a.true_positive) / (b.true_positive - a.true_positive);
            a.false_positive + part * (b.false_positive - a.false_positive)
        }
        (None, Some(first)) => first.false_positive,
        (_, None) => 1.0,
    }
}

/// A divergence and its standard error, in bits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Jsd {
    /// 0: never told apart; 1: always.
    pub value: f64,
    /// Of the finite test sample; 0 for one event.
    pub error: f64,
}

/// Jensen-Shannon divergence of two classes of equal size, estimated by a classifier: `1 - BCE / ln 2`, in bits.
///
/// `probability`: the calibrated chance of the positive class, strictly between 0 and 1. BCE is the mean binary cross
/// entropy in nats. What a classifier finds is a lower bound; the estimate is below 0 where it is worse than guessing.
/// CaloChallenge's `evaluate.py` (arXiv 2410.21611) prints the same.
///
/// `None` when there is no event, the lengths differ or a probability is not strictly inside.
pub fn jsd(probability: &[f64], labels: &[bool]) -> Option<Jsd> {
    let inside = |p: &f64| *p > 0.0 && *p < 1.0;
    if probability.len() != labels.len() || labels.is_empty() || !probability.iter().all(inside) {
        return None;
    }
    let bits = |(p, label): (&f64, &bool)| {
        -(if *label {
            p.log2()
        } else {
            (-p).ln_1p() * std::f64::consts::LOG2_E
        })
    };
    let n = labels.len() as f64;
    let mean = probability.iter().zip(labels).map(bits).sum::<f64>() / n;
    let squares: f64 = (probability.iter().zip(labels))
        .map(|both| (bits(both) - mean).powi(2))
        .sum();
    let variance = if n < 2.0 { 0.0 } else { squares / (n - 1.0) };
    Some(Jsd {
        value: 1.0 - mean,
        error: (variance / n).sqrt(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Case {
        name: String,
        scores: Vec<f32>,
        labels: Vec<bool>,
        auc: f64,
        auc_error: f64,
        false_positive: Vec<f64>,
        true_positive: Vec<f64>,
        thresholds: Vec<Option<f64>>,
    }

    #[derive(serde::Deserialize)]
    struct Entropy {
        probability: Vec<f64>,
        labels: Vec<bool>,
        jsd: f64,
        error: f64,
    }

    #[derive(serde::Deserialize)]
    struct Golden {
        curves: Vec<Case>,
        entropies: Vec<Entropy>,
    }

    fn golden() -> Golden {
        serde_json::from_str(include_str!("../../tests/golden/classify.json")).unwrap()
    }

    #[test]
    fn areas_and_curves_equal_scikit_learn() {
        let cases = golden().curves;
        assert!(cases.len() >= 6);
        for case in cases {
            let got = auc(&case.scores, &case.labels).unwrap();
            let name = case.name;
            assert!((got.value - case.auc).abs() < 1e-12, "{name}: {got:?}");
            assert!(
                (got.error - case.auc_error).abs() < 1e-9,
                "{name}: {got:?}, {}",
                case.auc_error
            );
            let curve = roc(&case.scores, &case.labels).unwrap();
            assert_eq!(curve.len(), case.thresholds.len(), "{name}");
            for (i, point) in curve.iter().enumerate() {
                assert!(
                    (point.false_positive - case.false_positive[i]).abs() < 1e-12,
                    "{name}"
                );
                assert!(
                    (point.true_positive - case.true_positive[i]).abs() < 1e-12,
                    "{name}"
                );
                let threshold = case.thresholds[i].map_or(f32::INFINITY, |t| t as f32);
                assert_eq!(point.threshold, threshold, "{name}");
            }
        }
    }

    #[test]
    fn divergences_equal_scipy() {
        for case in golden().entropies {
            let got = jsd(&case.probability, &case.labels).unwrap();
            assert!((got.value - case.jsd).abs() < 1e-9, "{got:?}, {}", case.jsd);
            assert!(
                (got.error - case.error).abs() < 1e-9,
                "{got:?}, {}",
                case.error
            );
        }
    }

    #[test]
    fn a_constant_score_is_worth_a_half() {
        let labels: Vec<bool> = (0..30).map(|i| i % 3 == 0).collect();
        let got = auc(&[0.25; 30], &labels).unwrap();
        assert_eq!((got.value, got.error), (0.5, 0.0));
        assert_eq!(
            false_positive_at(&roc(&[0.25; 30], &labels).unwrap(), 0.3),
            0.3
        );
        assert_eq!(auc(&[0.0, -0.0], &[true, false]).unwrap().value, 0.5);
    }

    #[test]
    fn the_curve_is_read_between_its_points() {
        let labels = [true, true, false, false];
        let curve = roc(&[4.0, 2.0, 3.0, 1.0], &labels).unwrap();
        assert_eq!(false_positive_at(&curve, 0.0), 0.0);
        assert_eq!(false_positive_at(&curve, 0.5), 0.0);
        assert_eq!(false_positive_at(&curve, 0.75), 0.5);
        assert_eq!(false_positive_at(&curve, 1.0), 0.5);
    }

    #[test]
    fn impossible_scores_are_refused() {
        assert_eq!(auc(&[], &[]), None);
        assert_eq!(auc(&[1.0, 2.0], &[true, true]), None);
        assert_eq!(auc(&[1.0, f32::NAN], &[true, false]), None);
        assert_eq!(roc(&[1.0], &[true, false]), None);
        assert_eq!(jsd(&[], &[]), None);
        assert_eq!(jsd(&[0.0, 0.5], &[true, false]), None);
        assert_eq!(jsd(&[f64::NAN], &[true]), None);
    }

    #[test]
    fn the_area_s_error_is_the_spread_of_repetitions() {
        use crate::random::{Purpose, normal, words};
        let (n, m) = (300, 200);
        let areas: Vec<Auc> = (0..200)
            .map(|k| {
                let draw = |i: u32| normal(words(3, Purpose::Synthetic, k, i))[0] as f32;
                let scores: Vec<f32> = (0..n + m)
                    .map(|i| draw(i) + if i < m { 0.7 } else { 0.0 })
                    .collect();
                let labels: Vec<bool> = (0..n + m).map(|i| i < m).collect();
                auc(&scores, &labels).unwrap()
            })
            .collect();
        let mean = areas.iter().map(|a| a.value).sum::<f64>() / 200.0;
        let spread = (areas.iter().map(|a| (a.value - mean).powi(2)).sum::<f64>() / 199.0).sqrt();
        let error = areas.iter().map(|a| a.error).sum::<f64>() / 200.0;
        // A standard deviation of 200 numbers is known to 5 %.
        assert!(
            (error / spread - 1.0).abs() < 0.15,
            "{error} against {spread}"
        );
    }
}
