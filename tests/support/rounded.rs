//! Networks by plain float64 loops, with a rounding wherever the CUDA engine stores: the truth with none, and with
//! that of bf16 the error that the engine's precision makes by itself. Here likelihood and gradients;
//! `tests/support/decisions` draws on the same loops.
#![allow(dead_code)]

use half::bf16;
use sarm::conditions::Budget;
use sarm::conditions::ConditionedImages;
use sarm::conditions::total::{is_spent, spend};
use sarm::families::sarm::{Sarm, StageTensor, Values};
use sarm::likelihood::{gate, levels};

/// How a stored number is rounded.
pub type Rounding = fn(f64) -> f64;

/// As bf16 stores it: 7 bits behind the leading one, the nearest, of two the even one. `bf16::from_f64` drops the last
/// 32 bits first, and takes for a tie what is none.
pub fn to_bf16(x: f64) -> f64 {
    const DROPPED: u64 = 52 - 7;
    let bits = x.to_bits();
    let odd = bits >> DROPPED & 1;
    let rounded = bits + (1 << (DROPPED - 1)) - 1 + odd;
    f64::from_bits(rounded >> DROPPED << DROPPED)
}

/// GELU and its slope, by the formula of `families::sarm::reference`.
pub fn gelu(z: f64) -> (f64, f64) {
    let (a, b) = (1.595_769_121_605_730_8, 0.044_715);
    let s = 1.0 / (1.0 + (-a * (z + b * z * z * z)).exp());
    (z * s, s + z * s * (1.0 - s) * a * (1.0 + 3.0 * b * z * z))
}

/// The model with weights as the tensor cores see them, which bf16 holds exactly. D+D's shared map and the weights of what
/// is left are not theirs.
pub fn representable(mut model: Sarm) -> Sarm {
    for (spec, values) in model.tensors.iter().zip(&mut model.parameters) {
        let of_others = ["levels.weight", "left.weight"];
        if spec.is_weight() && !of_others.iter().any(|name| spec.name.ends_with(name)) {
            for v in values {
                *v = bf16::from_f32(*v).to_f32();
            }
        }
    }
    model
}

/// Weight and bias of a level of units: the input layer, then the hidden ones.
pub fn tensors(level: usize) -> (StageTensor, StageTensor) {
    match level {
        0 => (StageTensor::InputWeight, StageTensor::InputBias),
        l => (
            StageTensor::HiddenWeight(l - 1),
            StageTensor::HiddenBias(l - 1),
        ),
    }
}

/// What a network is shown of an image: the condition, then its pixels in drawing order, D+D's as their levels.
///
/// `image`: row-major, GeV, no pixel beyond the model's range.
pub fn shown(model: &Sarm, image: &[f32], condition: &[f32]) -> Vec<f64> {
    let mut shown: Vec<f64> = condition.iter().map(|c| f64::from(*c)).collect();
    let channels = model.config.input.channels();
    for pixel in model.order.iter().flatten() {
        let mut x = image[usize::from(*pixel)];
        if let (Values::Levels(grid), true) = (model.values(), x > 0.0) {
            x = grid.value(grid.level(x).unwrap());
        }
        shown.extend(channels.iter().map(|c| f64::from(c.apply(x))));
    }
    shown
}

/// What is left before a pixel, as its gate and values are shown it; of models that show nothing, nothing.
pub struct Left<'a> {
    /// Functions of it.
    pub functions: Vec<f64>,
    /// Of the pixel, a row for each number.
    pub weights: &'a [f32],
    /// Tensor of the weights, and the first of the pixel.
    at: (usize, usize),
}

impl<'a> Left<'a> {
    pub fn new(model: &'a Sarm, stage: usize, place: usize, budget: Option<Budget>) -> Self {
        let (Some(left), Some(budget)) = (model.left(), budget) else {
            return Self {
                functions: Vec::new(),
                weights: &[],
                at: (0, 0),
            };
        };
        let size = (1 + model.stages[stage].values) * left.terms;
        let all = model.parameter(stage, StageTensor::LeftWeight);
        Self {
            functions: left.functions(left.place(budget.remaining))[..left.terms].to_vec(),
            weights: &all[place * size..][..size],
            at: (model.index(stage, StageTensor::LeftWeight), place * size),
        }
    }

