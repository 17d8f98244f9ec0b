//! `[likelihood]` of a configuration.

use serde::{Deserialize, Serialize};

use super::Grid;
use super::mixture::MOST_COMPONENTS;
use crate::data::SparseImages;
use crate::family::{ConfigError, Mistakes, factor, impossible, within};

/// Most levels of a grid.
const MOST_LEVELS: usize = 1 << 16;

/// `[likelihood]`: the distribution of one pixel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum LikelihoodConfig {
    /// Zero or a mixture of truncated logistics (discrete + continuous).
    Dc {
        /// Logistics in the mixture (K).
        #[serde(default = "five")]
        components: usize,
        /// What the logistics are distributions of: the pixel, or a logarithm of it.
        #[serde(default, skip_serializing_if = "SpaceName::is_linear")]
        space: SpaceName,
        /// Unit in GeV in which the network speaks of means and scales; in logarithmic space also where the logarithm turns into
        /// the pixel itself.
        #[serde(default = "one_f64")]
        unit: f64,
        /// Smallest pixel in GeV, in logarithmic space; absent: the smallest of the training data.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lower: Option<f64>,
        /// Largest possible pixel in GeV; absent: no upper truncation.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        upper: Option<f64>,
    },
    /// Zero or one of a grid of positive levels (discrete + discrete).
    Dd {
        /// Latents per pixel, which a map shared by all pixels turns into logits of levels (U).
        #[serde(default = "ten")]
        latents: usize,
        /// Positive levels (N).
        #[serde(default = "levels")]
        levels: usize,
        /// The grid is even in pixel^(1/power); 1 is the paper's even grid.
        #[serde(default = "one_f64")]
        power: f64,
        /// The highest level in GeV; absent: the largest pixel of the training data.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        maximum: Option<f64>,
    },
}

/// The variable of a mixture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpaceName {
    /// The pixel; the paper's.
    #[default]
    Linear,
    /// ln(e^(x / unit) - 1): its logarithm below the unit, the pixel itself above it. The soft end of a spectrum falls as it
    /// should, and nothing is below the lower end.
    Log,
}

impl SpaceName {
    fn is_linear(&self) -> bool {
        *self == SpaceName::Linear
    }
}

fn five() -> usize {
    5
}
fn one_f64() -> f64 {
    1.0
}
fn ten() -> usize {
    10
}
fn levels() -> usize {
    300
}

impl Default for LikelihoodConfig {
    fn default() -> Self {
        LikelihoodConfig::Dc {
            components: 5,
            space: SpaceName::Linear,
            unit: 1.0,
            lower: None,
            upper: None,
        }
    }
}

impl LikelihoodConfig {
    /// Numbers the network gives for a pixel besides its gate (3K or U).
    pub fn values(&self) -> usize {
        match self {
            LikelihoodConfig::Dc { components, .. } => 3 * components,
            LikelihoodConfig::Dd { latents, .. } => *latents,
        }
    }

    /// Check every value.
    ///
    /// # Errors
    /// Those that make no sense, named with their keys.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut found = Mistakes::default();
        match self {
            LikelihoodConfig::Dc {
                components,
                space,
                unit,
                lower,
                upper,
            } => {
                let key = "likelihood.components";
                found.note(within(key, *components, 1, MOST_COMPONENTS));
                found.note(factor("likelihood.unit", *unit));
                if let Some(upper) = upper {
                    found.note(factor("likelihood.upper", *upper));
                }
                if let Some(lower) = lower {
                    let sound = found.note(factor("likelihood.lower", *lower));
                    if *space == SpaceName::Linear {
                        found.note(impossible(
                            "likelihood.lower",
                            lower,
                            "it goes with likelihood.space = \"log\" only: in linear space a pixel may be as small as it likes",
                        ));
                    }
                    let upper = upper.filter(|upper| sound && *upper <= 2.0 * lower);
                    if let Some(upper) = upper {
                        found.note(impossible(
                            "likelihood.lower",
                            lower,
                            format!("it must be less than half of likelihood.upper, {upper}"),
                        ));
                    }
                }
            }
            LikelihoodConfig::Dd {
                latents,
                levels,
                power,
                maximum,
            } => {
                found.note(within("likelihood.latents", *latents, 1, 1024));
                let mut grid = found.note(within("likelihood.levels", *levels, 1, MOST_LEVELS));
                if !(power.is_finite() && (0.1..=10.0).contains(power)) {
                    grid = found.note(impossible(
                        "likelihood.power",
                        power,
                        "it must be 0.1 to 10",
                    ));
                }
                if let Some(maximum) = maximum
                    && found.note(factor("likelihood.maximum", *maximum))
                    && grid
                {
                    let lowest = Grid::new(*levels, *power, *maximum).value(0);
                    if !lowest.is_normal() {
                        found.note(impossible(
                            "likelihood.power",
                            power,
                            "the lowest level is 0 in single precision, so it or levels must be lower",
                        ));
                    };
                }
            }
        }
        found.end()
    }

    /// With the ends of the range that `images` say, where the configuration does not.
    pub fn of(&self, images: &SparseImages) -> Self {
        let mut filled = self.clone();
        match &mut filled {
            LikelihoodConfig::Dd { maximum, .. } => {
                maximum.get_or_insert(f64::from(images.largest()).max(1e-3));
            }
            LikelihoodConfig::Dc {
                space: SpaceName::Log,
                lower,
                ..
            } => {
                lower.get_or_insert(f64::from(images.smallest()));
            }
            LikelihoodConfig::Dc { .. } => {}
        }
        filled
    }
}
