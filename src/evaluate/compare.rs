//! The comparison itself: classes, observables, metrics.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::distance::{self, Batched, Distance, Resampling};
use super::features::Points;
use super::grid::{Apart, Found};
use super::histogram::Comparison;
use super::images::ImageEvaluation;
use super::observable::{Label, OBSERVABLES, Observable};
use super::resample::{Use, class_stream, halves};
use super::response::{Response, Responses};
use super::separation::separation;
use super::soft::Soft;
use super::spread::Spread;
use super::vectors::{FeatureDistances, Source, feature_distances};
use super::weights::{self, Sample, WeightSummary};
use super::{EvaluateError, Halves, Options, Reasons, Sides, Unavailable, value_or_reason};
use crate::data::{Dataset, SparseImages, Unit};
use crate::physics::{Geometry, ImageObservables, Observables, observables};

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
    /// Of every image.
    pub observables: Sides<Observables>,
}

impl Evaluation {
    /// Call what [`OBSERVABLES`] call GeV by the pixels' unit.
    fn in_its_unit(mut self) -> Self {
        for class in &mut self.classes {
            for found in &mut class.observables {
                in_unit(&mut found.metrics.unit, &self.unit);
            }
            for response in &mut class.responses {
                for given in &mut response.quantities {
                    in_unit(&mut given.unit, &self.unit);
                }
            }
        }
        self
    }
}

/// GeV stands for the unit of the pixels.
fn in_unit(unit: &mut String, pixels: &Unit) {
    if Unit::default().as_str() == unit {
        *unit = pixels.to_string();
    }
}

/// One class of events.
#[derive(Debug, Clone)]
pub struct ClassEvaluation {
    /// `all`, `signal` or `background`.
    pub name: &'static str,
    /// Images compared.
    pub counts: Sides<usize>,
    /// Their weights, where a side has some.
    pub weights: Option<Sides<WeightSummary>>,
    /// In the order of [`OBSERVABLES`], then the logarithm of the pixels and the counts of soft ones.
    pub observables: Vec<ObservableEvaluation>,
    /// Average images, sparsity, pixel spectra.
    pub images: ImageEvaluation,
    /// Distances of the vectors of features.
    pub features: FeatureDistances,
    /// The same of truth against itself.
    pub feature_halves: Halves<FeatureDistances>,
    /// What comes out for what was asked for, in the order of [`Options::conditions`].
    pub responses: Vec<Response>,
    /// The first few images, for a look.
    pub samples: Sides<SparseImages>,
}

/// One observable of one class.
#[derive(Debug, Clone)]
pub struct ObservableEvaluation {
    /// Which.
    pub observable: Label,
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
    pub truth_std: Option<f64>,
    pub truth_std_error: Option<f64>,
    pub generated_mean: f64,
    pub generated_mean_error: f64,
    pub generated_std: Option<f64>,
    pub generated_std_error: Option<f64>,
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
/// where both sides hold any; `all` always is there. Where a side has [weights](Dataset::weights), every number is that of
/// the weighted events, or absent with a reason.
///
/// # Errors
/// Different image sizes, fewer than two images on a side, a `signal` data set, weights or a
/// [condition](Options::conditions) of another length than its images, a class whose weights do not add up to more than 0,
/// an impossible [`Options::range`].
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
    let data = Sides { truth, generated };
    let responses = Responses::new(&data, &options.conditions)?;
    let groups = groups(&data)?;
    let rows = Sides {
        truth: observables(a, &geometry)?,
        generated: observables(b, &geometry)?,
    };
    let tables = rows.map(|o| o.rows());
    let soft = Soft::new(&data.map(|d| &d.images), &truth.about.unit);
    let classes = (groups.par_iter())
        .map(|group| class(group, &data, &tables, &soft, &responses, options))
        .collect();
    Ok(Evaluation {
        unit: truth.about.unit.clone(),
        observables: rows,
        classes,
        geometry,
        options: options.clone(),
    }
    .in_its_unit())
}

/// The events of a class.
struct Group {
    name: &'static str,
    /// Its place in [`CLASSES`].
    number: u32,
    members: Sides<Vec<usize>>,
    /// Of the members; `None` where all weigh the same.
    weights: Sides<Option<Vec<f32>>>,
}

