//! A SARM: configuration, what follows from it, parameters.

use super::config::{Channel, ModelConfig, Transform};
use super::{StageShape, StageTensor, TensorSpec, order, shape};
use crate::conditions::{Budget, Conditions, Total};
use crate::data::SparseImages;
use crate::family::ConfigError;
use crate::likelihood::Values;

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
        let conditions =
            Conditions::new(condition.len(), condition.to_vec()).with_total(self.total());
        self.values().first(conditions.budget(0))
    }

    /// Weights and biases that are not masked.
    pub fn unmasked(&self) -> usize {
        self.tensors.iter().map(TensorSpec::unmasked).sum()
    }

    /// That pixels of `images` are smaller than what counts as nothing of a total, where some are and the model has a lower
    /// end to keep them from.
    pub(super) fn pixels_that_count_as_nothing(&self, images: &SparseImages) -> Option<String> {
        let total = self.total()?;
        let Values::Mixture(mixture) = self.values() else {
            return None;
        };
        let nothing = total.budget(total.mean).tolerance;
        let lower = mixture.support.lower();
        if lower == 0.0 || lower as f32 > nothing {
            return None;
        }
        let values = images.csr().2;
        let count = values.iter().filter(|x| **x <= nothing).count();
        (count > 0).then(|| {
            format!(
                "{count} of {} nonzero pixels are no larger than {nothing:.1e}, which counts as nothing of a total of {:.4e} (sums in single precision are as wrong as that, so no image is drawn that ends with such a pixel); pass --threshold {:e} to set them to zero",
                values.len(),
                total.mean,
                rounded_up(nothing),
            )
        })
    }

    /// The distribution of positive pixels.
    pub fn values(&self) -> Values {
        Values::new(&self.config.likelihood)
    }
}

/// To one digit, upwards.
fn rounded_up(x: f32) -> f64 {
    let x = f64::from(x);
    let unit = 10f64.powi(x.log10().floor() as i32);
    let up = (x / unit).ceil() * unit;
    format!("{up:.0e}").parse().unwrap_or(up)
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
