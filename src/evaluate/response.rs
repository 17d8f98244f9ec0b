//! What comes out for what was asked for: quantities of an image in bins of a condition.
//!
//! Two samples may agree in the distribution of the pixels' sum although no image has the sum that belongs to its energy.
//! Here truth and generated images of the same conditions are compared.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::distance;
use super::distance::{Distance, Resampling};
use super::observable::{OBSERVABLES, Observable};
use super::spread::Spread;
use super::weights::{self, Sample, weight};
use super::{EvaluateError, Sides};
use crate::data::Dataset;
use crate::physics::ImageObservables;

/// Part of the truth that may lie in bins which the generator leaves empty.
const MOST_EMPTY: f64 = 0.1;
/// Bins of a condition, and a place for the ratio: what a stream of random numbers is needed for.
const PLACES: u32 = 32;
/// Conditions that have streams of their own.
const CONDITIONS: u32 = 64;

/// The first stream of random numbers of condition `number` in class number `class`: above those of observables and classes.
fn stream(class: u32, number: u32) -> u32 {
    (1 << 20) + (class * CONDITIONS + number % CONDITIONS) * QUANTITIES.len() as u32 * PLACES
}

/// How far a distance is from what truth against truth would give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Verdict {
    /// Within two spreads of the floor.
    #[serde(rename = "at the floor")]
    AtTheFloor,
    /// Below five floors.
    #[serde(rename = "near")]
    Near,
    /// Above.
    #[serde(rename = "far")]
    Far,
}

impl Verdict {
    /// By a W1, its floor and the spread of that.
    pub fn of(w1: f64, floor: f64, spread: f64) -> Self {
        if w1 <= floor + 2.0 * spread {
            Self::AtTheFloor
        } else if w1 <= 5.0 * floor {
            Self::Near
        } else {
            Self::Far
        }
    }

    /// For readers.
    pub fn word(self) -> &'static str {
        match self {
            Self::AtTheFloor => "at the floor",
            Self::Near => "near",
            Self::Far => "far",
        }
    }
}

/// Quantities of images given one of their conditions; the keys of `metrics.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// The condition.
    #[serde(skip)]
    pub condition: String,
    /// Ends of the bins of the condition; a bin holds its lower end, the last one both.
    pub edges: Vec<f64>,
    /// Images in no bin: their condition is no finite number or beyond the truth's.
    pub outside: Sides<usize>,
    /// The quantities, in the order of tables.
    pub quantities: Vec<Given>,
    /// What a model that is told the sum would do better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
    /// Why there are no quantities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A quantity given a condition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Given {
    /// Key of the observable.
    pub quantity: String,
    /// "GeV", or empty for a pure number.
    pub unit: String,
    /// Correlation of quantity and condition in the truth; `None` where one of them is constant.
    pub correlation: Option<f64>,
    /// The worse one of the bins' and the ratio's; `None` where no bin has two images of either side.
    pub verdict: Option<Verdict>,
    /// Mean over the bins of W1, by the truth's images in them.
    pub w1: Option<f64>,
    /// The same of the bins' floors.
    pub w1_floor: Option<f64>,
    /// Spread of [`w1_floor`](Self::w1_floor).
    pub w1_floor_std: Option<f64>,
    /// Bin by bin.
    pub bins: Vec<GivenBin>,
    /// The quantity divided by the condition, where it grows with it and all conditions are positive.
    pub ratio: Option<GivenRatio>,
}

/// The images of one bin of a condition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GivenBin {
    /// Images.
    pub count: Sides<usize>,
    /// Mean and width of the quantity; `None` of no image, and where weights do not add up to more than 0.
    pub spread: Sides<Option<Spread>>,
    /// W1 of the quantity.
    pub w1: Option<f64>,
    /// Its floor.
    pub w1_floor: Option<f64>,
    /// Spread of the floor.
    pub w1_floor_std: Option<f64>,
}