/// The classes that both sides hold.
fn groups(data: &Sides<&Dataset>) -> Result<Vec<Group>, EvaluateError> {
    for (side, data) in [("truth", data.truth), ("generated", data.generated)] {
        let images = data.images.len();
        let weights = data.weights.as_ref().map_or(images, Vec::len);
        if weights != images {
            return Err(EvaluateError::Weights {
                side,
                weights,
                images,
            });
        }
    }
    let mut groups = Vec::new();
    for (number, (name, label)) in CLASSES.into_iter().enumerate() {
        let members = data.map(|data| members(data, label));
        if members.truth.is_empty() || members.generated.is_empty() {
            continue;
        }
        let weights = Sides {
            truth: weights::of_members(data.truth, &members.truth),
            generated: weights::of_members(data.generated, &members.generated),
        };
        for (side, weights) in [("truth", &weights.truth), ("generated", &weights.generated)] {
            let sum = weights.as_ref().map_or(1.0, |w| WeightSummary::of(w).sum);
            if !(sum > 0.0 && sum.is_finite()) {
                let side = match name {
                    "all" => side.to_string(),
                    class => format!("{side}, {class}"),
                };
                return Err(EvaluateError::Cancelled { side, sum });
            }
        }
        groups.push(Group {
            name,
            number: number as u32,
            members,
            weights,
        });
    }
    Ok(groups)
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
    group: &'a Group,
    /// Two halves of the true members, by their places among them.
    halves: &'a [Vec<usize>; 2],
    resampling: Resampling,
}

fn class(
    group: &Group,
    data: &Sides<&Dataset>,
    rows: &Sides<&[ImageObservables]>,
    soft: &Soft,
    responses: &Responses<'_>,
    options: &Options,
) -> ClassEvaluation {
    let Group {
        name,
        number,
        members,
        weights,
    } = group;
    let source = Source {
        seed: options.resampling.seed,
        stream: class_stream(*number),
    };
    let of = Class {
        rows,
        group,
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
            truth: Points::features(rows.truth, &members.truth, weights.truth.as_deref()),
            generated: Points::features(
                rows.generated,
                &members.generated,
                weights.generated.as_deref(),
            ),
        };
        feature_distances(&points, of.halves, source)
    };
    let images = || ImageEvaluation::new(&data.map(|d| &d.images), members, weights, of.halves);
    let soft = || soft.of_class(*number, members, weights, of.halves, options.resampling);
    let ((observables, responses), ((features, feature_halves), (images, soft))) = rayon::join(
        || {
            rayon::join(observables, || {
                responses.of_class(*number, rows, members, weights, options.resampling)
            })
        },
        || rayon::join(vectors, || rayon::join(images, soft)),
    );
    let mut observables: Vec<ObservableEvaluation> = observables;
    // The spectrum is that of the first, the logarithm of the pixels.
    let images = match soft.first() {
        Some((_, found)) => images.with_chi2([found.whole.chi2.clone(), found.halves.chi2.clone()]),
        None => images,
    };
    observables.extend((soft.into_iter()).map(|(label, found)| of_grid(label, found)));
    let sample = |data: &Dataset, members: &[usize]| {
        data.images
            .gather(members.iter().copied().take(options.samples))
    };
    ClassEvaluation {
        name,
        counts: members.map(Vec::len),
        weights: summaries(data, members),
        observables,
        images,
        features,
        feature_halves,
        responses,
        samples: Sides {
            truth: sample(data.truth, &members.truth),
            generated: sample(data.generated, &members.generated),
        },
    }
}

/// What the weights of a class are like, where a side has some.
fn summaries(data: &Sides<&Dataset>, members: &Sides<Vec<usize>>) -> Option<Sides<WeightSummary>> {
    let of = |data: &Dataset, members: &[usize]| {
        (data.weights.as_deref()).map_or(WeightSummary::ones(members.len()), |weights| {
            let found: Vec<f32> = members.iter().map(|m| weights[*m]).collect();
            WeightSummary::of(&found)
        })
    };
    let any = data.truth.weights.is_some() || data.generated.weights.is_some();
    any.then(|| Sides {
        truth: of(data.truth, &members.truth),
        generated: of(data.generated, &members.generated),
    })
}

