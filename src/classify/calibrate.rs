//! Isotonic regression: the best fit that never falls.

/// The calibrated chance is kept this far from 0 and 1, as CaloChallenge's `evaluate.py` does.
pub const EDGE: f64 = 1e-6;

/// A non-decreasing piecewise linear function fitted to labels by least squares: scikit-learn's
/// `IsotonicRegression(out_of_bounds="clip", y_min=EDGE, y_max=1-EDGE)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Isotonic {
    /// Ascending scores and the fitted values there.
    knots: Vec<(f64, f64)>,
}

/// Events pooled at one value.
struct Block {
    first: f64,
    last: f64,
    sum: f64,
    weight: f64,
}

impl Block {
    fn mean(&self) -> f64 {
        self.sum / self.weight
    }
}

impl Isotonic {
    /// Fit the chance of a true label to `scores` (any scale), by pooling adjacent violators.
    ///
    /// `None` when there is no event, the lengths differ or a score is not finite.
    pub fn fit(scores: &[f32], labels: &[bool]) -> Option<Self> {
        if scores.len() != labels.len()
            || scores.is_empty()
            || !scores.iter().all(|s| s.is_finite())
        {
            return None;
        }
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_unstable_by(|a, b| scores[*a].total_cmp(&scores[*b]));
        let mut blocks: Vec<Block> = Vec::new();
        // Equal scores are one event with their mean before anything is pooled.
        for i in order {
            let (score, label) = (f64::from(scores[i]), f64::from(u8::from(labels[i])));
            match blocks.last_mut() {
                Some(last) if last.first == score => {
                    last.sum += label;
                    last.weight += 1.0;
                }
                _ => blocks.push(Block {
                    first: score,
                    last: score,
                    sum: label,
                    weight: 1.0,
                }),
            }
        }
        let mut pooled: Vec<Block> = Vec::new();
        for mut block in blocks {
            while let Some(before) = pooled.pop_if(|before| before.mean() >= block.mean()) {
                block.first = before.first;
                block.sum += before.sum;
                block.weight += before.weight;
            }
            pooled.push(block);
        }
        let ends = |block: &Block| {
            let value = block.mean().clamp(EDGE, 1.0 - EDGE);
            [(block.first, value), (block.last, value)]
        };
        Some(Self {
            knots: pooled.iter().flat_map(ends).collect(),
        })
    }

    /// The fitted chance at `score`: linear between the fitted scores, constant beyond them. At least [`EDGE`] from 0 and
    /// 1 whatever the score, as long as it is a number.
    pub fn at(&self, score: f32) -> f64 {
        let score = f64::from(score);
        let next = self.knots.partition_point(|(s, _)| *s < score);
        match (
            next.checked_sub(1).and_then(|p| self.knots.get(p)),
            self.knots.get(next),
        ) {
            (Some((a, low)), Some((b, high))) => {
                if score == *b {
                    return *high;
                }
                low + (score - a) / (b - a) * (high - low)
            }
            (Some((_, only)), None) | (None, Some((_, only))) => *only,
            (None, None) => 0.5,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Case {
        name: String,
        scores: Vec<f32>,
        labels: Vec<bool>,
        at: Vec<f32>,
        value: Vec<f64>,
    }

    #[derive(serde::Deserialize)]
    struct Golden {
        isotonic: Vec<Case>,
    }

    #[test]
    fn equals_scikit_learn() {
        let golden: Golden =
            serde_json::from_str(include_str!("../../tests/golden/classify.json")).unwrap();
        assert!(golden.isotonic.len() >= 4);
        for case in golden.isotonic {
            let fit = Isotonic::fit(&case.scores, &case.labels).unwrap();
            for (at, value) in case.at.iter().zip(&case.value) {
                let got = fit.at(*at);
                assert!(
                    (got - value).abs() < 1e-12,
                    "{} at {at}: {got}, scikit-learn {value}",
                    case.name
                );
            }
        }
    }

    #[test]
    fn never_falls_and_keeps_off_the_edges() {
        let scores: Vec<f32> = (0..100).map(|i| (i * 37 % 100) as f32).collect();
        let labels: Vec<bool> = (0..100)
            .map(|i| i * 37 % 100 + (i * 53 % 41) > 70)
            .collect();
        let fit = Isotonic::fit(&scores, &labels).unwrap();
        let values: Vec<f64> = (-5..=105).map(|s| fit.at(s as f32)).collect();
        assert!(values.windows(2).all(|w| w[0] <= w[1]));
        assert_eq!((values[0], values[110]), (EDGE, 1.0 - EDGE));
        assert_eq!(Isotonic::fit(&[1.0], &[true]).unwrap().at(7.0), 1.0 - EDGE);
    }

    #[test]
    fn impossible_scores_are_refused() {
        assert_eq!(Isotonic::fit(&[], &[]), None);
        assert_eq!(Isotonic::fit(&[1.0, f32::NAN], &[true, false]), None);
        assert_eq!(Isotonic::fit(&[1.0], &[true, false]), None);
    }
}
