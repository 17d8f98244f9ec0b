//! The comparison itself: classes, observables, numbers.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::distance::{self, Distance};
use super::histogram::{Binning, Comparison};
use super::images::ImageEvaluation;
use super::{EvaluateError, Options, Sides};
use crate::data::{Dataset, SparseImages};
use crate::physics::{Geometry, ImageObservables, observables};

/// An observable that truth and generated are compared in.
#[derive(Debug, Clone, Copy)]
pub struct Observable {
    /// Its key in files.
    pub name: &'static str,
    /// For readers.
    pub title: &'static str,
    /// Symbol for axes.
    pub symbol: &'static str,
    /// "GeV", or empty for a pure number.
    pub unit: &'static str,
    binning: Binning,
    pick: fn(&ImageObservables) -> f32,
}

/// What is compared, in the order of tables.
pub const OBSERVABLES: [Observable; 7] = [
    Observable {
        name: "jet_pt",
        title: "Transverse momentum",
        symbol: "pT",
        unit: "GeV",
        binning: Binning::Fixed {
            low: 200.0,
            high: 340.0,
            edges: 50,
        },
        pick: |o| o.jet_pt,
    },
    Observable {
        name: "jet_mass",
        title: "Mass",
        symbol: "m",
        unit: "GeV",
        binning: Binning::Fixed {
            low: 40.0,
            high: 120.0,
            edges: 50,
        },
        pick: |o| o.jet_mass,
    },
    Observable {
        name: "tau_1",
        title: "1-subjettiness",
        symbol: "τ₁",
        unit: "",
        binning: Binning::Quantiles,
        pick: |o| o.tau_1,
    },
    Observable {
        name: "tau_2",
        title: "2-subjettiness",
        symbol: "τ₂",
        unit: "",
        binning: Binning::Quantiles,
        pick: |o| o.tau_2,
    },
    Observable {
        name: "tau_21",
        title: "Subjettiness ratio",
        symbol: "τ₂₁",
        unit: "",
        binning: Binning::Quantiles,
        pick: |o| o.tau_21,
    },
    Observable {
        name: "multiplicity",
        title: "Nonzero pixels",
        symbol: "n",
        unit: "",
        binning: Binning::Whole,
        pick: |o| o.multiplicity,
    },
    Observable {
        name: "intensity",
        title: "Sum of all pixels",
        symbol: "ΣI",
        unit: "GeV",
        binning: Binning::Quantiles,
        pick: |o| o.intensity,
    },
];

/// All that was found.
#[derive(Debug, Clone)]
pub struct Evaluation {
    /// `all` first, then the classes that both sides hold.
    pub classes: Vec<ClassEvaluation>,
    /// The pixels' directions.
    pub geometry: Geometry,
    /// What was asked for.
    pub options: Options,
}

/// One class of events.
#[derive(Debug, Clone)]
pub struct ClassEvaluation {
    /// `all`, `signal` or `background`.
    pub name: &'static str,
    /// Images compared.
    pub counts: Sides<usize>,
    /// In the order of [`OBSERVABLES`].
    pub observables: Vec<ObservableEvaluation>,
    /// Average images, sparsity, pixel spectra.
    pub images: ImageEvaluation,
    /// The first few images, for a look.
    pub samples: Sides<SparseImages>,
}

/// One observable of one class.
#[derive(Debug, Clone)]
pub struct ObservableEvaluation {
    /// Which.
    pub observable: Observable,
    /// Its numbers.
    pub metrics: Metrics,
    /// Its histograms.
    pub histogram: Comparison,
}

