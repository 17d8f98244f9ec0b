//! The configuration of a user, as TOML: `[order]`, `[[stage]]`, `[likelihood]`, `[input]`, `[condition]`, `[train]`.

mod check;
mod parse;
mod units;

use serde::{Deserialize, Serialize};

use crate::conditions::ConditionConfig;
use crate::data::ImageSize;
use crate::family::TrainConfig;
pub use crate::likelihood::{LikelihoodConfig, SpaceName};

/// A whole configuration file: the model and how to train it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Which family of models it is of.
    pub model: FamilyConfig,
    /// Size of the images; taken from the data when absent.
    pub image: Option<ImageSize>,
    /// The order in which pixels are drawn.
    pub order: OrderConfig,
    /// The networks, centre first. Empty: one stage for the whole image.
    pub stage: Vec<StageConfig>,
    /// Distribution of one pixel.
    pub likelihood: LikelihoodConfig,
    /// Inputs of the network for a pixel.
    pub input: InputConfig,
    /// Per-row quantities that every stage is conditioned on.
    pub condition: ConditionConfig,
    /// What leaves an image what it is.
    #[serde(skip_serializing_if = "SymmetryConfig::is_none")]
    pub symmetry: SymmetryConfig,
    /// Optimisation.
    pub train: TrainConfig,
}

/// `[model]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FamilyConfig {
    /// The family.
    pub family: FamilyName,
}

/// The family of a SARM's configuration: there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FamilyName {
    /// Sparse autoregressive models.
    #[default]
    Sarm,
}

/// The part of a configuration that a model *is*: all but `[train]`. Stored in its checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Size of the images.
    pub image: ImageSize,
    /// The order in which pixels are drawn.
    pub order: OrderConfig,
    /// The networks, centre first.
    pub stage: Vec<StageConfig>,
    /// Distribution of one pixel.
    pub likelihood: LikelihoodConfig,
    /// Inputs of the network for a pixel.
    pub input: InputConfig,
    /// Per-row quantities that every stage is conditioned on.
    pub condition: ConditionConfig,
    /// What leaves an image what it is.
    #[serde(default, skip_serializing_if = "SymmetryConfig::is_none")]
    pub symmetry: SymmetryConfig,
}

/// A way through the pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OrderKind {
    /// Outwards from the centre; the paper's.
    #[default]
    Spiral,
    /// The spiral backwards, inwards from the corner.
    ReverseSpiral,
    /// Row by row.
    Rows,
    /// Column by column.
    Columns,
    /// Shuffled by `seed`.
    Random,
}

/// `[symmetry]`: what leaves an image what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SymmetryConfig {
    /// An image and its mirror image, left and right exchanged, are one; the one whose right half holds more is drawn.
    pub mirror: bool,
}

impl SymmetryConfig {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// `[order]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OrderConfig {
    /// The way through the pixels; stages are taken one after another, each in this order.
    pub kind: OrderKind,
    /// Seed of `random`.
    pub seed: u64,
}

/// `[[stage]]`: one masked network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageConfig {
    /// Side of the centred square that this stage ends with; absent in the last stage, which takes the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub square: Option<usize>,
    /// Hidden units per pixel and layer.
    #[serde(default = "one")]
    pub units_per_pixel: usize,
    /// Masked hidden layers after the input layer (L).
    #[serde(default = "five")]
    pub layers: usize,
}

fn one() -> usize {
    1
}
fn five() -> usize {
    5
}
/// A monotone function of a pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transform {
    /// The pixel itself; the paper's.
    #[default]
    Raw,
    /// ln(1 + pixel).
    Log1p,
    /// Square root.
    Sqrt,
}

/// One input of the network for a pixel: `scale transform(pixel / unit)`. A zero gives zero.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Channel {
    /// The function.
    pub transform: Transform,
    /// GeV that count as 1.
    pub unit: f64,
    /// Factor that brings it to the size of the others: Adam moves all weights alike.
    pub scale: f64,
}

impl Default for Channel {
    fn default() -> Self {
        Self {
            transform: Transform::Raw,
            unit: 1.0,
            scale: 1.0,
        }
    }
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// `[input]`: the inputs of the network for a pixel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InputConfig {
    /// The function.
    pub transform: Transform,
    /// GeV that count as 1.
    pub unit: f64,
    /// Further inputs for the same pixel.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Channel>,
    /// Functions of what is left of the total that a pixel's gate and values are shown; 0: none.
    #[serde(skip_serializing_if = "is_zero")]
    pub left: usize,
}

impl Default for InputConfig {
    fn default() -> Self {
        let Channel {
            transform, unit, ..
        } = Channel::default();
        Self {
            transform,
            unit,
            also: Vec::new(),
            left: 0,
        }
    }
}

impl InputConfig {
    /// All inputs for a pixel, at least one and at most [`MOST_CHANNELS`].
    pub fn channels(&self) -> Vec<Channel> {
        let first = Channel {
            transform: self.transform,
            unit: self.unit,
            scale: 1.0,
        };
        [first]
            .into_iter()
            .chain(self.also.iter().copied())
            .collect()
    }
}

/// The most inputs that a network may have for a pixel.
pub const MOST_CHANNELS: usize = 4;
