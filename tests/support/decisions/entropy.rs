//! What images of a model cost on average, by the reference's distribution of each pixel given those before it.

use sarm::conditions::total::{is_spent, spend};
use sarm::families::sarm::{Sarm, StageTensor, Values};
use sarm::likelihood::{Grid, Mixture, Rest};

use super::network::{self, Uncertain, linear};
use super::values::quantile;
use crate::support::rounded::Network;

/// A sum of steps that are 0 on average, each given what was before it, and their variance.
#[derive(Debug, Clone, Copy, Default)]
pub struct Surplus {
    pub sum: f64,
    pub variance: f64,
}

impl Surplus {
    fn add(&mut self, step: f64, variance: f64) {
        self.sum += step;
        self.variance += variance;
    }

    /// Standard deviations from 0.
    pub fn sigmas(self) -> f64 {
        self.sum / self.variance.sqrt()
    }
}

/// What images cost and where they are zero, beyond what a model expects of its own.
pub struct Balance<'a> {
    model: &'a Sarm,
    /// Nats.
    pub costs: Surplus,
    /// Zeros by row-major pixel.
    pub zeros: Vec<Surplus>,
}

impl<'a> Balance<'a> {
    /// Of no images yet. The model's weights are those that the images were drawn with.
    pub fn new(model: &'a Sarm) -> Self {
        Self {
            model,
            costs: Surplus::default(),
            zeros: vec![Surplus::default(); model.pixels()],
        }
    }

    /// One more image (row-major, GeV), whose negative log-likelihood in nats is `cost`.
    pub fn add(&mut self, image: &[f32], condition: &[f32], cost: f64) {
        let expected = expected(self.model, image, condition);
        let excess = cost - expected.cost;
        self.costs.add(excess, excess * excess);
        for ((surplus, zero), x) in self.zeros.iter_mut().zip(&expected.zero).zip(image) {
            surplus.add(f64::from(u8::from(*x == 0.0)) - zero, zero * (1.0 - zero));
        }
    }

    /// Zeros of all pixels.
    pub fn all_zeros(&self) -> Surplus {
        let mut all = Surplus::default();
        for of_pixel in &self.zeros {
            all.add(of_pixel.sum, of_pixel.variance);
        }
        all
    }
}

/// Of an image as drawn.
struct Expected {
    /// Chance of a zero, row-major.
    zero: Vec<f64>,
    /// What its gates cost on average, and the values of its nonzero pixels, each given the pixels before it: nats.
    /// Over images of the model, the negative log-likelihood is as much on average.
    cost: f64,
}

fn expected(model: &Sarm, image: &[f32], condition: &[f32]) -> Expected {
    let mut zero = vec![0.0; image.len()];
    let mut cost = 0.0;
    let mut budget = model.budget(condition);
    for (stage, order) in model.order.iter().enumerate() {
        let numbers = network::numbers(model, stage, image, condition);
        for (place, pixel) in order.iter().enumerate() {
            let pixel = usize::from(*pixel);
            if is_spent(budget) {
                zero[pixel] = 1.0;
                continue;
            }
            let (gate, values) = numbers.of_pixel(model, stage, place, budget);
            let chance = 1.0 / (1.0 + (-gate.value).exp());
            zero[pixel] = chance;
            cost += surprise(chance) + surprise(1.0 - chance);
            if image[pixel] > 0.0 {
                cost += match model.values() {
                    Values::Mixture(mixture) => of_mixture(&mixture.within(budget), &values),
                    Values::Levels(grid) => {
                        let network = Network { model, stage };
                        let (map, bias) = (StageTensor::LevelsWeight, StageTensor::LevelsBias);
                        of_levels(&grid, &linear(&network, map, bias, &values))
                    }
                };
                spend(&mut budget, image[pixel]);
            }
        }
    }
    Expected { zero, cost }
}

fn surprise(chance: f64) -> f64 {
    match chance > 0.0 {
        true => -chance * chance.ln(),
        false => 0.0,
    }
}

fn shares(logits: &[Uncertain]) -> Vec<f64> {
    let largest = logits.iter().fold(f64::NEG_INFINITY, |m, l| m.max(l.value));
    let masses: Vec<f64> = logits.iter().map(|l| (l.value - largest).exp()).collect();
    let total: f64 = masses.iter().sum();
    masses.into_iter().map(|m| m / total).collect()
}

/// Masses, and the widths that make densities of them.
fn of_levels(grid: &Grid, logits: &[Uncertain]) -> f64 {
    let shares = shares(logits);
    let levels = shares.iter().enumerate();
    levels
        .map(|(level, share)| surprise(*share) + share * grid.log_width(level))
        .sum()
}

/// The mean of -ln f under each component, over its quantiles: these as t^3 (10 - 15t + 6t^2) at midpoints of t, which
/// takes the logarithm at either end.
pub fn of_mixture(mixture: &Mixture, numbers: &[Uncertain]) -> f64 {
    const NODES: usize = 40;
    let k = mixture.components;
    if let Rest::Certain(_) = mixture.rest {
        return 0.0;
    }
    let support = mixture.support;
    let upper: f64 = support.end();
    let values: Vec<f64> = numbers.iter().map(|n| n.value).collect();
    let mut mean = 0.0;
    for (i, share) in shares(&numbers[..k]).into_iter().enumerate() {
        if let (0, Rest::Offered(_)) = (i, mixture.rest) {
            mean += surprise(share);
            continue;
        }
        let scale = values[2 * k + i].clamp(-9.0, 9.0).exp();
        for node in 0..NODES {
            let t = (node as f64 + 0.5) / NODES as f64;
            let weight = 30.0 * (t * (1.0 - t)).powi(2) / NODES as f64;
            let place = t.powi(3) * (10.0 - 15.0 * t + 6.0 * t * t);
            let (y, _) = quantile(values[k + i] + support.origin(), scale, upper, place);
            mean += share * weight * mixture.nll(support.pixel(y.clamp(0.0, upper)), &values);
        }
    }
    mean
}
