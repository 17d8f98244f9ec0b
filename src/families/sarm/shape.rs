//! Shapes, degrees and masks: which unit reads what, and the tensors that follow from it.
//!
//! A stage of n pixels has n * u hidden units a layer, sorted by *degree*: unit j has degree j / u.
//! In the exclusive convention a unit of degree d reads pixels below d and units of degree up to d
//! of the layer below, and the outputs of pixel i read units of degree up to i. As units are
//! sorted, what a row of a weight matrix reads is a *prefix* of its columns, and that prefix is the
//! whole mask. The paper's masks (its equations 8.2 and 8.3) are the same shifted by one; they leave
//! the last unit of every layer without a reader and show the first pixel of a stage nothing at all.

use std::fmt;

use super::config::{LikelihoodConfig, ModelConfig};

/// Sizes of one stage's network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageShape {
    /// Pixels of earlier stages, all of which condition this one.
    pub earlier: usize,
    /// Pixels of this stage (n).
    pub pixels: usize,
    /// Hidden units per pixel and layer (u).
    pub units_per_pixel: usize,
    /// Masked hidden layers after the input layer (L).
    pub layers: usize,
    /// Numbers in the condition vector.
    pub conditions: usize,
    /// Inputs of the network for a pixel (c).
    pub channels: usize,
    /// Numbers the network gives for a pixel besides its gate (3K or U).
    pub values: usize,
    /// Positive levels of D+D (N), 0 for D+C.
    pub levels: usize,
    /// Functions of what is left of an image's total that a pixel's gate and values are shown; 0: none.
    pub left: usize,
}

impl StageShape {
    /// Shapes of all stages, given the pixels in each.
    pub fn all(config: &ModelConfig, pixels: &[usize]) -> Vec<StageShape> {
        let mut earlier = 0;
        config
            .stage
            .iter()
            .zip(pixels)
            .map(|(stage, pixels)| {
                let shape = StageShape {
                    earlier,
                    pixels: *pixels,
                    units_per_pixel: stage.units_per_pixel,
                    layers: stage.layers,
                    conditions: config.condition.names.len(),
                    channels: config.input.channels().len(),
                    values: config.likelihood.values(),
                    levels: match config.likelihood {
                        LikelihoodConfig::Dc { .. } => 0,
                        LikelihoodConfig::Dd { levels, .. } => levels,
                    },
                    left: config.input.left,
                };
                earlier += pixels;
                shape
            })
            .collect()
    }

    /// Hidden units in a layer (n u).
    pub fn units(&self) -> usize {
        self.pixels * self.units_per_pixel
    }

    /// Inputs that every unit sees: the condition vector, then the earlier pixels, all channels of one after another.
    pub fn context(&self) -> usize {
        self.conditions + self.channels * self.earlier
    }

    /// Columns of the input layer: context, then this stage's own pixels.
    pub fn inputs(&self) -> usize {
        self.context() + self.channels * self.pixels
    }

    /// Degree of hidden unit `unit`: the pixel whose outputs are the first to read it.
    pub fn degree(&self, unit: usize) -> usize {
        unit / self.units_per_pixel
    }

    /// Columns of the input layer that unit `unit` reads: a prefix.
    pub fn inputs_read(&self, unit: usize) -> usize {
        self.context() + self.channels * self.degree(unit)
    }

    /// Units of the layer below that anything of degree `degree` reads: a prefix.
    pub fn units_read(&self, degree: usize) -> usize {
        (degree + 1) * self.units_per_pixel
    }

    /// The stage's tensors, in the order of [`StageTensor::index`].
    fn tensors(&self, stage: usize) -> Vec<TensorSpec> {
        let (h, n, p) = (self.units(), self.pixels, self.values);
        let mut list = Vec::new();
        let mut add = |tensor: StageTensor, shape: &[usize]| {
            list.push(TensorSpec {
                name: format!("stage.{stage}.{tensor}"),
                tensor,
                shape: shape.to_vec(),
                stage: *self,
            });
        };
        use StageTensor::*;
        add(InputWeight, &[h, self.inputs()]);
        add(InputBias, &[h]);
        for layer in 0..self.layers {
            add(HiddenWeight(layer), &[h, h]);
            add(HiddenBias(layer), &[h]);
        }
        add(GateWeight, &[n, h]);
        add(GateBias, &[n]);
        add(ValueWeight, &[n, p, h]);
        add(ValueBias, &[n, p]);
        if self.levels > 0 {
            add(LevelsWeight, &[self.levels, p]);
            add(LevelsBias, &[self.levels]);
        }
        if self.left > 0 {
            add(LeftWeight, &[n, 1 + p, self.left]);
        }
        list
    }

    fn tensor_count(&self) -> usize {
        6 + 2 * self.layers + 2 * usize::from(self.levels > 0) + usize::from(self.left > 0)
    }
}

/// One tensor of a stage, weight or bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StageTensor {
    /// `[units, inputs]`
    InputWeight,
    /// `[units]`
    InputBias,
    /// `[units, units]` of hidden layer `.0`
    HiddenWeight(usize),
    /// `[units]` of hidden layer `.0`
    HiddenBias(usize),
    /// `[pixels, units]`
    GateWeight,
    /// `[pixels]`
    GateBias,
    /// `[pixels, values, units]`
    ValueWeight,
    /// `[pixels, values]`
    ValueBias,
    /// `[levels, values]`, D+D only
    LevelsWeight,
    /// `[levels]`, D+D only
    LevelsBias,
    /// `[pixels, 1 + values, functions of what is left]`, with a total only
    LeftWeight,
}

