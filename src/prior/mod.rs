//! How the conditions of a model are distributed over the images that it was trained on, so that they can be drawn too:
//!
//! p(conditions) = p(labels) p(c_1 | labels) p(c_2 | labels, c_1) ..
//!
//! A condition of few values is a label; how often each combination of labels occurred is counted. The range of every
//! other condition is cut into pieces; the one a value lies in is the one pixel of a model of its own,
//! conditioned on what comes before. Within a piece the density is uniform, so p is exact.

pub mod draw;
pub mod learn;
mod store;

use serde::{Deserialize, Serialize};

use super::conditions::ConditionConfig;
use super::data::ImageSize;
use super::families::sarm::Sarm;
use super::families::sarm::config::{
    InputConfig, LikelihoodConfig, ModelConfig, OrderConfig, StageConfig,
};
use super::family::ConfigError;

/// A condition of no more different values than these is a label.
pub const MOST_LABELS: usize = 16;

/// Pieces of a [`Range`] of as many values each.
const PIECES: usize = 64;
/// How often the two outer ones are halved at the most,
const HALVINGS: usize = 20;
/// and how many values the outermost has at the least.
const LEAST_IN_TAIL: usize = 16;
const MOST_KNOTS: usize = PIECES + 1 + 2 * HALVINGS;
/// Far above what [`Density::model`] makes.
const MOST_PARAMETERS: u64 = 1 << 15;

/// The distribution of a model's conditions.
#[derive(Debug, Clone, PartialEq)]
pub struct Prior {
    /// The labels.
    pub labels: Labels,
    /// All other conditions, each given the labels and those before it.
    pub densities: Vec<Density>,
}

/// Conditions of few values.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Labels {
    /// Their names.
    pub names: Vec<String>,
    /// The combinations of values that occurred; a single empty one without labels.
    pub values: Vec<Vec<f32>>,
    /// Images with each combination, at least 1.
    pub images: Vec<u64>,
}

/// One condition, given those before it.
#[derive(Debug, Clone, PartialEq)]
pub struct Density {
    /// Where it lies.
    pub range: Range,
    /// Mean of -ln p of the values in the range that were held out, in nats, p per unit of the condition; they also said when to
    /// stop. Of those trained on where none were held out.
    pub nll: f64,
    /// A model of one pixel: the piece of the range.
    pub model: Sarm,
}

/// The values that a condition can take: the smallest one, which many images may have exactly, and above it pieces that
/// about as many images lie in as in any other, fewer towards the ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// Name of the condition.
    pub name: String,
    /// Ascending values, at least two: where pieces begin and end.
    pub knots: Vec<f32>,
    /// Whether it takes whole numbers only; then each knot lies half above one.
    pub whole: bool,
}

impl Range {
    /// Of these values, finite and not all the same.
    pub fn of(name: &str, values: impl Iterator<Item = f32>) -> Self {
        let mut values: Vec<f32> = values.map(|v| v + 0.0).collect();
        values.sort_unstable_by(f32::total_cmp);
        // Single precision has room for half units up to 2^23.
        let whole = values
            .iter()
            .all(|v| v.fract() == 0.0 && v.abs() < (1 << 22) as f32);
        let last = values.len().saturating_sub(1);
        // A density that is uniform out to the farthest value has too wide a tail: the outer pieces are halved.
        let halvings = (1..=HALVINGS).map(|k| (last / PIECES) >> k);
        let tails: Vec<usize> = halvings.take_while(|n| *n >= LEAST_IN_TAIL).collect();
        let mut places: Vec<usize> = (0..=PIECES).map(|i| i * last / PIECES).collect();
        places.extend(tails.iter().flat_map(|n| [*n, last - n]));
        places.sort_unstable();
        let above = if whole { 0.5 } else { 0.0 };
        let mut knots: Vec<f32> = places.iter().map(|i| values[*i] + above).collect();
        knots.dedup();
        Self {
            name: name.into(),
            knots,
            whole,
        }
    }

    /// The smallest and the largest value of the condition.
    pub fn ends(&self) -> [f32; 2] {
        let above = if self.whole { 0.5 } else { 0.0 };
        [self.knots[0] - above, self.knots[self.pieces()] - above]
    }

    /// Whether it is a value that the condition can take.
    pub fn contains(&self, value: f32) -> bool {
        let [low, high] = self.ends();
        (low..=high).contains(&value) && (!self.whole || value.fract() == 0.0)
    }

