//! The comparison itself: classes, observables, metrics.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::distance;
use super::distance::{Batched, Distance, Resampling};
use super::features::Points;
use super::histogram::{Binning, Comparison};
use super::images::ImageEvaluation;
use super::resample::{Use, class_stream, halves};
use super::separation::separation;
use super::vectors::{FeatureDistances, Source, feature_distances};
use super::{EvaluateError, Halves, Options, Reasons, Sides, Unavailable, value_or_reason};
use crate::data::{Dataset, SparseImages, Unit};
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
    /// "GeV", which stands for the unit of the pixels, or empty for a pure number.
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

/// Names of the classes, and the value of `signal` that tells each.
pub(super) const CLASSES: [(&str, Option<f32>); 3] = [
    ("all", None),
    ("signal", Some(1.0)),
    ("background", Some(0.0)),
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
    /// Unit of the true pixels.
    pub unit: Unit,
}

impl Evaluation {
    /// Call what [`OBSERVABLES`] call GeV by the pixels' unit.
    fn in_its_unit(mut self) -> Self {
        for class in &mut self.classes {
            for found in &mut class.observables {
                if Unit::default().as_str() == found.metrics.unit {
                    found.metrics.unit = self.unit.to_string();
                }
            }
        }
        self
    }
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
    /// Distances of the vectors of features.
    pub features: FeatureDistances,
    /// The same of truth against itself.
    pub feature_halves: Halves<FeatureDistances>,
    /// The first few images, for a look.
    pub samples: Sides<SparseImages>,
}

/// One observable of one class.
#[derive(Debug, Clone)]
pub struct ObservableEvaluation {
    /// Which.
    pub observable: Observable,
    /// Its metrics.
    pub metrics: Metrics,
    /// Its histograms.
    pub histogram: Comparison,
}

/// The metrics of one observable as in `metrics.json`; see `docs/metrics.md`.
///
/// No field is ever NaN: what cannot be computed is absent (`null`) and `reasons` say why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "docs/metrics.md defines each key")]
pub struct Metrics {
    pub unit: String,
    pub w1: Option<f64>,
    pub w1_error: Option<f64>,
    pub w1_floor: Option<f64>,
    pub w1_floor_std: Option<f64>,
    pub w1_floor_sizes: Option<[usize; 2]>,
    #[serde(flatten)]
    pub distances: ObservableDistances,
    pub halves: Halves<ObservableDistances>,
    pub truth_mean: f64,
    pub truth_mean_error: f64,
    pub truth_std: f64,
    pub truth_std_error: f64,
    pub generated_mean: f64,
    pub generated_mean_error: f64,
    pub generated_std: f64,
    pub generated_std_error: f64,
    pub truth_count: usize,
    pub generated_count: usize,
}

/// Distances of one observable that are given of truth against itself too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObservableDistances {
    /// W1 as JetNet reports it.
    pub w1_jetnet: Option<Batched>,
    /// Separation power of the histograms.
    pub separation: Option<f64>,
    /// Why one of them, or `w1`, is absent.
    #[serde(default, skip_serializing_if = "Reasons::is_empty")]
    pub reasons: Reasons,
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
    let classes = (CLASSES.into_par_iter().enumerate())
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
        unit: truth.about.unit.clone(),
        classes,
        geometry,
        options: *options,
    }
    .in_its_unit())
}

/// Rows of a class: all of them for no label, none where the labels are unknown.
pub(super) fn members(data: &Dataset, label: Option<f32>) -> Vec<usize> {
    match (label, data.columns.get("signal")) {
        (None, _) => (0..data.images.len()).collect(),
        (Some(_), None) => Vec::new(),
        (Some(label), Some(signal)) => (signal.iter().enumerate())
            .filter_map(|(row, value)| (*value == label).then_some(row))
            .collect(),
    }
}

/// The rows of one class, and how to compare them.
struct Class<'a> {
    rows: &'a Sides<&'a [ImageObservables]>,
    members: &'a Sides<Vec<usize>>,
    /// Two halves of the true members, by their places among them.
    halves: &'a [Vec<usize>; 2],
    resampling: Resampling,
}

fn class(
    name: &'static str,
    number: u32,
    data: &Sides<&Dataset>,
    rows: &Sides<&[ImageObservables]>,
    members: &Sides<Vec<usize>>,
    options: &Options,
) -> ClassEvaluation {
    let source = Source {
        seed: options.resampling.seed,
        stream: class_stream(number),
    };
    let of = Class {
        rows,
        members,
        halves: &halves(source.seed, source.stream, members.truth.len()),
        resampling: options.resampling,
    };
    let observables = || {
        (OBSERVABLES.par_iter().enumerate())
            .map(|(k, observable)| {
                of.observable(observable, number * OBSERVABLES.len() as u32 + k as u32)
            })
            .collect()
    };
    let vectors = || {
        let points = Sides {
            truth: Points::features(rows.truth, &members.truth),
            generated: Points::features(rows.generated, &members.generated),
        };
        feature_distances(&points, of.halves, source)
    };
    let images = || ImageEvaluation::new(&data.map(|d| &d.images), members, of.halves);
    let (observables, ((features, feature_halves), images)) =
        rayon::join(observables, || rayon::join(vectors, images));
    let sample = |data: &Dataset, members: &[usize]| {
        data.images
            .gather(members.iter().copied().take(options.samples))
    };
    ClassEvaluation {
        name,
        counts: members.map(Vec::len),
        observables,
        images,
        features,
        feature_halves,
        samples: Sides {
            truth: sample(data.truth, &members.truth),
            generated: sample(data.generated, &members.generated),
        },
    }
}

