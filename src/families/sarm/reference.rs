//! The slow truth: one image at a time in float64, straight from the definitions, never tuned.
//!
//! Nothing here is shared with the engines but the model itself and the likelihood's formulas.

use crate::conditions::Budget;
use crate::conditions::total::{is_spent, spend};
use crate::families::sarm::{Sarm, StageTensor, Values};
use crate::likelihood;
use crate::likelihood::levels;
use crate::numeric::Elementary;

/// The outputs of the network for every pixel of a stage.
#[derive(Debug, Clone, PartialEq)]
pub struct StageOutput {
    /// Logits of a zero, one a pixel.
    pub gates: Vec<f64>,
    /// 3K mixture parameters or U latents, for each pixel.
    pub values: Vec<Vec<f64>>,
}

fn gelu(x: f64) -> f64 {
    x * (1.595_769_121_605_730_8 * (x + 0.044_715 * x * x * x)).sigmoid()
}

/// `bias + weight x` over the columns that each row reads.
fn linear(
    model: &Sarm,
    stage: usize,
    weight: StageTensor,
    bias: StageTensor,
    x: &[f64],
) -> Vec<f64> {
    let spec = &model.tensors[model.index(stage, weight)];
    let (w, b) = (model.parameter(stage, weight), model.parameter(stage, bias));
    (0..spec.rows())
        .map(|row| {
            let columns = &w[row * spec.columns()..][..spec.read(row)];
            let sum: f64 = columns.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum();
            sum + f64::from(b[row])
        })
        .collect()
}

/// What the network shows itself of an image: the condition, then its pixels in drawing order, all channels of each.
///
/// `image`: row-major, GeV; D+D replaces pixels by their levels. `None` for a pixel beyond the range.
fn inputs(model: &Sarm, image: &[f32], condition: &[f32]) -> Option<Vec<f64>> {
    let mut x: Vec<f64> = condition.iter().map(|c| f64::from(*c)).collect();
    let channels = model.config.input.channels();
    for pixel in model.order.iter().flatten() {
        let mut v = image[*pixel as usize];
        if v > 0.0 && model.values().excludes(v).is_some() {
            return None;
        }
        if let (Values::Levels(grid), true) = (model.values(), v > 0.0) {
            v = grid.value(grid.level(v)?);
        }
        x.extend(channels.iter().map(|c| f64::from(c.apply(v))));
    }
    Some(x)
}

/// One full forward pass. `None` for a pixel beyond the range.
pub fn forward(model: &Sarm, image: &[f32], condition: &[f32]) -> Option<Vec<StageOutput>> {
    let x = inputs(model, image, condition)?;
    Some(
        (0..model.stages.len())
            .map(|s| {
                let x = &x[..model.stages[s].inputs()];
                let mut h = linear(
                    model,
                    s,
                    StageTensor::InputWeight,
                    StageTensor::InputBias,
                    x,
                );
                h.iter_mut().for_each(|v| *v = gelu(*v));
                for l in 0..model.stages[s].layers {
                    let (w, b) = (StageTensor::HiddenWeight(l), StageTensor::HiddenBias(l));
                    h = linear(model, s, w, b, &h);
                    h.iter_mut().for_each(|v| *v = gelu(*v));
                }
                let values = linear(
                    model,
                    s,
                    StageTensor::ValueWeight,
                    StageTensor::ValueBias,
                    &h,
                );
                StageOutput {
                    gates: linear(model, s, StageTensor::GateWeight, StageTensor::GateBias, &h),
                    values: values
                        .chunks(model.stages[s].values)
                        .map(<[f64]>::to_vec)
                        .collect(),
                }
            })
            .collect(),
    )
}

/// Gate and values of pixel `place` of stage `stage` of an image with this much to come.
pub fn shown_what_is_left(
    model: &Sarm,
    stage: usize,
    place: usize,
    output: &StageOutput,
    budget: Option<Budget>,
) -> (f64, Vec<f64>) {
    let mut numbers = vec![output.gates[place]];
    numbers.extend_from_slice(&output.values[place]);
    if let (Some(left), Some(budget)) = (model.left(), budget) {
        let functions = left.functions(left.place::<f64>(budget.remaining));
        let weight = model.parameter(stage, StageTensor::LeftWeight);
        let weight = &weight[place * numbers.len() * left.terms..];
        for (number, row) in numbers.iter_mut().zip(weight.chunks_exact(left.terms)) {
            let sum: f64 = row
                .iter()
                .zip(functions)
                .map(|(w, f)| f64::from(*w) * f)
                .sum();
            *number += sum;
        }
    }
    (numbers[0], numbers.split_off(1))
}

/// Negative log-likelihood in nats of one image: a density per GeV for positive pixels.
///
/// `image`: row-major, GeV. `None` for a pixel beyond the range.
pub fn nll(model: &Sarm, image: &[f32], condition: &[f32]) -> Option<f64> {
    let outputs = forward(model, image, condition)?;
    let mut total = 0.0;
    let mut budget = model.budget(condition);
    for (s, output) in outputs.iter().enumerate() {
        for (place, pixel) in model.order[s].iter().enumerate() {
            let x = image[*pixel as usize];
            if is_spent(budget) {
                continue;
            }
            let (gate, values) = shown_what_is_left(model, s, place, output, budget);
            let side = if x > 0.0 { 1.0 } else { -1.0 };
            total += likelihood::gate(gate, side).0;
            if x == 0.0 {
                continue;
            }
            let values = &values;
            total += match model.values() {
                Values::Mixture(mixture) => mixture.within(budget).nll(f64::from(x), values),
                Values::Levels(grid) => {
                    let level = grid.level(x)?;
                    let spec = &model.tensors[model.index(s, StageTensor::LevelsWeight)];
                    let w = model.parameter(s, StageTensor::LevelsWeight);
                    let b = model.parameter(s, StageTensor::LevelsBias);
                    let mut logits: Vec<f64> = (0..spec.rows())
                        .map(|n| {
                            let row = &w[n * spec.columns()..][..spec.columns()];
                            let dot: f64 =
                                row.iter().zip(values).map(|(w, z)| f64::from(*w) * z).sum();
                            dot + f64::from(b[n])
                        })
                        .collect();
                    levels::softmax_nll(&mut logits, level) + grid.log_width(level)
                }
            };
            spend(&mut budget, x);
        }
    }
    Some(total)
}
