//! The slowest sampler with a card's roundings: a whole network for each pixel, in f32, one sum after another. To try the
//! checker on, also with a defect.
#![allow(dead_code)]

use half::bf16;
use sarm::conditions::Conditions;
use sarm::conditions::total::{is_spent, spend};
use sarm::data::SparseImages;
use sarm::families::sarm::{Sarm, StageTensor, TensorSpec, Values};
use sarm::likelihood::levels;
use sarm::random::{Purpose, unit, words};

use crate::support::rounded::Left;

/// What it does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    None,
    /// None either: sums from the last term to the first, as no engine makes them.
    Backwards,
    /// Weights in f32.
    Weights,
    /// Inputs in f32.
    Inputs,
    /// Activations in f32.
    Activations,
    /// The activations of the last hidden layer in bf16, cut off instead of rounded.
    Truncation,
    /// A pixel reads itself one place early: the column of the pixel before it is missing.
    MissingColumn,
    /// One stage is shown the next image's condition.
    Condition(usize),
    /// Random words by the place in the stage.
    PlaceInStage,
    /// Random words by the row-major pixel.
    PlaceInImage,
    /// Component and quantile by each other's word.
    Words,
    /// The upper half of the image number is lost.
    Number,
    /// Pixels are not shown what is left.
    Left,
}

fn narrow(x: f32) -> f32 {
    bf16::from_f32(x).to_f32()
}

fn gelu(x: f32) -> f32 {
    let t = 1.595_769 * x * (1.0 + 0.044_715 * x * x);
    x / (1.0 + (-t).exp())
}

struct Linear {
    spec: TensorSpec,
    weight: Vec<f32>,
    bias: Vec<f32>,
    backwards: bool,
}

impl Linear {
    fn new(
        model: &Sarm,
        stage: usize,
        (weight, bias): (StageTensor, StageTensor),
        round: bool,
        backwards: bool,
    ) -> Self {
        let spec = model.tensors[model.index(stage, weight)].clone();
        let mut weight = model.parameter(stage, weight).to_vec();
        if round {
            weight.iter_mut().for_each(|w| *w = narrow(*w));
        }
        Self {
            spec,
            weight,
            bias: model.parameter(stage, bias).to_vec(),
            backwards,
        }
    }

    fn apply(&self, x: &[f32]) -> Vec<f32> {
        let rows = self.bias.iter().enumerate();
        rows.map(|(row, bias)| {
            let weights = &self.weight[row * self.spec.columns()..][..self.spec.read(row)];
            let terms = weights.iter().zip(&x[..weights.len()]);
            match self.backwards {
                true => terms.rev().fold(0.0, |sum, (w, x)| sum + w * x) + bias,
                false => terms.fold(*bias, |sum, (w, x)| sum + w * x),
            }
        })
        .collect()
    }
}

struct Stage {
    hidden: Vec<Linear>,
    gates: Linear,
    values: Linear,
    levels: Option<Linear>,
}

/// Images number `first .. first + count`.
pub fn draw(
    model: &Sarm,
    seed: u64,
    conditions: &Conditions,
    first: u64,
    count: usize,
    defect: Defect,
) -> SparseImages {
    let round = defect != Defect::Weights;
    let stages: Vec<Stage> = (0..model.stages.len())
        .map(|stage| {
            let linear = |weight, bias, round| {
                let backwards = defect == Defect::Backwards;
                Linear::new(model, stage, (weight, bias), round, backwards)
            };
            let mut hidden = vec![linear(
                StageTensor::InputWeight,
                StageTensor::InputBias,
                round,
            )];
            for l in 0..model.stages[stage].layers {
                let (weight, bias) = (StageTensor::HiddenWeight(l), StageTensor::HiddenBias(l));
                hidden.push(linear(weight, bias, round));
            }
            let levels = matches!(model.values(), Values::Levels(_))
                .then(|| linear(StageTensor::LevelsWeight, StageTensor::LevelsBias, false));
            Stage {
                hidden,
                gates: linear(StageTensor::GateWeight, StageTensor::GateBias, round),
                values: linear(StageTensor::ValueWeight, StageTensor::ValueBias, round),
                levels,
            }
        })
        .collect();
    let size = model.config.image;
    let mut images = SparseImages::new(size.height, size.width).unwrap();
    let mut image = vec![0.0; model.pixels()];
    for number in (first..).take(count) {
        let channels = model.config.input.channels();
        let mut shown = vec![];
        let mut place = 0;
        let mut budget = model.values().first(conditions.budget(number));
        for (s, (stage, order)) in stages.iter().zip(&model.order).enumerate() {
            for (at, pixel) in order.iter().enumerate() {
                let row = conditions.row(number + u64::from(defect == Defect::Condition(s)));
                let mut x: Vec<f32> = row.iter().chain(&shown).copied().collect();
                if defect == Defect::MissingColumn && at > 0 {
                    *x.last_mut().unwrap() = 0.0;
                }
                if defect != Defect::Inputs {
                    x.iter_mut().for_each(|x| *x = narrow(*x));
                }
                x.resize(model.stages[s].inputs(), f32::NAN);
                for (level, hidden) in stage.hidden.iter().enumerate() {
                    x = hidden.apply(&x);
                    for x in &mut x {
                        let h = gelu(*x);
                        *x = match defect {
                            Defect::Activations => h,
                            Defect::Truncation if level + 1 == stage.hidden.len() => {
                                f32::from_bits(h.to_bits() & 0xFFFF_0000)
                            }
                            _ => narrow(h),
                        };
                    }
                }
                let counter = match defect {
                    Defect::PlaceInStage => at as u32,
                    Defect::PlaceInImage => u32::from(*pixel),
                    _ => place,
                };
                let counted = match defect {
                    Defect::Number => u64::from(number as u32),
                    _ => number,
                };
                let words = words(seed, Purpose::Draw, counted, counter);
                place += 1;
                let beside = |number: usize, mut sum: f32| {
                    if defect == Defect::Left {
                        return sum;
                    }
                    let left = Left::new(model, s, at, budget);
                    for (w, f) in left.row(number).iter().zip(&left.functions) {
                        sum += w * *f as f32;
                    }
                    sum
                };
                let gate = beside(0, stage.gates.apply(&x)[at]);
                let zero = 1.0 / (1.0 + (-gate).exp());
                let mut value = 0.0;
                if unit(words[0]) >= zero && !is_spent(budget) {
                    let count = model.stages[s].values;
                    let values = stage.values.apply(&x);
                    let values = values[at * count..][..count].iter().enumerate();
                    let numbers: Vec<f32> = values.map(|(i, v)| beside(1 + i, *v)).collect();
                    let (mut pick, mut quantile) = (unit(words[1]), unit(words[2]));
                    if defect == Defect::Words {
                        std::mem::swap(&mut pick, &mut quantile);
                    }
                    value = match (model.values(), &stage.levels) {
                        (Values::Mixture(mixture), _) => {
                            mixture.within(budget).draw(&numbers, pick, quantile)
                        }
                        (Values::Levels(grid), Some(map)) => {
                            grid.value(levels::draw(&mut map.apply(&numbers), pick))
                        }
                        (Values::Levels(_), None) => unreachable!("D+D has a map"),
                    };
                }
                spend(&mut budget, value);
                image[usize::from(*pixel)] = value;
                shown.extend(channels.iter().map(|c| c.apply(value)));
            }
        }
        images.push_dense(&image);
    }
    images
}
