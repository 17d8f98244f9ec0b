//! A SARM: configuration, what follows from it, parameters.

use super::config::{Channel, LikelihoodConfig, ModelConfig, SpaceName, Transform};
use super::likelihood::{Grid, Mixture, Rest, Space, Support};
use super::{StageShape, StageTensor, TensorSpec, order, shape};
use crate::conditions::{Budget, Conditions, Total};
use crate::data::SparseImages;
use crate::family::{Beyond, ConfigError};

/// A model: its configuration, what follows from it, and its parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Sarm {
    /// The configuration, complete: sizes, grid and condition statistics filled in.
    pub config: ModelConfig,
    /// Row-major pixel indices of each stage, in drawing order.
    pub order: Vec<Vec<u16>>,
    /// Sizes of each stage's network.
    pub stages: Vec<StageShape>,
    /// Names, shapes and masks of the parameters.
    pub tensors: Vec<TensorSpec>,
    /// The parameters, one flat row-major tensor each.
    pub parameters: Vec<Vec<f32>>,
}

/// The distribution of positive pixels, ready to evaluate.
#[derive(Debug, Clone)]
pub enum Values {
    /// D+C
    Mixture(Mixture),
    /// D+D
    Levels(Grid),
}

impl Sarm {
    /// A model of `config`, which must pass [`ModelConfig::check`], with all parameters 0.
    ///
    /// # Errors
    /// What [`ModelConfig::check`] refuses.
    pub fn new(config: ModelConfig) -> Result<Self, ConfigError> {
        config.check()?;
        let order = order::stages(&config);
        let counts: Vec<usize> = order.iter().map(Vec::len).collect();
        let stages = StageShape::all(&config, &counts);
        let tensors = TensorSpec::all(&stages);
        let parameters = tensors.iter().map(|t| vec![0.0; t.size()]).collect();
        Ok(Self {
            config,
            order,
            stages,
            tensors,
            parameters,
        })
    }

    /// Place of a tensor in [`tensors`](Self::tensors) and [`parameters`](Self::parameters).
    ///
    /// # Panics
    /// Where there is no such stage.
    pub fn index(&self, stage: usize, tensor: StageTensor) -> usize {
        shape::tensor_index(&self.stages, stage, tensor)
    }

    /// One tensor's numbers.
    ///
    /// # Panics
    /// Where there is no such stage or tensor.
    pub fn parameter(&self, stage: usize, tensor: StageTensor) -> &[f32] {
        &self.parameters[self.index(stage, tensor)]
    }

    /// What the network is shown of condition number `i` when it is `value`.
    ///
    /// # Panics
    /// Where there is no condition `i`.
    pub fn standardise(&self, i: usize, value: f32) -> f32 {
        self.config.condition.standardise(i, value)
    }

    /// Pixels in an image.
    pub fn pixels(&self) -> usize {
        self.config.image.height * self.config.image.width
    }

    /// Numbers that the network is shown of an image: the condition, then all channels of every pixel in drawing order.
    pub fn inputs(&self) -> usize {
        let channels = self.config.input.channels().len();
        self.config.condition.names.len() + channels * self.pixels()
    }

    /// Where each row-major pixel is drawn: (stage, place in the stage).
    pub fn places(&self) -> Vec<(u16, u16)> {
        let mut places = vec![(0, 0); self.pixels()];
        for (s, stage) in self.order.iter().enumerate() {
            for (place, pixel) in stage.iter().enumerate() {
                places[usize::from(*pixel)] = (s as u16, place as u16);
            }
        }
        places
    }

    /// The condition that is the sum of an image's pixels, where the model has one.
    pub fn total(&self) -> Option<Total> {
        self.config.condition.total_over(self.pixels())
    }

    /// What an image under the standardised `condition` may spend on its pixels, where the model has a total.
    ///
    /// # Panics
    /// Where `condition` ends before the total.
    pub fn budget(&self, condition: &[f32]) -> Option<Budget> {
        Conditions::new(condition.len(), condition.to_vec())
            .with_total(self.total())
            .budget(0)
    }

    /// Weights and biases that are not masked.
    pub fn unmasked(&self) -> usize {
        self.tensors.iter().map(TensorSpec::unmasked).sum()
    }

    /// The distribution of positive pixels.
    pub fn values(&self) -> Values {
        match self.config.likelihood {
            LikelihoodConfig::Dc {
                components,
                space,
                unit,
                lower,
                upper,
            } => Values::Mixture(Mixture {
                components,
                support: Support {
                    unit,
                    upper: upper.unwrap_or(f64::INFINITY),
                    space: match space {
                        SpaceName::Linear => Space::Linear,
                        SpaceName::Log => Space::log(unit, lower.unwrap_or(unit)),
                    },
                },
                rest: Rest::Free,
            }),
            LikelihoodConfig::Dd {
                levels,
                power,
                maximum,
                ..
            } => Values::Levels(Grid::new(levels, power, maximum.unwrap_or(1.0))),
        }
    }
}

impl Values {
    /// Where the range ends, GeV.
    pub fn end(&self) -> f64 {
        match self {
            Values::Levels(grid) => grid.end(),
            Values::Mixture(mixture) => mixture.support.upper,
        }
    }

    /// Pixels of `images` beyond the range; `None` when there are none.
    pub fn beyond(&self, images: &SparseImages) -> Option<Beyond> {
        let end = self.end();
        let (what, key) = match self {
            Values::Mixture(_) => ("likelihood.upper", "likelihood.upper"),
            Values::Levels(_) => ("the grid's end", "likelihood.maximum"),
        };
        let outside = |x: f32| match self {
            // Rounding at the grid's very end is the grid's own affair; a power a pixel costs too much.
            Values::Levels(grid) => f64::from(x) > 0.999 * end && grid.level(x).is_none(),
            // What was drawn at the very end may stand a rounding above it.
            Values::Mixture(_) => x > end as f32 * (1.0 + 4.0 * f32::EPSILON),
        };
        let mut found: Option<Beyond> = None;
        for (image, (pixels, values)) in images.iter().enumerate() {
            for (pixel, x) in pixels.iter().zip(values).filter(|(_, x)| outside(**x)) {
                let so_far = found.get_or_insert(Beyond {
                    count: 0,
                    end,
                    what,
                    key,
                    largest: 0.0,
                    image,
                    pixel: 0,
                });
                so_far.count += 1;
                if *x > so_far.largest {
                    (so_far.largest, so_far.image) = (*x, image);
                    so_far.pixel = usize::from(*pixel);
                }
            }
        }
        found
    }
}

impl Channel {
    /// What the network is shown of a pixel of `x` GeV.
    #[inline]
    pub fn apply(&self, x: f32) -> f32 {
        let y = x / self.unit as f32;
        let scale = self.scale as f32;
        scale
            * match self.transform {
                Transform::Raw => y,
                // One rounding of 1 + y costs nothing that a network would see, and keeps to functions
                // whose bits do not depend on the platform.
                Transform::Log1p => crate::numeric::ln(1.0 + y),
                Transform::Sqrt => y.sqrt(),
            }
    }
}