/// A quantity divided by the condition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "as of an observable")]
pub struct GivenRatio {
    pub spread: Sides<Spread>,
    pub w1: f64,
    pub w1_error: Option<f64>,
    pub w1_floor: Option<f64>,
    pub w1_floor_std: Option<f64>,
    pub verdict: Option<Verdict>,
}

/// The observables that are compared given a condition.
const QUANTITIES: [&str; 4] = ["intensity", "jet_pt", "jet_mass", "multiplicity"];
/// Bins of a condition with many values, and how many images of the truth a bin should have.
const BINS: usize = 8;
const IMAGES: usize = 200;
/// A condition with at most so many values has a bin for each.
const VALUES: usize = 16;
/// Fewest images of the truth.
const LEAST: usize = 20;
/// Above this correlation a quantity grows with the condition.
const GROWS: f64 = 0.5;
/// Above this one the sum of the pixels follows from the condition.
const FOLLOWS: f64 = 0.9;

/// The conditions of both sides.
pub(super) struct Responses<'a> {
    columns: Vec<Column<'a>>,
}

struct Column<'a> {
    name: &'a str,
    values: Sides<&'a [f32]>,
}

impl<'a> Responses<'a> {
    /// # Errors
    /// A side that does not have a condition for each of its images.
    pub(super) fn new(
        data: &Sides<&'a Dataset>,
        conditions: &'a [String],
    ) -> Result<Self, EvaluateError> {
        let find = |side: &'static str, data: &'a Dataset, names: &[&str], name: &str| {
            let images = data.images.len();
            let found = names.iter().find_map(|n| data.columns.get(*n));
            let found = found.filter(|values| values.len() == images);
            found
                .map(Vec::as_slice)
                .ok_or_else(|| EvaluateError::Condition {
                    side,
                    name: name.to_string(),
                    images,
                })
        };
        let column = |name: &'a String| -> Result<Column<'a>, EvaluateError> {
            let given = format!("given_{name}");
            let truth = find("truth", data.truth, &[name], name)?;
            let generated = find("generated", data.generated, &[&given, name], name)?;
            Ok(Column {
                name,
                values: Sides { truth, generated },
            })
        };
        Ok(Self {
            columns: conditions.iter().map(column).collect::<Result<_, _>>()?,
        })
    }

    /// The responses of class number `class`.
    pub(super) fn of_class(
        &self,
        class: u32,
        rows: &Sides<&[ImageObservables]>,
        members: &Sides<Vec<usize>>,
        weights: &Sides<Option<Vec<f32>>>,
        resampling: Resampling,
    ) -> Vec<Response> {
        (self.columns.par_iter().enumerate())
            .map(|(number, column)| {
                let side = |values: &[f32], members: &[usize]| -> Vec<f32> {
                    members.iter().map(|m| values[*m]).collect()
                };
                let events = Events {
                    column,
                    conditions: Sides {
                        truth: side(column.values.truth, &members.truth),
                        generated: side(column.values.generated, &members.generated),
                    },
                    rows,
                    members,
                    weights,
                    resampling,
                    stream: stream(class, number as u32),
                };
                events.response()
            })
            .collect()
    }
}

/// The events of a class with one of their conditions.
struct Events<'a> {
    column: &'a Column<'a>,
    conditions: Sides<Vec<f32>>,
    rows: &'a Sides<&'a [ImageObservables]>,
    members: &'a Sides<Vec<usize>>,
    weights: &'a Sides<Option<Vec<f32>>>,
    resampling: Resampling,
    stream: u32,
}

/// Places of events, for both sides.
type Places = Sides<Vec<usize>>;

