//! Gradient boosting of trees on histograms, for two classes: the logistic loss, its first and second derivatives.
//!
//! The method of LightGBM (Ke et al. 2017) and of scikit-learn's `HistGradientBoostingClassifier`, without what nothing here
//! needs: categories, missing values, weights. Nothing is drawn at random.

mod bins;
mod tree;

use bins::{Binned, Bins};
use tree::{Growth, Slope, Tree};

/// The most trees.
const TREES: usize = 500;
/// So many trees without a smaller loss end the training.
const PATIENCE: usize = 20;
const GROWTH: Growth = Growth {
    leaves: 31,
    events: 20,
    ridge: 1.0,
    rate: 0.1,
};

/// Events of two classes, `columns` `[columns][events]`.
pub(super) struct Events {
    pub columns: Vec<Vec<f32>>,
    /// `[events]`, true of the positive class.
    pub labels: Vec<bool>,
}

/// Trees that tell two classes apart.
pub(super) struct Boosted {
    bins: Bins,
    trees: Vec<Tree>,
    start: f64,
}

impl Boosted {
    /// Fit trees to `train`; as many are kept as give `validation` the smallest loss, at least one.
    ///
    /// `None` where no column has two values, or no split gains anything. Values must be finite, and each class have an event.
    pub fn fit(train: &Events, validation: &Events) -> Option<Self> {
        let bins = Bins::of(&train.columns);
        if bins.constant() {
            return None;
        }
        let positives = train.labels.iter().filter(|l| **l).count() as f64;
        let start = (positives / (train.labels.len() as f64 - positives)).ln();
        let (binned, held) = (bins.apply(&train.columns), bins.apply(&validation.columns));
        let mut scores = vec![start; train.labels.len()];
        let mut held_scores = vec![start; validation.labels.len()];
        let mut trees: Vec<Tree> = Vec::new();
        let (mut least, mut kept) = (f64::INFINITY, 0);
        while trees.len() < TREES && trees.len() < kept + PATIENCE {
            let slopes = slopes(&scores, &train.labels);
            let tree = Tree::grow(&binned, &bins, &slopes, &GROWTH, &mut scores);
            if tree.is_stump() {
                break;
            }
            tree.add_to(&held, &mut held_scores);
            trees.push(tree);
            let loss = loss(&held_scores, &validation.labels);
            if loss < least {
                (least, kept) = (loss, trees.len());
            }
        }
        trees.truncate(kept);
        (!trees.is_empty()).then_some(Self { bins, trees, start })
    }

    /// Logits `[events]` of the positive class.
    pub fn scores(&self, columns: &[Vec<f32>]) -> Vec<f32> {
        let binned: Binned = self.bins.apply(columns);
        let mut scores = vec![self.start; columns.first().map_or(0, Vec::len)];
        for tree in &self.trees {
            tree.add_to(&binned, &mut scores);
        }
        scores.into_iter().map(|s| s as f32).collect()
    }

    /// Trees kept.
    pub fn trees(&self) -> usize {
        self.trees.len()
    }

    /// What each column's splits gained, `[columns]`, as fractions of all gain.
    pub fn gains(&self, columns: usize) -> Vec<f64> {
        let mut gains = vec![0.0; columns];
        self.trees.iter().for_each(|tree| tree.gains(&mut gains));
        let all: f64 = gains.iter().sum();
        gains.into_iter().map(|gain| gain / all).collect()
    }
}

