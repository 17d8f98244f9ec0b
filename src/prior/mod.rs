//! How the conditions of a model are distributed over the images that it was trained on, so that they can be drawn too:
//!
//! p(conditions) = p(labels) p(c_1 | labels) p(c_2 | labels, c_1) ..
//!
//! A condition of few values is a label; how often each combination of labels occurred is counted. The range of every
//! other condition is cut into pieces; the one a value lies in is the one pixel of a model of its own,
//! conditioned on what comes before. Within a piece the density is uniform, so p is exact.

pub mod draw;
pub mod learn;
mod range;
mod store;

pub use range::Range;

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
/// Parts that the weight of all images is counted in where whole images would be too coarse: exact in a double, far from the end
/// of 64 bits, and more than there are images.
pub const PARTS: u64 = 1 << 40;

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
    /// Images with each combination, at least 1: or parts of their weight, of which there are about [`PARTS`] in all.
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
    ///
    /// # Errors
    /// More pieces than a SARM has levels, conditions that make no sense: what [`Sarm::new`] refuses.
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
            symmetry: Default::default(),
        })
    }
}

impl Labels {
    /// Whether `images` are parts of a weight and not images.
    pub fn in_parts(&self) -> bool {
        self.images.iter().sum::<u64>() > PARTS / 2
    }

    /// The values of label `i`, ascending, with the images that had each.
    ///
    /// # Panics
    /// Where there is no label `i`.
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
                        log: Vec::new(),
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