impl Events<'_> {
    fn response(&self) -> Response {
        let edges = edges(&self.conditions.truth);
        let mut found = Response {
            condition: self.column.name.to_string(),
            edges: edges.clone().unwrap_or_default(),
            outside: Sides::default(),
            quantities: Vec::new(),
            suggestion: None,
            reason: None,
        };
        let edges = match edges {
            Ok(edges) => edges,
            Err(why) => {
                found.reason = Some(why);
                return found;
            }
        };
        let binned = self.conditions.map(|values| binned(values, &edges));
        found.outside = Sides {
            truth: binned.truth.1,
            generated: binned.generated.1,
        };
        let bins: Vec<Places> = (binned.truth.0.into_iter().zip(binned.generated.0))
            .map(|(truth, generated)| Sides { truth, generated })
            .collect();
        found.quantities = (QUANTITIES.par_iter().enumerate())
            .filter_map(|(k, name)| {
                let observable = OBSERVABLES.iter().find(|o| o.name == *name)?;
                Some(self.given(observable, &bins, self.stream + k as u32 * PLACES))
            })
            .collect();
        found.suggestion = suggestion(self.column.name, &found.quantities);
        found
    }

    fn given(&self, observable: &Observable, bins: &[Places], stream: u32) -> Given {
        let of = |rows: &[ImageObservables], members: &[usize]| -> Vec<f32> {
            (members.iter().map(|m| (observable.pick)(&rows[*m]))).collect()
        };
        let values = Sides {
            truth: of(self.rows.truth, &self.members.truth),
            generated: of(self.rows.generated, &self.members.generated),
        };
        let found: Vec<GivenBin> = (bins.iter().zip(0..))
            .map(|(places, bin)| self.bin(&values, places, stream + bin))
            .collect();
        // Bins count by the truth in them; their floors are independent.
        let used = || {
            found.iter().filter_map(|bin| {
                let all = (bin.w1?, bin.w1_floor?, bin.w1_floor_std?);
                Some((bin.count.truth as f64, all))
            })
        };
        let all: f64 = used().map(|(count, _)| count).sum();
        let events =
            |of: &mut dyn Iterator<Item = &GivenBin>| of.map(|b| b.count.truth).sum::<usize>();
        let left_empty = events(&mut found.iter().filter(|bin| bin.count.generated < 2));
        let truth = events(&mut found.iter());
        let mean = |of: &dyn Fn((f64, f64, f64)) -> f64, power: i32| {
            (all > 0.0).then(|| {
                used()
                    .map(|(count, bin)| (count / all * of(bin)).powi(power))
                    .sum::<f64>()
            })
        };
        let w1 = mean(&|b| b.0, 1);
        let w1_floor = mean(&|b| b.1, 1);
        let w1_floor_std = mean(&|b| b.2, 2).map(f64::sqrt);
        let correlation = self.correlation(&values.truth);
        let grows = correlation.is_some_and(|c| c > GROWS) && observable.name != "multiplicity";
        let ratio = grows
            .then(|| self.ratio(&values, stream + PLACES - 1))
            .flatten();
        // A bin that the generator leaves empty has no distance, and is no agreement.
        let by_bins = match left_empty as f64 > MOST_EMPTY * truth as f64 {
            true => Some(Verdict::Far),
            false => verdict(w1, w1_floor, w1_floor_std),
        };
        Given {
            quantity: observable.name.to_string(),
            unit: observable.unit.to_string(),
            correlation,
            verdict: by_bins.max(ratio.as_ref().and_then(|r| r.verdict)),
            w1,
            w1_floor,
            w1_floor_std,
            bins: found,
            ratio,
        }
    }

    fn bin(&self, values: &Sides<Vec<f32>>, places: &Places, stream: u32) -> GivenBin {
        let pick = |values: &[f32], places: &[usize]| -> Vec<f32> {
            places.iter().map(|p| values[*p]).collect()
        };
        let chosen = Sides {
            truth: pick(&values.truth, &places.truth),
            generated: pick(&values.generated, &places.generated),
        };
        let weights = Sides {
            truth: weights::at(self.weights.truth.as_deref(), &places.truth),
            generated: weights::at(self.weights.generated.as_deref(), &places.generated),
        };
        let truth = Sample {
            values: &chosen.truth,
            weights: weights.truth.as_deref(),
        };
        let generated = Sample {
            values: &chosen.generated,
            weights: weights.generated.as_deref(),
        };
        let spread = |side: Sample<'_>| {
            let sum: f64 = side.pairs().map(|(_, w)| w).sum();
            (sum > 0.0).then(|| Spread::of(side))
        };
        let enough = truth.len().min(generated.len()) >= 2;
        let resampling = Resampling {
            bootstrap: 0,
            ..self.resampling
        };
        let found =
            (enough.then(|| distance::between(truth, generated, &resampling, stream))).flatten();
        GivenBin {
            count: places.map(Vec::len),
            spread: Sides {
                truth: spread(truth),
                generated: spread(generated),
            },
            w1: found.map(|d| d.w1),
            w1_floor: floor(&found, |f| f.mean),
            w1_floor_std: floor(&found, |f| f.std),
        }
    }

    /// `None` where a condition is not above 0.
    fn ratio(&self, values: &Sides<Vec<f32>>, stream: u32) -> Option<GivenRatio> {
        let divided = |values: &[f32], conditions: &[f32]| -> Option<Vec<f32>> {
            (values.iter().zip(conditions))
                .map(|(v, c)| (*c > 0.0 && c.is_finite()).then(|| v / c))
                .collect()
        };
        let truth = divided(&values.truth, &self.conditions.truth)?;
        let generated = divided(&values.generated, &self.conditions.generated)?;
        let truth = Sample {
            values: &truth,
            weights: self.weights.truth.as_deref(),
        };
        let generated = Sample {
            values: &generated,
            weights: self.weights.generated.as_deref(),
        };
        let found = distance::between(truth, generated, &self.resampling, stream)?;
        let (w1_floor, w1_floor_std) = (found.floor.map(|f| f.mean), found.floor.map(|f| f.std));
        Some(GivenRatio {
            spread: Sides {
                truth: Spread::of(truth),
                generated: Spread::of(generated),
            },
            w1: found.w1,
            w1_error: found.error,
            w1_floor,
            w1_floor_std,
            verdict: verdict(Some(found.w1), w1_floor, w1_floor_std),
        })
    }

    /// Pearson's, of the truth; conditions that are no finite numbers are left out.
    fn correlation(&self, values: &[f32]) -> Option<f64> {
        let weights = self.weights.truth.as_deref();
        let events = || {
            (values.iter().zip(&self.conditions.truth).enumerate())
                .filter(|(_, (_, c))| c.is_finite())
                .map(|(i, (v, c))| (weight(weights, i), f64::from(*v), f64::from(*c)))
        };
        let total: f64 = events().map(|(w, _, _)| w).sum();
        let mean = |of: &dyn Fn(f64, f64) -> f64| -> f64 {
            events().map(|(w, v, c)| w * of(v, c)).sum::<f64>() / total
        };
        let (mv, mc) = (mean(&|v, _| v), mean(&|_, c| c));
        let both = mean(&|v, c| (v - mv) * (c - mc));
        let squares = mean(&|v, _| (v - mv).powi(2)) * mean(&|_, c| (c - mc).powi(2));
        let found = both / squares.sqrt();
        found.is_finite().then_some(found)
    }
}