    /// The same, give or take a thousandth of the range: cuts are round numbers, and no image lies on one.
    pub fn near(&self, value: f32) -> bool {
        let [low, high] = self.ends();
        let margin = 1e-3 * (high - low);
        (low - margin..=high + margin).contains(&value) && (!self.whole || value.fract() == 0.0)
    }

    /// How many pieces there are.
    pub fn pieces(&self) -> usize {
        self.knots.len() - 1
    }

    /// The piece that `value` lies in, the last one if it lies above all. `None`: it is the smallest one, or below.
    fn piece(&self, value: f32) -> Option<usize> {
        let below = self.knots.partition_point(|k| *k <= value);
        let smallest = value <= self.ends()[0];
        (!smallest).then(|| below.saturating_sub(1).min(self.pieces() - 1))
    }

    fn length(&self, piece: usize) -> f64 {
        f64::from(self.knots[piece + 1]) - f64::from(self.knots[piece])
    }

    /// The pixel that stands for `value`: 0 for the smallest value itself, else the number of its piece counted from 1.
    pub fn pixel(&self, value: f32) -> f32 {
        self.piece(value).map_or(0.0, |piece| (piece + 1) as f32)
    }

    /// The value that lies `along`, 0 to 1, in the piece of `pixel`.
    pub fn value(&self, pixel: f32, along: f64) -> f32 {
        let [low, high] = self.ends();
        let Some(piece) = (pixel.round() as usize).checked_sub(1) else {
            return low;
        };
        let piece = piece.min(self.pieces() - 1);
        let value = f64::from(self.knots[piece]) + along.clamp(0.0, 1.0) * self.length(piece);
        let value = if self.whole {
            value.round() + 0.0
        } else {
            value
        };
        (value as f32).clamp(low, high)
    }

    /// What to add to the log-likelihood of a pixel to have that of a condition of `value`: a density per unit, a mass where it is
    /// the smallest value or a whole number.
    pub fn log_factor(&self, value: f32) -> f64 {
        self.piece(value).map_or(0.0, |piece| {
            // The cell of the grid's first level reaches down to 0.
            let cell: f64 = if piece == 0 { 1.5 } else { 1.0 };
            (cell / self.length(piece)).ln()
        })
    }

    /// Whether it is one: a file may say anything.
    fn check(&self) -> bool {
        let many = (2..=MOST_KNOTS).contains(&self.knots.len());
        let ascending = self.knots.windows(2).all(|k| k[0] < k[1]);
        let finite = self.knots.iter().all(|k| k.is_finite());
        let halves = !self.whole || self.knots.iter().all(|k| k.abs().fract() == 0.5);
        many && ascending && finite && halves
    }
}

/// What a file says of a [`Prior`] besides the parameters.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    labels: Labels,
    densities: Vec<DensityHeader>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DensityHeader {
    range: Range,
    nll: f64,
    config: ModelConfig,
}

impl Density {
    /// A model of the pieces of `range`, without parameters, conditioned on what `given` says.
    pub fn model(range: &Range, given: ConditionConfig) -> Result<Sarm, ConfigError> {
        Sarm::new(ModelConfig {
            image: ImageSize {
                height: 1,
                width: 1,
            },
            order: OrderConfig::default(),
            stage: vec![StageConfig {
                square: None,
                units_per_pixel: 32,
                layers: 1,
            }],
            likelihood: LikelihoodConfig::Dd {
                latents: 16,
                levels: range.pieces(),
                power: 1.0,
                maximum: Some(range.pieces() as f64),
            },
            input: InputConfig::default(),
            condition: given,
        })
    }
}

impl Labels {
    /// The values of label `i`, ascending, with the images that had each.
    pub fn values_of(&self, i: usize) -> Vec<(f32, u64)> {
        let mut all: Vec<(f32, u64)> = (self.values.iter().zip(&self.images))
            .map(|(row, n)| (row[i], *n))
            .collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        all.dedup_by(|later, first| {
            let same = later.0 == first.0;
            first.1 += if same { later.1 } else { 0 };
            same
        });
        all
    }
}

