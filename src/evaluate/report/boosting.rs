//! Boosted trees on observables, as their verdicts stand in a report.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::classifiers::chosen;
use crate::classify::{Boosting, By, Judged, Sizes, Used, boosted};
use crate::data::{Dataset, Unit};
use crate::evaluate::compare::{CLASSES, Evaluation, members};
use crate::evaluate::histogram::{Binning, Comparison, Histogram};
use crate::evaluate::resample::class_stream;
use crate::evaluate::{Reasons, Sides, Unavailable};

/// What boosted trees found per class; `docs/metrics.md` defines each key.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Boosted {
    /// Why a class has no test.
    #[serde(default, skip_serializing_if = "Reasons::is_empty")]
    pub reasons: Reasons,
    /// Per class (`all`, `signal`, `background`).
    #[serde(flatten)]
    pub classes: BTreeMap<String, Option<BoostedTest>>,
}

/// How well boosted trees tell two samples apart by their observables.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "docs/metrics.md defines each key")]
pub struct BoostedTest {
    pub images: Sizes,
    pub seed: u64,
    pub trees: usize,
    pub auc: f64,
    pub auc_error: f64,
    pub observable: SingleTest,
    pub features: Vec<Feature>,
}

/// The single observable that tells most.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "docs/metrics.md defines each key")]
pub struct SingleTest {
    pub name: String,
    pub title: String,
    pub by: By,
    pub auc: f64,
    pub auc_error: f64,
}

/// An observable that the trees use, and its histograms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "docs/metrics.md defines each key")]
pub struct Feature {
    pub name: String,
    pub title: String,
    pub unit: String,
    pub gain: f64,
    pub edges: Vec<f64>,
    pub images: Sides<usize>,
    pub counts: Sides<Vec<u64>>,
    pub outside: Sides<[u64; 2]>,
}

impl Boosted {
    /// The test of each class of the comparison; `all` is left out where it is one of the others exactly.
    ///
    /// `evaluation` is that of the same data sets. A test that cannot be made has its reason in the result, also that of a
    /// class of which one side alone has images.
    pub fn judge(truth: &Dataset, generated: &Dataset, evaluation: &Evaluation, seed: u64) -> Self {
        let sides = [
            (truth, &evaluation.observables.truth),
            (generated, &evaluation.observables.generated),
        ];
        let labelled = (sides.iter()).all(|(data, _)| data.columns.contains_key("signal"));
        let test = |number: u32, rows: &Sides<Vec<usize>>| {
            for (side, rows) in [("true", &rows.truth), ("generated", &rows.generated)] {
                if rows.is_empty() {
                    return Err(format!("no {side} image is of this class"));
                }
            }
            let stream = class_stream(number);
            let side = |k: usize, rows| chosen(sides[k].0, rows, seed, stream, k);
            let why = |why: Unavailable| why.to_string();
            let rows = [
                side(0, &rows.truth).map_err(why)?,
                side(1, &rows.generated).map_err(why)?,
            ];
            let [truth, generated] = [0, 1].map(|k| Judged {
                images: &sides[k].0.images,
                observables: sides[k].1.rows(),
                rows: &rows[k],
            });
            let found = boosted(truth, generated, &evaluation.geometry, seed);
            found.map_err(|why| why.to_string())
        };
        let mut found = Self::default();
        let mut whole = false;
        // The class of all images last: it may be another one's.
        for (number, (name, label)) in CLASSES.into_iter().enumerate().rev() {
            let rows = Sides { truth, generated }.map(|data| members(data, label));
            let nothing = rows.truth.is_empty() && rows.generated.is_empty();
            if label.is_some() && (nothing || !labelled) || label.is_none() && whole {
                continue;
            }
            whole |= rows.truth.len() == truth.images.len()
                && rows.generated.len() == generated.images.len();
            let test = test(number as u32, &rows)
                .map(|test| BoostedTest::of(&test, seed, &evaluation.unit))
                .map_err(|why| found.reasons.insert(name.to_string(), why));
            found.classes.insert(name.to_string(), test.ok());
        }
        found
    }
}

impl BoostedTest {
    fn of(found: &Boosting, seed: u64, unit: &Unit) -> Self {
        let single = &found.single;
        Self {
            images: found.images,
            seed,
            trees: found.trees,
            auc: found.auc.value,
            auc_error: found.auc.error,
            observable: SingleTest {
                name: single.quantity.name.clone(),
                title: in_its_unit(&single.quantity.title, unit),
                by: single.by,
                auc: single.auc.value,
                auc_error: single.auc.error,
            },
            features: (found.used.iter())
                .map(|used| Feature::of(used, unit))
                .collect(),
        }
    }
}

impl Feature {
    fn of(used: &Used, unit: &Unit) -> Self {
        let quantity = &used.quantity;
        let binning = match quantity.whole {
            true => Binning::Whole,
            false => Binning::Quantiles,
        };
        let edges = binning.edges(&used.truth, &used.generated);
        let both = Comparison::new(&edges, &used.truth, &used.generated);
        let sides = Sides {
            truth: both.truth,
            generated: both.generated,
        };
        Self {
            name: quantity.name.clone(),
            title: in_its_unit(&quantity.title, unit),
            unit: in_its_unit(quantity.unit, unit),
            gain: used.gain,
            images: sides.map(|side| side.events),
            outside: sides.map(|side| side.outside),
            counts: sides.map(|side| side.counts.clone()),
            edges,
        }
    }

    /// Its histograms as they were filled.
    pub(super) fn comparison(&self) -> Comparison {
        let side = |counts: &[u64], outside: [u64; 2], images: usize| {
            let sums: Vec<f64> = counts.iter().map(|count| *count as f64).collect();
            Histogram {
                edges: self.edges.clone(),
                counts: counts.to_vec(),
                squares: sums.clone(),
                sums,
                outside,
                outside_sums: outside.map(|count| count as f64),
                events: images,
                total: images as f64,
            }
        };
        let (counts, outside, images) = (&self.counts, self.outside, self.images);
        Comparison {
            truth: side(&counts.truth, outside.truth, images.truth),
            generated: side(&counts.generated, outside.generated, images.generated),
        }
    }
}

/// GeV stands for the unit of the pixels.
fn in_its_unit(text: &str, unit: &Unit) -> String {
    text.replace(Unit::default().as_str(), unit.as_str())
}