    /// The weights of number `number` of the pixel, its gate first.
    pub fn row(&self, number: usize) -> &[f32] {
        let terms = self.functions.len();
        &self.weights[number * terms..(number + 1) * terms]
    }

    fn add_to(&self, numbers: &mut [f64]) {
        for (i, number) in numbers.iter_mut().enumerate() {
            let pairs = self.row(i).iter().zip(&self.functions);
            *number += pairs.map(|(w, f)| f64::from(*w) * f).sum::<f64>();
        }
    }

    fn accumulate(&self, number: usize, delta: f64, gradients: &mut [Vec<f64>]) {
        let (tensor, first) = self.at;
        let first = first + number * self.functions.len();
        for (f, function) in self.functions.iter().enumerate() {
            gradients[tensor][first + f] += delta * function;
        }
    }
}

/// The network of a stage.
pub struct Network<'a> {
    pub model: &'a Sarm,
    pub stage: usize,
}

impl Network<'_> {
    /// The weights of a row that no mask hides: those of its first columns.
    pub fn row(&self, tensor: StageTensor, row: usize) -> &[f32] {
        let spec = &self.model.tensors[self.model.index(self.stage, tensor)];
        &self.model.parameter(self.stage, tensor)[row * spec.columns()..][..spec.read(row)]
    }

    /// `bias + weight x`.
    pub fn forward(&self, weight: StageTensor, bias: StageTensor, x: &[f64]) -> Vec<f64> {
        let biases = self.model.parameter(self.stage, bias).iter().enumerate();
        biases
            .map(|(row, b)| {
                let terms = self.row(weight, row).iter().zip(x);
                terms.map(|(w, x)| f64::from(*w) * x).sum::<f64>() + f64::from(*b)
            })
            .collect()
    }

    fn backward(&self, weight: StageTensor, delta: &[f64], below: &mut [f64]) {
        for (row, d) in delta.iter().enumerate().filter(|(_, d)| **d != 0.0) {
            for (w, b) in self.row(weight, row).iter().zip(below.iter_mut()) {
                *b += d * f64::from(*w);
            }
        }
    }
}

/// Adds `delta x^T` over what each row reads, and `delta`.
fn accumulate(
    model: &Sarm,
    stage: usize,
    tensors: (StageTensor, StageTensor),
    delta: &[f64],
    x: &[f64],
    gradients: &mut [Vec<f64>],
) {
    let weight = model.index(stage, tensors.0);
    let spec = &model.tensors[weight];
    let bias = model.index(stage, tensors.1);
    for (row, d) in delta.iter().enumerate() {
        gradients[bias][row] += d;
        for (k, x) in x.iter().enumerate().take(spec.read(row)) {
            gradients[weight][row * spec.columns() + k] += d * x;
        }
    }
}