/// Chance of the positive class.
fn chance(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

fn slopes(scores: &[f64], labels: &[bool]) -> Vec<Slope> {
    (scores.iter().zip(labels))
        .map(|(score, label)| {
            let p = chance(*score);
            let expected = f64::from(u8::from(*label));
            [(p - expected) as f32, (p * (1.0 - p)) as f32]
        })
        .collect()
}

/// Mean binary cross entropy in nats.
fn loss(scores: &[f64], labels: &[bool]) -> f64 {
    super::fit::cross_entropy(scores.iter().copied(), labels)
}

#[cfg(test)]
mod tests {
    use super::super::score;
    use super::*;
    use crate::random::{Purpose, normal, unit, words};

    #[derive(serde::Deserialize)]
    struct Part {
        columns: Vec<Vec<f32>>,
        labels: Vec<u8>,
    }

    #[derive(serde::Deserialize)]
    struct Golden {
        auc: f64,
        validation_loss: f64,
        trees: usize,
        logits: Vec<f32>,
        train: Part,
        validation: Part,
        test: Part,
    }

    impl From<Part> for Events {
        fn from(part: Part) -> Self {
            Self {
                columns: part.columns,
                labels: part.labels.into_iter().map(|l| l == 1).collect(),
            }
        }
    }

    #[test]
    fn trees_are_those_of_scikit_learn() {
        let golden: Golden =
            serde_json::from_str(include_str!("../../../tests/golden/boosting.json")).unwrap();
        let (train, validation, test) = (
            golden.train.into(),
            golden.validation.into(),
            Events::from(golden.test),
        );
        let found = Boosted::fit(&train, &validation).unwrap();
        assert_eq!(found.trees(), golden.trees);
        let scores = found.scores(&validation.columns);
        let loss = loss(
            &scores.iter().map(|s| f64::from(*s)).collect::<Vec<_>>(),
            &validation.labels,
        );
        // Single precision of the derivatives, on either side.
        assert!((loss - golden.validation_loss).abs() < 1e-4, "{loss}");
        let scores = found.scores(&test.columns);
        let auc = score::auc(&scores, &test.labels).unwrap();
        assert!((auc.value - golden.auc).abs() < 1e-4, "{auc:?}");
        for (found, expected) in scores.iter().zip(&golden.logits) {
            assert!(
                (found - expected).abs() < 1e-3,
                "{found}, scikit-learn {expected}"
            );
        }
        // The second column tells most, the third one by its width alone.
        let gains = found.gains(4);
        assert!((gains.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{gains:?}");
        assert!(gains.iter().all(|g| *g > 0.02), "{gains:?}");
    }

    /// The positive class is moved by `shift` in the first of three columns.
    fn shifted(count: usize, seed: u64, shift: f64) -> Events {
        let label = |i: u64| unit(words(seed, Purpose::Synthetic, i, 9)[0]) < 0.5;
        let value = |i: u64, k: u32| {
            let moved = if label(i) && k == 0 { shift } else { 0.0 };
            (normal(words(seed, Purpose::Synthetic, i, k))[0] + moved) as f32
        };
        let all = 0..count as u64;
        Events {
            columns: (0..3)
                .map(|k| all.clone().map(|i| value(i, k)).collect())
                .collect(),
            labels: all.map(label).collect(),
        }
    }

    #[test]
    fn a_shift_is_found_as_well_as_it_can_be() {
        let (train, held, test) = (
            shifted(6000, 1, 1.0),
            shifted(1500, 2, 1.0),
            shifted(4000, 3, 1.0),
        );
        let found = Boosted::fit(&train, &held).unwrap();
        let auc = score::auc(&found.scores(&test.columns), &test.labels).unwrap();
        let best = score::auc(&test.columns[0], &test.labels).unwrap();
        // The value itself is the best of all scores; trees of so few events lose a little.
        assert!(
            auc.value < best.value + 1e-9 && auc.value > best.value - 0.01,
            "{auc:?} {best:?}"
        );
        let gains = found.gains(3);
        assert!(gains[0] > 4.0 * gains[1].max(gains[2]), "{gains:?}");
    }

    #[test]
    fn nothing_is_found_where_there_is_nothing() {
        let (train, held, test) = (
            shifted(4000, 4, 0.0),
            shifted(1000, 5, 0.0),
            shifted(4000, 6, 0.0),
        );
        let found = Boosted::fit(&train, &held).unwrap();
        let auc = score::auc(&found.scores(&test.columns), &test.labels).unwrap();
        assert!(
            (auc.value - 0.5).abs() < 3.0 * auc.error && auc.error > 0.0,
            "{auc:?}"
        );
        assert!(found.trees() < 40, "{}", found.trees());
    }

    #[test]
    fn trees_do_not_depend_on_threads() {
        let (train, held) = (shifted(2000, 7, 0.5), shifted(500, 8, 0.5));
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let fit = || Boosted::fit(&train, &held).unwrap().scores(&held.columns);
            pool.unwrap().install(fit)
        };
        assert_eq!(run(1), run(3));
    }

    #[test]
    fn constant_columns_and_certain_classes() {
        let constant = |count: usize| Events {
            columns: vec![vec![1.5; count], vec![0.0; count]],
            labels: (0..count).map(|i| i % 2 == 0).collect(),
        };
        assert!(Boosted::fit(&constant(200), &constant(50)).is_none());
        // Too few events differ for a leaf of their own.
        let mut rare = constant(200);
        rare.columns[0][7] = 9.0;
        assert!(Boosted::fit(&rare, &constant(50)).is_none());
        let certain = |count: usize| Events {
            columns: vec![(0..count).map(|i| (i % 2) as f32).collect()],
            labels: (0..count).map(|i| i % 2 == 0).collect(),
        };
        let found = Boosted::fit(&certain(200), &certain(50)).unwrap();
        let scores = found.scores(&certain(50).columns);
        assert!(
            scores.iter().all(|s| s.is_finite() && s.abs() > 3.0),
            "{scores:?}"
        );
    }
}