/// The numbers of one observable as they stand in `metrics.json`; see `docs/metrics.md`.
///
/// No field is ever NaN: what cannot be computed is absent (`null`) and `reason` says why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "docs/metrics.md defines each key")]
pub struct Metrics {
    pub unit: String,
    pub w1: Option<f64>,
    pub w1_error: Option<f64>,
    pub w1_floor: Option<f64>,
    pub w1_floor_std: Option<f64>,
    pub w1_floor_sizes: Option<[usize; 2]>,
    pub truth_mean: f64,
    pub truth_std: f64,
    pub generated_mean: f64,
    pub generated_std: f64,
    pub truth_count: usize,
    pub generated_count: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Compare two data sets by their pixels.
///
/// Rows of class `signal` (`signal == 1`) and `background` (`signal == 0`) are compared apart
/// where both sides hold any; `all` always is there.
///
/// # Errors
/// Different image sizes, fewer than two images on a side, a `signal` data set of another length
/// than its images, an impossible [`Options::range`].
pub fn evaluate(
    truth: &Dataset,
    generated: &Dataset,
    options: &Options,
) -> Result<Evaluation, EvaluateError> {
    let (a, b) = (&truth.images, &generated.images);
    if (a.height(), a.width()) != (b.height(), b.width()) {
        return Err(EvaluateError::Size {
            truth_height: a.height(),
            truth_width: a.width(),
            generated_height: b.height(),
            generated_width: b.width(),
        });
    }
    for (side, data) in [("truth", truth), ("generated", generated)] {
        let count = data.images.len();
        if count < 2 {
            return Err(EvaluateError::TooFew { side, count });
        }
        if let Some(labels) = data.columns.get("signal").map(Vec::len)
            && labels != count
        {
            return Err(EvaluateError::Labels {
                side,
                labels,
                images: count,
            });
        }
    }
    let geometry = Geometry::new(a.height(), a.width(), options.range)?;
    let rows = Sides {
        truth: observables(a, &geometry)?,
        generated: observables(b, &geometry)?,
    };
    let data = Sides { truth, generated };
    let classes = [
        ("all", None),
        ("signal", Some(1.0)),
        ("background", Some(0.0)),
    ];
    let classes = (classes.into_par_iter().enumerate())
        .filter_map(|(number, (name, label))| {
            let members = Sides {
                truth: members(truth, label),
                generated: members(generated, label),
            };
            let empty = members.truth.is_empty() || members.generated.is_empty();
            let tables = rows.map(|o| o.rows());
            (!empty).then(|| class(name, number as u32, &data, &tables, &members, options))
        })
        .collect();
    Ok(Evaluation {
        classes,
        geometry,
        options: *options,
    })
}

/// Rows of a class: all of them for no label, none where the labels are unknown.
fn members(data: &Dataset, label: Option<f32>) -> Vec<usize> {
    match (label, data.columns.get("signal")) {
        (None, _) => (0..data.images.len()).collect(),
        (Some(_), None) => Vec::new(),
        (Some(label), Some(signal)) => (signal.iter().enumerate())
            .filter_map(|(row, value)| (*value == label).then_some(row))
            .collect(),
    }
}

fn class(
    name: &'static str,
    number: u32,
    data: &Sides<&Dataset>,
    rows: &Sides<&[ImageObservables]>,
    members: &Sides<Vec<usize>>,
    options: &Options,
) -> ClassEvaluation {
    let observables = (OBSERVABLES.par_iter().enumerate())
        .map(|(k, observable)| {
            let pick = |rows: &[ImageObservables], members: &[usize]| -> Vec<f32> {
                members
                    .iter()
                    .map(|m| (observable.pick)(&rows[*m]))
                    .collect()
            };
            let truth = pick(rows.truth, &members.truth);
            let generated = pick(rows.generated, &members.generated);
            let stream = number * OBSERVABLES.len() as u32 + k as u32;
            let found = distance::distance(&truth, &generated, &options.resampling, stream);
            ObservableEvaluation {
                observable: *observable,
                metrics: metrics(observable, &truth, &generated, found),
                histogram: Comparison::new(
                    &observable.binning.edges(&truth, &generated),
                    &truth,
                    &generated,
                ),
            }
        })
        .collect();
    let sample = |data: &Dataset, members: &[usize]| {
        data.images
            .gather(members.iter().copied().take(options.samples))
    };
    ClassEvaluation {
        name,
        counts: members.map(Vec::len),
        observables,
        images: ImageEvaluation::new(&data.map(|d| &d.images), members),
        samples: Sides {
            truth: sample(data.truth, &members.truth),
            generated: sample(data.generated, &members.generated),
        },
    }
}

fn metrics(
    observable: &Observable,
    truth: &[f32],
    generated: &[f32],
    found: Option<Distance>,
) -> Metrics {
    let few = truth.len() < 2 || generated.len() < 2;
    let found = found.filter(|_| !few);
    let ((truth_mean, truth_std), (generated_mean, generated_std)) =
        (mean_and_width(truth), mean_and_width(generated));
    Metrics {
        unit: observable.unit.to_string(),
        w1: found.map(|d| d.w1),
        w1_error: found.and_then(|d| d.error),
        w1_floor: found.and_then(|d| d.floor).map(|f| f.mean),
        w1_floor_std: found.and_then(|d| d.floor).map(|f| f.std),
        w1_floor_sizes: found.and_then(|d| d.floor).map(|f| f.sizes),
        truth_mean,
        truth_std,
        generated_mean,
        generated_std,
        truth_count: truth.len(),
        generated_count: generated.len(),
        reason: few.then(|| "fewer than 2 events of this class on one side".to_string()),
    }
}

/// Mean and standard deviation (of the values: divided by n), 0 and 0 of nothing.
fn mean_and_width(values: &[f32]) -> (f64, f64) {
    let n = values.len().max(1) as f64;
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum();
    (mean, (squares / n).sqrt())
}