/// Mean negative log-likelihood of the images `rows` in nats, and its gradient by every tensor.
pub fn gradients(
    model: &Sarm,
    data: &ConditionedImages,
    rows: &[u32],
    round: Rounding,
) -> (f64, Vec<Vec<f64>>) {
    let mut gradients: Vec<Vec<f64>> = model.tensors.iter().map(|t| vec![0.0; t.size()]).collect();
    let mut total = 0.0;
    let scale = 1.0 / rows.len() as f64;
    for row in rows {
        let mut image = vec![0.0; model.pixels()];
        data.images.dense_into(*row as usize, &mut image);
        let condition = data.conditions.row(u64::from(*row));
        let mut budget = model.budget(condition);
        let shown: Vec<f64> = shown(model, &image, condition)
            .into_iter()
            .map(round)
            .collect();
        for stage in 0..model.stages.len() {
            let network = Network { model, stage };
            let shape = &model.stages[stage];
            let mut inputs = vec![shown[..shape.inputs()].to_vec()];
            let mut slopes = Vec::new();
            for level in 0..=shape.layers {
                let z = network.forward(tensors(level).0, tensors(level).1, &inputs[level]);
                slopes.push(z.iter().map(|z| gelu(round(*z)).1).collect::<Vec<f64>>());
                inputs.push(z.iter().map(|z| round(gelu(*z).0)).collect());
            }
            let last = &inputs[shape.layers + 1];
            let gates = network.forward(StageTensor::GateWeight, StageTensor::GateBias, last);
            let values = network.forward(StageTensor::ValueWeight, StageTensor::ValueBias, last);
            let mut gate_delta = vec![0.0; gates.len()];
            let mut value_delta = vec![0.0; values.len()];
            for (place, pixel) in model.order[stage].iter().enumerate() {
                let x = image[usize::from(*pixel)];
                if is_spent(budget) {
                    continue;
                }
                let of_pixel = place * shape.values..(place + 1) * shape.values;
                let mut numbers = vec![gates[place]];
                numbers.extend_from_slice(&values[of_pixel.clone()]);
                let left = Left::new(model, stage, place, budget);
                left.add_to(&mut numbers);
                let (cost, slope) = gate(numbers[0], if x > 0.0 { 1.0 } else { -1.0 });
                total += cost;
                gate_delta[place] = round(scale * slope);
                left.accumulate(0, gate_delta[place], &mut gradients);
                if x == 0.0 {
                    continue;
                }
                let mut slopes = vec![0.0; shape.values];
                total += likelihood(
                    &network,
                    budget,
                    x,
                    &numbers[1..],
                    &mut slopes,
                    scale,
                    &mut gradients,
                );
                spend(&mut budget, x);
                let of_values = value_delta[of_pixel].iter_mut().zip(slopes);
                for (number, (to, slope)) in of_values.enumerate() {
                    *to = round(scale * slope);
                    left.accumulate(1 + number, *to, &mut gradients);
                }
            }
            let gate_tensors = (StageTensor::GateWeight, StageTensor::GateBias);
            let value_tensors = (StageTensor::ValueWeight, StageTensor::ValueBias);
            accumulate(
                model,
                stage,
                gate_tensors,
                &gate_delta,
                last,
                &mut gradients,
            );
            accumulate(
                model,
                stage,
                value_tensors,
                &value_delta,
                last,
                &mut gradients,
            );
            let mut below = vec![0.0; shape.units()];
            network.backward(StageTensor::GateWeight, &gate_delta, &mut below);
            network.backward(StageTensor::ValueWeight, &value_delta, &mut below);
            for level in (0..=shape.layers).rev() {
                let pairs = below.iter().zip(&slopes[level]);
                let delta: Vec<f64> = pairs.map(|(b, s)| round(b * s)).collect();
                accumulate(
                    model,
                    stage,
                    tensors(level),
                    &delta,
                    &inputs[level],
                    &mut gradients,
                );
                below = vec![0.0; inputs[level].len()];
                if level > 0 {
                    network.backward(tensors(level).0, &delta, &mut below);
                }
            }
        }
    }
    (total * scale, gradients)
}

/// Cost of a positive pixel and its derivatives by the pixel's values; adds those by D+D's shared map.
fn likelihood(
    network: &Network,
    budget: Option<Budget>,
    x: f32,
    values: &[f64],
    slopes: &mut [f64],
    scale: f64,
    gradients: &mut [Vec<f64>],
) -> f64 {
    match network.model.values() {
        Values::Mixture(mixture) => {
            let mixture = mixture.within(budget);
            mixture.nll_and_gradient(f64::from(x), values, slopes)
        }
        Values::Levels(grid) => {
            let level = grid.level(x).unwrap();
            let (map, bias) = (StageTensor::LevelsWeight, StageTensor::LevelsBias);
            let mut logits = network.forward(map, bias, values);
            let cost = levels::softmax_nll(&mut logits, level) + grid.log_width(level);
            let delta: Vec<f64> = logits.iter().map(|d| scale * d).collect();
            accumulate(
                network.model,
                network.stage,
                (map, bias),
                &delta,
                values,
                gradients,
            );
            network.backward(map, &logits, slopes);
            cost
        }
    }
}