fn floor(found: &Option<Distance>, of: impl Fn(distance::Floor) -> f64) -> Option<f64> {
    found.and_then(|d| d.floor).map(of)
}

fn verdict(w1: Option<f64>, floor: Option<f64>, spread: Option<f64>) -> Option<Verdict> {
    Some(Verdict::of(w1?, floor?, spread?))
}

/// Where the truth's sum follows from the condition, and the generated one is far from it.
fn suggestion(condition: &str, quantities: &[Given]) -> Option<String> {
    let sum = quantities.iter().find(|q| q.quantity == "intensity")?;
    let correlation = sum.correlation.filter(|c| *c >= FOLLOWS)?;
    (sum.verdict? == Verdict::Far).then(|| {
        format!(
            "the sum of an image nearly follows from '{condition}' (their correlation is {correlation:.3} in the truth); a \
             model with a total among its conditions ('total' under [condition] in its configuration) keeps to the sum that \
             it is told"
        )
    })
}

/// Ends of the bins of a condition: one bin a value where there are few values, else bins of equally many images.
///
/// # Errors
/// Why there are no bins.
fn edges(truth: &[f32]) -> Result<Vec<f64>, String> {
    let mut values: Vec<f32> = truth.iter().copied().filter(|v| v.is_finite()).collect();
    if values.len() < LEAST {
        return Err(format!(
            "wants {LEAST} true images with a finite value (there are {})",
            values.len()
        ));
    }
    values.sort_unstable_by(f32::total_cmp);
    let mut different = values.clone();
    different.dedup();
    let [first, .., last] = different.as_slice() else {
        return Err("is the same for all true images".to_string());
    };
    let (first, last) = (f64::from(*first), f64::from(*last));
    let mut edges = vec![first];
    if different.len() <= VALUES {
        let middles = different
            .windows(2)
            .map(|w| 0.5 * (f64::from(w[0]) + f64::from(w[1])));
        edges.extend(middles);
        // The outermost values stand in the middle of their bins as well.
        let (inner, outer) = (edges[1], edges[edges.len() - 1]);
        edges[0] = 2.0 * first - inner;
        edges.push(2.0 * last - outer);
    } else {
        let bins = (values.len() / IMAGES).clamp(2, BINS);
        for k in 1..bins {
            let edge = f64::from(values[k * values.len() / bins]);
            if edge > edges[edges.len() - 1] && edge < last {
                edges.push(edge);
            }
        }
        edges.push(last);
    }
    Ok(edges)
}