impl Class<'_> {
    fn observable(&self, observable: &Observable, stream: u32) -> ObservableEvaluation {
        let pick = |rows: &[ImageObservables], members: &[usize]| -> Vec<f32> {
            let pick = |m: &usize| (observable.pick)(&rows[*m]);
            members.iter().map(pick).collect()
        };
        let Group {
            members, weights, ..
        } = self.group;
        let truth = pick(self.rows.truth, &members.truth);
        let generated = pick(self.rows.generated, &members.generated);
        let edges = observable.binning.edges(&truth, &generated);
        let truth = Sample {
            values: &truth,
            weights: weights.truth.as_deref(),
        };
        let generated = Sample {
            values: &generated,
            weights: weights.generated.as_deref(),
        };
        let histogram = Comparison::weighted(&edges, truth, generated);
        let half_values = (self.halves.each_ref())
            .map(|half| half.iter().map(|k| truth.values[*k]).collect::<Vec<f32>>());
        let half_weights = self
            .halves
            .each_ref()
            .map(|half| weights::at(truth.weights, half));
        let [first, second] = [0, 1].map(|k| Sample {
            values: &half_values[k],
            weights: half_weights[k].as_deref(),
        });
        let half_histogram = Comparison::weighted(&edges, first, second);
        let seed = self.resampling.seed;
        let apart = |a: Sample<'_>, b: Sample<'_>, histogram: &Comparison, usage: Use| {
            let few = a.len().min(b.len()) < 2;
            let why = |other| match few {
                true => Unavailable::few(2, a.len(), b.len()),
                false => other,
            };
            let w1 = (!few).then(|| distance::jetnet(a, b, seed, stream, usage));
            let found = (!few).then(|| separation(&histogram.truth, &histogram.generated));
            let unable = match histogram.negative() {
                true => Unavailable::NegativeBin,
                false => Unavailable::Cancelled,
            };
            ObservableDistances::new(
                w1.flatten().ok_or(why(Unavailable::Cancelled)),
                found.flatten().ok_or(why(unable)),
            )
        };
        let distances = apart(truth, generated, &histogram, Use::Jetnet);
        let halves = Halves {
            sizes: [first.len(), second.len()],
            found: apart(first, second, &half_histogram, Use::JetnetHalves),
        };
        let found = distance::between(truth, generated, &self.resampling, stream);
        let few = truth.len() < 2 || generated.len() < 2;
        let why = Unavailable::few(2, truth.len(), generated.len());
        let spreads = Sides {
            truth: Spread::of(truth),
            generated: Spread::of(generated),
        };
        ObservableEvaluation {
            observable: observable.into(),
            metrics: metrics(
                observable.unit,
                [truth.len(), generated.len()],
                &spreads,
                found.filter(|_| !few).ok_or(why),
                distances,
                halves,
            ),
            histogram,
        }
    }
}

impl ObservableDistances {
    fn new(w1: Result<Batched, Unavailable>, separation: Result<f64, Unavailable>) -> Self {
        let mut reasons = Reasons::new();
        Self {
            w1_jetnet: value_or_reason(&mut reasons, "w1_jetnet", w1),
            separation: value_or_reason(&mut reasons, "separation", separation),
            reasons,
        }
    }
}

/// What was found on a grid, as of any observable.
fn of_grid(label: Label, found: Found) -> ObservableEvaluation {
    let Found {
        distance,
        spreads,
        histogram,
        whole,
        halves,
    } = found;
    let distances = |apart: &Apart| {
        let [no_w1, no_separation] = apart.why.clone();
        ObservableDistances::new(
            apart.jetnet.ok_or(no_w1),
            apart.separation.ok_or(no_separation),
        )
    };
    let few = whole.images[0].min(whole.images[1]) < 2;
    ObservableEvaluation {
        observable: label,
        metrics: metrics(
            "",
            whole.images,
            &spreads,
            distance
                .filter(|_| !few)
                .ok_or_else(|| whole.why[0].clone()),
            distances(&whole),
            Halves {
                sizes: halves.images,
                found: distances(&halves),
            },
        ),
        histogram,
    }
}

fn metrics(
    unit: &str,
    images: [usize; 2],
    spreads: &Sides<Spread>,
    found: Result<Distance, Unavailable>,
    mut distances: ObservableDistances,
    halves: Halves<ObservableDistances>,
) -> Metrics {
    let found = value_or_reason(&mut distances.reasons, "w1", found);
    let Sides {
        truth: t,
        generated: g,
    } = spreads;
    for (side, key) in [(t, "truth_std"), (g, "generated_std")] {
        let width = side.std.ok_or(Unavailable::NoWidth);
        value_or_reason(&mut distances.reasons, key, width);
    }
    Metrics {
        unit: unit.to_string(),
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
        truth_count: images[0],
        generated_count: images[1],
    }
}