impl StageTensor {
    fn index(self, stage: &StageShape) -> usize {
        let layers = stage.layers;
        match self {
            StageTensor::InputWeight => 0,
            StageTensor::InputBias => 1,
            StageTensor::HiddenWeight(l) => 2 + 2 * l,
            StageTensor::HiddenBias(l) => 3 + 2 * l,
            StageTensor::GateWeight => 2 + 2 * layers,
            StageTensor::GateBias => 3 + 2 * layers,
            StageTensor::ValueWeight => 4 + 2 * layers,
            StageTensor::ValueBias => 5 + 2 * layers,
            StageTensor::LevelsWeight => 6 + 2 * layers,
            StageTensor::LevelsBias => 7 + 2 * layers,
            StageTensor::LeftWeight => stage.tensor_count() - 1,
        }
    }
}

/// Its name in a checkpoint, behind the stage's.
impl fmt::Display for StageTensor {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            StageTensor::InputWeight => write!(f, "input.weight"),
            StageTensor::InputBias => write!(f, "input.bias"),
            StageTensor::HiddenWeight(layer) => write!(f, "hidden.{layer}.weight"),
            StageTensor::HiddenBias(layer) => write!(f, "hidden.{layer}.bias"),
            StageTensor::GateWeight => write!(f, "gate.weight"),
            StageTensor::GateBias => write!(f, "gate.bias"),
            StageTensor::ValueWeight => write!(f, "value.weight"),
            StageTensor::ValueBias => write!(f, "value.bias"),
            StageTensor::LevelsWeight => write!(f, "levels.weight"),
            StageTensor::LevelsBias => write!(f, "levels.bias"),
            StageTensor::LeftWeight => write!(f, "left.weight"),
        }
    }
}

/// Place of a stage's tensor in the model's list.
pub fn tensor_index(stages: &[StageShape], stage: usize, tensor: StageTensor) -> usize {
    let before: usize = stages[..stage].iter().map(StageShape::tensor_count).sum();
    before + tensor.index(&stages[stage])
}

/// Name, shape and mask of one tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Name in the checkpoint.
    pub name: String,
    /// Which of its stage's it is.
    pub tensor: StageTensor,
    /// Shape, row-major.
    pub shape: Vec<usize>,
    pub(crate) stage: StageShape,
}

impl TensorSpec {
    /// All tensors of a model, stage after stage.
    pub fn all(stages: &[StageShape]) -> Vec<TensorSpec> {
        stages
            .iter()
            .enumerate()
            .flat_map(|(i, s)| s.tensors(i))
            .collect()
    }

    /// Numbers in the tensor.
    pub fn size(&self) -> usize {
        self.shape.iter().product()
    }

    /// Length of the last axis.
    pub fn columns(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// All axes but the last, as one.
    pub fn rows(&self) -> usize {
        self.size() / self.columns().max(1)
    }

    /// Whether this is a weight matrix, not a bias.
    pub fn is_weight(&self) -> bool {
        use StageTensor::*;
        match self.tensor {
            InputWeight | HiddenWeight(_) | GateWeight | ValueWeight | LevelsWeight
            | LeftWeight => true,
            InputBias | HiddenBias(_) | GateBias | ValueBias | LevelsBias => false,
        }
    }

    /// Whether weight decay shrinks this tensor: matrices that read units. The input layer holds sums over many pixels
    /// (their start is [`running_sums`](crate::family::TrainConfig::running_sums)), and D+D's map is shared by all pixels:
    /// neither has weights that few images decide.
    pub fn decays(&self) -> bool {
        use StageTensor::*;
        matches!(self.tensor, HiddenWeight(_) | GateWeight | ValueWeight)
    }

    /// Columns that row `row` reads: those below this number. Weights beyond are 0 and stay 0.
    pub fn read(&self, row: usize) -> usize {
        use StageTensor::*;
        match self.tensor {
            InputWeight => self.stage.inputs_read(row),
            HiddenWeight(_) => self.stage.units_read(self.stage.degree(row)),
            GateWeight => self.stage.units_read(row),
            ValueWeight => self.stage.units_read(row / self.stage.values),
            // No mask.
            InputBias | HiddenBias(_) | GateBias | ValueBias | LevelsWeight | LevelsBias
            | LeftWeight => self.columns(),
        }
    }

    /// The first row of `values` with a masked weight that is not 0; such a tensor is damaged.
    pub fn row_beyond_mask(&self, values: &[f32]) -> Option<usize> {
        let rows = values.chunks(self.columns().max(1)).enumerate();
        rows.filter(|(row, values)| values.iter().skip(self.read(*row)).any(|v| *v != 0.0))
            .map(|(row, _)| row)
            .next()
    }

    /// Weights that are not masked.
    pub fn unmasked(&self) -> usize {
        (0..self.rows()).map(|r| self.read(r)).sum()
    }
}