/// Places of the values in each bin, and how many are in none.
fn binned(values: &[f32], edges: &[f64]) -> (Vec<Vec<usize>>, usize) {
    let mut bins = vec![Vec::new(); edges.len() - 1];
    let mut outside = 0;
    for (place, value) in values.iter().enumerate() {
        let value = f64::from(*value);
        let last = edges[edges.len() - 1];
        match edges.partition_point(|e| *e <= value) {
            _ if !value.is_finite() => outside += 1,
            0 => outside += 1,
            _ if value == last => bins[edges.len() - 2].push(place),
            above if above < edges.len() => bins[above - 1].push(place),
            _ => outside += 1,
        }
    }
    (bins, outside)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::resample::class_stream;

    #[test]
    fn few_values_have_a_bin_each_and_many_have_equal_shares() {
        let labels: Vec<f32> = (0..60).map(|i| [10.0, 20.0, 40.0][i % 3]).collect();
        assert_eq!(edges(&labels).unwrap(), [5.0, 15.0, 30.0, 50.0]);
        let (bins, outside) = binned(
            &[10.0, 40.0, 50.0, 4.0, f32::NAN, 60.0],
            &[5.0, 15.0, 30.0, 50.0],
        );
        assert_eq!((bins, outside), (vec![vec![0], vec![], vec![1, 2]], 3));
        let many: Vec<f32> = (0..2000).map(|i| i as f32 * 0.5).collect();
        let found = edges(&many).unwrap();
        let (bins, outside) = binned(&many, &found);
        assert_eq!((bins.len(), outside), (8, 0));
        assert!(bins.iter().all(|b| b.len() == 250));
        assert!(edges(&[3.0; 100]).unwrap_err().contains("the same"));
        assert!(edges(&[3.0; 10]).unwrap_err().contains("wants 20"));
    }

    #[test]
    fn random_numbers_are_those_of_nobody_else() {
        let mut seen = std::collections::BTreeSet::new();
        for class in 0..3 {
            seen.insert(class_stream(class));
            for number in 0..CONDITIONS {
                for place in 0..QUANTITIES.len() as u32 * PLACES {
                    assert!(seen.insert(stream(class, number) + place));
                }
            }
        }
    }

    #[test]
    fn worse_verdicts_are_larger() {
        assert!(Verdict::Far > Verdict::Near && Verdict::Near > Verdict::AtTheFloor);
        assert_eq!(Verdict::of(1.0, 0.9, 0.1), Verdict::AtTheFloor);
        assert_eq!(Verdict::of(4.4, 0.9, 0.1), Verdict::Near);
        assert_eq!(Verdict::of(4.6, 0.9, 0.1), Verdict::Far);
    }
}
