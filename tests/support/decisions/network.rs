//! A forward pass in float64 with the roundings of a sampler on a card, and how far such a sampler's own numbers may lie
//! from it.

use sarm::conditions::Budget;
use sarm::families::sarm::{Sarm, StageTensor};

use super::MARGIN;
use crate::support::rounded::{Left, Network, gelu, shown, tensors, to_bf16};

/// Half of f32's last place.
const ROUNDING: f64 = f32::EPSILON as f64 / 2.0;

/// A number, and the standard deviation of what a sampler finds in its place.
#[derive(Debug, Clone, Copy)]
pub struct Uncertain {
    pub value: f64,
    pub spread: f64,
}

/// The numbers of a stage.
pub struct Numbers {
    /// One a pixel.
    pub gates: Vec<Uncertain>,
    /// All of a pixel's together.
    pub values: Vec<Uncertain>,
}

/// Stored as bf16. Most numbers lie so far from where the rounding tips that nothing is left of their spread.
fn stored(x: Uncertain) -> Uncertain {
    let value = to_bf16(x.value);
    let reach = MARGIN * x.spread;
    let low = to_bf16(x.value - reach);
    if low == to_bf16(x.value + reach) {
        return Uncertain { value, spread: 0.0 };
    }
    // bf16 keeps 8 bits.
    let unit = (x.value.abs().max(1e-30).log2().floor() - 7.0).exp2();
    let to_tip = (unit / 2.0 - (x.value - value).abs()).max(0.0);
    let chance = (-0.5 * (to_tip / x.spread).powi(2)).exp();
    // However small the chance, one unit must lie within the margin.
    let tipped = unit * chance.sqrt().max(2.0 / MARGIN);
    Uncertain {
        value,
        spread: tipped.hypot(x.spread),
    }
}

/// `bias + weight x`, summed in f32 in any order.
pub fn linear(
    network: &Network,
    weight: StageTensor,
    bias: StageTensor,
    x: &[Uncertain],
) -> Vec<Uncertain> {
    let biases = network.model.parameter(network.stage, bias).iter();
    biases
        .enumerate()
        .map(|(row, bias)| {
            let weights = network.row(weight, row);
            let mut value = f64::from(*bias);
            let (mut highest, mut variance) = (value.abs(), 0.0);
            for (w, x) in weights.iter().zip(x) {
                let w = f64::from(*w);
                value += w * x.value;
                highest = highest.max(value.abs());
                variance += (w * x.spread).powi(2);
            }
            // Each addition rounds a partial sum.
            let rounding = ROUNDING * ((weights.len() + 1) as f64).sqrt() * highest;
            Uncertain {
                value,
                spread: variance.sqrt().hypot(rounding),
            }
        })
        .collect()
}

/// GELU, stored as bf16.
fn activation(z: Uncertain) -> Uncertain {
    let (value, slope) = gelu(z.value);
    // e^-t by a card's own approximation is off by 2 + |t| places, which count as far as it does beside 1.
    let t = 1.6 * (z.value + 0.045 * z.value.powi(3));
    let places = 2.0 + (2.0 + t.abs()) / (1.0 + t.exp());
    let evaluation = 2.0 * ROUNDING * places * value.abs();
    // Where the slope vanishes the curvature counts; nowhere is it steeper than 1.13.
    let spread = (slope.abs() * z.spread + z.spread.powi(2)).min(1.13 * z.spread);
    stored(Uncertain {
        value,
        spread: spread.hypot(evaluation),
    })
}

/// What `stage` of `model`, whose weights bf16 holds exactly, gives for the pixels of `image` (row-major, GeV).
pub fn numbers(model: &Sarm, stage: usize, image: &[f32], condition: &[f32]) -> Numbers {
    let network = Network { model, stage };
    let shape = &model.stages[stage];
    let mut x: Vec<Uncertain> = shown(model, image, condition)[..shape.inputs()]
        .iter()
        .map(|value| {
            stored(Uncertain {
                value: *value,
                // Roots and logarithms of a card's own.
                spread: ROUNDING * value.abs(),
            })
        })
        .collect();
    for level in 0..=shape.layers {
        let (weight, bias) = tensors(level);
        let z = linear(&network, weight, bias, &x);
        x = z.into_iter().map(activation).collect();
    }
    Numbers {
        gates: linear(&network, StageTensor::GateWeight, StageTensor::GateBias, &x),
        values: linear(
            &network,
            StageTensor::ValueWeight,
            StageTensor::ValueBias,
            &x,
        ),
    }
}

impl Numbers {
    /// Gate and values of pixel `place`, shown what is left before it. `stage` of `model` gave these numbers.
    pub fn of_pixel(
        &self,
        model: &Sarm,
        stage: usize,
        place: usize,
        budget: Option<Budget>,
    ) -> (Uncertain, Vec<Uncertain>) {
        let count = model.stages[stage].values;
        let values = &self.values[place * count..][..count];
        let left = Left::new(model, stage, place, budget);
        let mut numbers: Vec<Uncertain> = [&[self.gates[place]], values].concat();
        for (i, number) in numbers.iter_mut().enumerate() {
            let (mut highest, mut spread) = (number.value.abs(), 0.0);
            for (order, (w, f)) in left.row(i).iter().zip(&left.functions).enumerate() {
                let term = f64::from(*w) * f;
                number.value += term;
                highest = highest.max(number.value.abs());
                // The logarithm is off by some places; a polynomial of this order moves by its square as much, and more
                // beyond the end.
                let steep = (order * order) as f64 * f.abs().max(1.0);
                spread += f64::from(w.abs()) * 4.0 * ROUNDING * (1.0 + steep);
            }
            let rounding = ROUNDING * ((left.functions.len() + 1) as f64).sqrt() * highest;
            if !left.functions.is_empty() {
                number.spread = number.spread.hypot(spread).hypot(rounding);
            }
        }
        let values = numbers.split_off(1);
        (numbers[0], values)
    }
}