impl Class<'_> {
    fn observable(&self, observable: &Observable, stream: u32) -> ObservableEvaluation {
        let pick = |rows: &[ImageObservables], members: &[usize]| -> Vec<f32> {
            let pick = |m: &usize| (observable.pick)(&rows[*m]);
            members.iter().map(pick).collect()
        };
        let truth = pick(self.rows.truth, &self.members.truth);
        let generated = pick(self.rows.generated, &self.members.generated);
        let edges = observable.binning.edges(&truth, &generated);
        let histogram = Comparison::new(&edges, &truth, &generated);
        let [first, second] = (self.halves.each_ref())
            .map(|half| half.iter().map(|k| truth[*k]).collect::<Vec<f32>>());
        let half_histogram = Comparison::new(&edges, &first, &second);
        let seed = self.resampling.seed;
        let apart = |a: &[f32], b: &[f32], histogram: &Comparison, usage: Use| {
            let mut reasons = Reasons::new();
            let few = Unavailable::few(2, a.len(), b.len());
            let found = (a.len().min(b.len()) >= 2).then(|| {
                let w1 = distance::jetnet(a, b, seed, stream, usage);
                (w1, separation(&histogram.truth, &histogram.generated))
            });
            let (w1, separation) = found.unwrap_or((None, None));
            ObservableDistances {
                w1_jetnet: value_or_reason(&mut reasons, "w1_jetnet", w1.ok_or(few.clone())),
                separation: value_or_reason(&mut reasons, "separation", separation.ok_or(few)),
                reasons,
            }
        };
        let distances = apart(&truth, &generated, &histogram, Use::Jetnet);
        let halves = Halves {
            sizes: [first.len(), second.len()],
            found: apart(&first, &second, &half_histogram, Use::JetnetHalves),
        };
        let found = distance::distance(&truth, &generated, &self.resampling, stream);
        ObservableEvaluation {
            observable: *observable,
            metrics: metrics(observable, &truth, &generated, found, distances, halves),
            histogram,
        }
    }
}

fn metrics(
    observable: &Observable,
    truth: &[f32],
    generated: &[f32],
    found: Option<Distance>,
    mut distances: ObservableDistances,
    halves: Halves<ObservableDistances>,
) -> Metrics {
    let few = truth.len() < 2 || generated.len() < 2;
    let why = Unavailable::few(2, truth.len(), generated.len());
    let found = value_or_reason(
        &mut distances.reasons,
        "w1",
        found.filter(|_| !few).ok_or(why),
    );
    let (t, g) = (Spread::of(truth), Spread::of(generated));
    Metrics {
        unit: observable.unit.to_string(),
        w1: found.map(|d| d.w1),
        w1_error: found.and_then(|d| d.error),
        w1_floor: found.and_then(|d| d.floor).map(|f| f.mean),
        w1_floor_std: found.and_then(|d| d.floor).map(|f| f.std),
        w1_floor_sizes: found.and_then(|d| d.floor).map(|f| f.sizes),
        distances,
        halves,
        truth_mean: t.mean,
        truth_mean_error: t.mean_error,
        truth_std: t.std,
        truth_std_error: t.std_error,
        generated_mean: g.mean,
        generated_mean_error: g.mean_error,
        generated_std: g.std,
        generated_std_error: g.std_error,
        truth_count: truth.len(),
        generated_count: generated.len(),
    }
}

/// Mean and standard deviation of a sample, with their errors.
struct Spread {
    mean: f64,
    /// `std / sqrt(n)`
    mean_error: f64,
    /// Of the values: divided by n.
    std: f64,
    /// `sqrt((m4 - std^4) / n) / (2 std)` with the fourth moment about the mean: right for any
    /// shape, `std / sqrt(2n)` for a normal one.
    std_error: f64,
}

impl Spread {
    /// All 0 of nothing.
    fn of(values: &[f32]) -> Self {
        let n = values.len().max(1) as f64;
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
        let moment = |power: i32| {
            (values.iter())
                .map(|v| (f64::from(*v) - mean).powi(power))
                .sum::<f64>()
                / n
        };
        let (m2, m4) = (moment(2), moment(4));
        let std = m2.sqrt();
        let std_error = if std > 0.0 {
            ((m4 - m2 * m2).max(0.0) / n).sqrt() / (2.0 * std)
        } else {
            0.0
        };
        Self {
            mean,
            mean_error: std / n.sqrt(),
            std,
            std_error,
        }
    }
}