impl Prior {
    /// Names of the conditions in the order in which they are drawn.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let densities = self.densities.iter().map(|d| d.range.name.as_str());
        self.labels
            .names
            .iter()
            .map(String::as_str)
            .chain(densities)
    }

    /// As the metadata of a checkpoint have it.
    pub(super) fn header(&self) -> Result<String, serde_json::Error> {
        let densities = self.densities.iter().map(|d| DensityHeader {
            range: d.range.clone(),
            nll: d.nll,
            config: d.model.config.clone(),
        });
        serde_json::to_string(&Header {
            labels: self.labels.clone(),
            densities: densities.collect(),
        })
    }

    /// Of conditions `names`, from such a header, all parameters 0; the reason why it is none.
    pub(super) fn from_header(text: &str, names: &[String]) -> Result<Self, String> {
        let header: Header = serde_json::from_str(text).map_err(|e| e.to_string())?;
        let Labels {
            names: labels,
            values,
            images,
        } = &header.labels;
        let whole_rows = values.iter().all(|row| row.len() == labels.len());
        let finite = values.iter().flatten().all(|v| v.is_finite());
        if values.is_empty() || values.len() != images.len() || !whole_rows || !finite {
            return Err("its labels do not fit together".into());
        }
        if labels.len() + header.densities.len() != names.len() {
            return Err("it is of another number of conditions".into());
        }
        if images.contains(&0)
            || images
                .iter()
                .try_fold(0u64, |a, b| a.checked_add(*b))
                .is_none()
        {
            return Err("its labels have impossible counts".into());
        }
        let mut before = labels.clone();
        let mut densities = Vec::new();
        for DensityHeader { range, nll, config } in header.densities {
            if !range.check() || !nll.is_finite() {
                return Err(format!("the range of '{}' is no range", range.name));
            }
            config
                .check()
                .and_then(|()| config.check_complete())
                .map_err(|e| format!("'{}': {e}", range.name))?;
            let one = config.image.height == 1 && config.image.width == 1;
            let pieces = range.pieces();
            let of_pieces = matches!(
                config.likelihood,
                LikelihoodConfig::Dd { levels, power, maximum: Some(end), .. }
                    if levels == pieces && power == 1.0 && end == pieces as f64
            );
            // A hostile file may ask for more than memory holds.
            let small = config.parameters() <= MOST_PARAMETERS;
            if !one || !of_pieces || !small || config.condition.names != before {
                return Err(format!(
                    "the model of '{}' is of something else",
                    range.name
                ));
            }
            before.push(range.name.clone());
            let model = Sarm::new(config).map_err(|e| e.to_string())?;
            densities.push(Density { range, nll, model });
        }
        let each_once = names
            .iter()
            .all(|n| before.iter().filter(|b| *b == n).count() == 1);
        if !each_once || before.len() != names.len() {
            return Err(format!(
                "it is of {}, the model of {}",
                before.join(", "),
                names.join(", ")
            ));
        }
        Ok(Self {
            labels: header.labels,
            densities,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_pixels_are_one_another() {
        // Even up to 250, then five times as thin.
        let values = (0..2000).map(|i| match i {
            ..1000 => 240.0 + 0.01 * i as f32,
            _ => 250.0 + 0.05 * (i - 1000) as f32,
        });
        let range = Range::of("jet_pt", values.clone());
        assert!(!range.whole && range.contains(240.0) && !range.contains(239.9));
        assert_eq!((range.pieces(), range.ends()[0]), (PIECES, 240.0));
        let mut images = [0; PIECES + 1];
        for value in values {
            let pixel = range.pixel(value);
            images[pixel as usize] += 1;
            assert!(
                value == 240.0
                    || range.value(pixel, 0.0) <= value && value <= range.value(pixel, 1.0)
            );
        }
        assert_eq!(images[0], 1, "the smallest one");
        assert!(
            images[1..].iter().all(|n| (29..=33).contains(n)),
            "{images:?}"
        );
        assert_eq!(
            [range.pixel(200.0), range.pixel(400.0)],
            [0.0, PIECES as f32]
        );
        // As many in each piece: the factor goes as the density.
        let ratio = range.log_factor(245.0) - range.log_factor(280.0);
        assert!((ratio - 5f64.ln()).abs() < 0.1, "{ratio}");
        let whole = Range::of("n_pileup", [3.0f32, 80.0, 41.0, 40.0, 41.0].into_iter());
        assert!(
            whole.whole && whole.knots == [3.5, 40.5, 41.5, 80.5] && whole.ends() == [3.0, 80.0]
        );
        let of = |value: f32| whole.pixel(value);
        assert_eq!(
            [3.0, 4.0, 40.0, 41.0, 42.0, 80.0].map(of),
            [0.0, 1.0, 1.0, 2.0, 3.0, 3.0]
        );
        assert!((1..10).all(|i| whole.value(2.0, 0.1 * f64::from(i)) == 41.0));
        assert_eq!(
            [0.001, 0.5, 0.999].map(|along| whole.value(3.0, along)),
            [42.0, 61.0, 80.0]
        );
        assert!(whole.contains(42.0) && !whole.contains(42.5) && !whole.contains(81.0));
        // Half of all have the smallest value.
        let atom = Range::of(
            "cone_40",
            (0..200).map(|i| (i as f32 - 100.0).max(0.0) + 0.5),
        );
        assert!(atom.pieces() < 40 && atom.pixel(0.5) == 0.0 && atom.value(0.0, 0.9) == 0.5);
        assert_eq!(atom.log_factor(0.5), 0.0);
    }

    /// The spread of a long tail is that of the values, not that of the farthest one.
    #[test]
    fn tails_are_no_fatter_than_the_values() {
        let n = 100_000;
        let values = (0..n).map(|i| -(((n - i) as f32 - 0.5) / n as f32).ln());
        let range = Range::of("exponential", values.clone());
        assert!((66..=MOST_KNOTS).contains(&range.knots.len()));
        let spread = |values: &[f64]| {
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
        };
        let was: Vec<f64> = values.clone().map(f64::from).collect();
        let is: Vec<f64> = values
            .enumerate()
            .map(|(i, v)| f64::from(range.value(range.pixel(v), (i % 1000) as f64 / 1000.0)))
            .collect();
        assert!(
            (spread(&is) / spread(&was) - 1.0).abs() < 0.02,
            "{} {}",
            spread(&is),
            spread(&was)
        );
    }

    #[test]
    fn values_of_a_label_are_counted_together() {
        let labels = Labels {
            names: vec!["a".into(), "b".into()],
            values: vec![vec![1.0, -2.0], vec![1.0, 3.0], vec![2.0, -2.0]],
            images: vec![5, 6, 7],
        };
        assert_eq!(labels.values_of(0), [(1.0, 11), (2.0, 7)]);
        assert_eq!(labels.values_of(1), [(-2.0, 12), (3.0, 6)]);
    }

    #[test]
    fn headers_come_back_and_damaged_ones_are_refused() {
        let names = ["jet_pt".to_string(), "signal".into()];
        let range = Range {
            name: "jet_pt".into(),
            knots: vec![250.0, 270.25, 299.5],
            whole: false,
        };
        let prior = Prior {
            labels: Labels {
                names: vec!["signal".into()],
                values: vec![vec![0.0], vec![1.0]],
                images: vec![3, 5],
            },
            densities: vec![Density {
                model: Density::model(
                    &range,
                    ConditionConfig {
                        names: vec!["signal".into()],
                        total: None,
                        mean: vec![0.5],
                        scale: vec![0.5],
                    },
                )
                .unwrap(),
                range,
                nll: 3.5,
            }],
        };
        let text = prior.header().unwrap();
        assert_eq!(Prior::from_header(&text, &names).unwrap(), prior);
        assert_eq!(prior.names().collect::<Vec<_>>(), ["signal", "jet_pt"]);
        for (from, to, why) in [
            ("[3,5]", "[3,0]", "counts"),
            ("[3,5]", "[3,18446744073709551615]", "counts"),
            ("[3,5]", "[3]", "fit together"),
            ("[[0.0],[1.0]]", "[[0.0],[]]", "fit together"),
            ("[250.0,270.25,299.5]", "[250.0,300.0,299.5]", "no range"),
            ("[250.0,270.25,299.5]", "[250.0]", "no range"),
            (
                "[250.0,270.25,299.5],\"whole\":false",
                "[299.0,299.25,299.5],\"whole\":true",
                "no range",
            ),
            ("\"height\":1", "\"height\":2", "something else"),
            ("\"maximum\":2.0", "\"maximum\":1.0", "something else"),
            (
                "\"units_per_pixel\":32",
                "\"units_per_pixel\":1024",
                "something else",
            ),
            (
                "[\"signal\"],\"mean\"",
                "[\"colour\"],\"mean\"",
                "something else",
            ),
            ("\"jet_pt\"", "\"jet_mass\"", "the model of jet_pt, signal"),
            (
                ",\"densities\":[{",
                ",\"densities\":[],\"x\":[{",
                "unknown field",
            ),
            ("{\"labels\"", "{\"label\"", "unknown field"),
        ] {
            assert!(text.contains(from), "{from} in {text}");
            let found = Prior::from_header(&text.replace(from, to), &names).unwrap_err();
            assert!(found.contains(why), "{to}: {found}");
        }
    }
}
