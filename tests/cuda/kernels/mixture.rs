//! The likelihood of D+C with its gradient.

use std::sync::Arc;

use crate::support::common;
use sarm::conditions::Budget;
use sarm::device::cuda::device::{Address, Device, Memory};
use sarm::families::sarm::Left;
use sarm::families::sarm::cuda::ops::mixture::MixtureLikelihood;
use sarm::likelihood::{Mixture, Rest, Space, Support};
use sarm::numeric::Real;

use crate::kernels::case::{Case, Demand, Prepared, Size};
use crate::kernels::likelihood::{
    Buffers, CERTAIN, Dice, Pixels, answer, as_bf16, differences, mean, widen,
};

/// Which numbers the mixture is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Numbers {
    Ordinary,
    /// Means beyond the range, so that only a tail is left inside; in a unit of 100 GeV.
    Tails,
    /// Logits of 80, scales at both ends of where they are held, pixels at both ends of what there is.
    Ends,
}

#[derive(Debug, Clone)]
struct MixtureShape {
    pixels: Pixels,
    components: usize,
    unit: f64,
    upper: f64,
    numbers: Numbers,
    gradient: bool,
    /// What is left of totals is known.
    limited: bool,
    /// The smallest pixel of logarithmic space.
    lower: Option<f64>,
    /// Functions of what is left that pixels are shown.
    left: usize,
}

/// Cases of `kernels/sarm/mixture.cu`.
pub fn cases(size: Size) -> Vec<Case> {
    let shape = |images, stages: &[(usize, usize)], components, upper| MixtureShape {
        pixels: Pixels {
            images,
            stages: stages.to_vec(),
            occupancy: 0.3,
        },
        components,
        unit: 1.0,
        upper,
        numbers: Numbers::Ordinary,
        gradient: true,
        limited: false,
        lower: None,
        left: 0,
    };
    let unlimited = f64::INFINITY;
    let mut shapes = Vec::new();
    match size {
        Size::Small => {
            shapes.push(shape(1, &[(1, 0)], 1, unlimited));
            shapes.push(shape(3, &[(5, 8)], 1, 500.0));
            shapes.push(shape(37, &[(9, 0), (33, 8)], 2, unlimited));
            shapes.push(shape(2, &[(9, 0), (300, 16)], 5, unlimited));
            shapes.push(shape(3, &[(40, 0)], 7, 500.0));
            shapes.push(shape(2, &[(20, 0)], 32, unlimited));
            shapes.push(shape(2, &[(20, 0)], 64, 500.0));
            shapes.push(shape(1, &[(1, 0); 18], 2, unlimited));
            let mut in_units = shape(3, &[(17, 0)], 5, 500.0);
            in_units.unit = 2.5;
            shapes.push(in_units);
            shapes.push(shape(40, &[(5, 0), (12, 0)], 2, unlimited));
            for upper in [unlimited, 500.0] {
                for occupancy in [0.0, 0.5, 1.0] {
                    let mut ends = shape(5, &[(9, 0), (61, 0)], 5, upper);
                    ends.pixels.occupancy = occupancy;
                    ends.numbers = Numbers::Ends;
                    shapes.push(ends);
                }
                let mut tails = shape(4, &[(9, 0), (30, 0)], 5, upper);
                tails.numbers = Numbers::Tails;
                tails.unit = 100.0;
                shapes.push(tails);
            }
            let mut scored = shape(4, &[(9, 0), (40, 0)], 5, 500.0);
            scored.gradient = false;
            shapes.push(scored);
            for upper in [unlimited, 500.0] {
                let mut limited = shape(7, &[(9, 0), (40, 8)], 5, upper);
                limited.limited = true;
                limited.unit = 2.5;
                shapes.push(limited);
            }
            for (upper, components, left) in [
                (unlimited, 5, 0),
                (500.0, 5, 0),
                (500.0, 40, 0),
                (unlimited, 2, 1),
                (500.0, 5, 6),
                (500.0, 40, 8),
            ] {
                for limited in [false, true] {
                    let mut log = shape(7, &[(9, 0), (40, 8)], components, upper);
                    log.lower = Some(0.2);
                    log.unit = 1.5;
                    log.limited = limited;
                    log.left = if limited { left } else { 0 };
                    if limited || left == 0 {
                        shapes.push(log);
                    }
                }
            }
            // More stages than a launch takes, and scores alone.
            let mut stages = shape(3, &[(2, 0); 18], 2, unlimited);
            stages.limited = true;
            stages.left = 3;
            shapes.push(stages.clone());
            stages.gradient = false;
            stages.pixels.stages.truncate(2);
            shapes.push(stages);
        }
        Size::Full => {
            for images in [128, 1024, 8192] {
                let mut jets = shape(images, &[], 5, unlimited);
                jets.pixels = Pixels::jets(images);
                shapes.push(jets.clone());
                jets.lower = Some(0.2);
                jets.limited = true;
                jets.left = 6;
                shapes.push(jets);
            }
        }
    }
    shapes
        .into_iter()
        .map(|shape| Case {
            name: format!(
                "mixture/{}x{:?}/k{}{}{}{}{}{}{}{}",
                shape.pixels.images,
                shape.pixels.stages.iter().map(|s| s.0).collect::<Vec<_>>(),
                shape.components,
                if shape.upper.is_finite() {
                    "/upper"
                } else {
                    ""
                },
                if shape.unit == 1.0 { "" } else { "/unit" },
                if shape.gradient { "" } else { "/score" },
                if shape.limited { "/limited" } else { "" },
                if shape.lower.is_some() { "/log" } else { "" },
                match shape.left {
                    0 => String::new(),
                    functions => format!("/left {functions}"),
                },
                match shape.numbers {
                    Numbers::Ordinary => String::new(),
                    other => format!("/{other:?}/{}", shape.pixels.occupancy),
                }
            ),
            prepare: Box::new(move |device| mixture(device, &shape, size)),
        })
        .collect()
}

fn mixture(device: &Arc<dyn Device>, shape: &MixtureShape, size: Size) -> Prepared {
    let pixels = &shape.pixels;
    let k = shape.components;
    let numbers = 1 + 3 * k;
    let mixture = Mixture {
        components: k,
        support: Support {
            unit: shape.unit,
            upper: shape.upper,
            space: match shape.lower {
                None => Space::Linear,
                Some(lower) => Space::log(shape.unit, lower),
            },
        },
        rest: Rest::Free,
    };
    let mut dice = Dice::new(7 + k as u32);
    let pick = |dice: &mut Dice, from: &[f32]| from[(dice.unit() * from.len() as f32) as usize];
    let mut targets = pixels.targets(&mut dice, |dice| {
        let x = match shape.numbers {
            Numbers::Ordinary => {
                let x = (dice.normal() * 1.5 + 1.0).exp().min(490.0);
                x.max(shape.lower.map_or(0.0, |lower| lower as f32))
            }
            _ => pick(dice, &[1e-3, 0.02, 1.0, 250.0, 499.9, 500.0]),
        };
        x.to_bits()
    });
    let mut budgets = vec![None; targets.len()];
    if shape.limited {
        // All that was left, nearly all, or far from it, also more than a pixel can be; and, of a pixel that takes all but
        // rounding, just so much. The last places of every second image are certain.
        let just_more = (shape.upper as f32).next_up();
        for (target, budget) in targets.iter().zip(&mut budgets) {
            let x = f32::from_bits(*target);
            let (remaining, tolerance) = match pick(&mut dice, &[1.0, 1.001, 1.5, 30.0, 0.0]) {
                0.0 if shape.upper.is_finite() => (just_more, just_more - x),
                0.0 => (x, 0.0),
                // Of a zero as much as there may be.
                part if *target == 0 => (part * dice.unit() * 20.0 + 1e-3, 0.0),
                part => (x * part, 0.0),
            };
            *budget = Some(Budget {
                remaining,
                tolerance,
            });
        }
        for image in targets.chunks_exact_mut(pixels.places()).step_by(2) {
            let from = pixels.places() * 2 / 3;
            image[from..].fill(CERTAIN);
        }
    }
    let outputs = pixels.outputs(numbers, &mut dice, |dice, row| {
        row[0] = dice.normal() * 3.0;
        for i in 0..k {
            row[1 + i] = dice.normal() * 2.0;
            row[1 + k + i] = match shape.lower {
                None => dice.normal() * 6.0 + 2.0,
                Some(_) => dice.normal() * 2.0,
            };
            row[1 + 2 * k + i] = dice.normal();
        }
        if shape.numbers == Numbers::Tails {
            for i in 0..k {
                row[1 + k + i] = pick(dice, &[-40.0, -3.0, -0.5, 5.5, 8.0, 40.0]);
                row[1 + 2 * k + i] = dice.unit() * 2.0 - 0.5;
            }
        }
        if shape.numbers == Numbers::Ends {
            row[0] = pick(dice, &[-80.0, -20.0, 0.0, 20.0, 80.0]);
            for i in 0..k {
                row[1 + i] = pick(dice, &[-80.0, 0.0, 3.0, 80.0]);
                row[1 + k + i] = pick(dice, &[-300.0, -40.0, 0.0, 2.0, 250.0, 499.0, 900.0]);
                row[1 + 2 * k + i] = pick(dice, &[-12.0, -9.0, -2.0, 0.0, 5.0, 9.0, 12.0]);
            }
        }
    });
    let buffers = Buffers::new(device, pixels, numbers, &targets, &outputs, shape.gradient);
    let told = budgets.iter().zip(&targets);
    let limits: Vec<f32> = told
        .map(|(budget, target)| mixture.limit(*budget, f32::from_bits(*target)))
        .collect();
    let limit = Memory::from(device, &limits).unwrap();
    let left = (shape.left > 0).then(|| left(shape.left));
    let mut weights = Vec::new();
    for (count, _) in &pixels.stages {
        let count = count * numbers * shape.left;
        weights.push((0..count).map(|_| dice.normal()).collect::<Vec<f32>>());
    }
    let copies: Vec<Memory<f32>> = (weights.iter())
        .map(|weights| Memory::from(device, weights).unwrap())
        .collect();
    let addresses: Vec<Address> = copies.iter().map(Memory::address).collect();
    let launches = MixtureLikelihood {
        mixture,
        limit: match shape.limited {
            true => limit.address(),
            false => Address::NULL,
        },
        left: left.map(|left| (left, &addresses[..])),
        batch: buffers.batch,
        stages: &buffers.stages,
    }
    .launches();
    let mut results = Vec::new();
    if size == Size::Small {
        let shown = Shown {
            pixels,
            numbers,
            left,
            limits: &limits,
            weights: &weights,
        };
        let exact_of = |outputs: &[Vec<f64>]| {
            answer(
                pixels,
                numbers,
                &targets,
                &shown.beside(outputs),
                |v| v,
                |at, target, row, g| {
                    let mixture = mixture.within(budgets[at.target]);
                    mixture.nll_and_gradient(f64::from(f32::from_bits(target)), row, g)
                },
            )
        };
        let mut wide = widen(&outputs);
        let exact = exact_of(&wide);
        let naive = answer(
            pixels,
            numbers,
            &targets,
            &shown.beside(&outputs),
            as_bf16,
            |at, target, row, g| {
                let mixture = mixture.within(budgets[at.target]);
                mixture.nll_and_gradient(f32::from_bits(target), row, g)
            },
        );
        // Scales at their ends have no derivative, and next to them too large a one for a difference.
        let differences = if shape.numbers == Numbers::Ends {
            Vec::new()
        } else {
            differences(&mut wide, &exact, |outputs| mean(&exact_of(outputs).nll))
        };
        results = buffers.outputs(&exact, &naive, differences);
    }
    Prepared {
        launches,
        outputs: results,
        demand: Demand {
            matrix_operations: 0.0,
            bytes: pixels.bytes(numbers),
        },
        memory: vec![buffers.keep(), Box::new((limit, copies))],
    }
}

/// The first `functions` of what is left, of totals of 40 GeV.
pub fn left(functions: usize) -> Left {
    let toml = format!(
        "[likelihood]\nkind = 'dc'\ncomponents = 2\n[input]\nleft = {functions}\n[condition]\nnames = ['all']\ntotal = 'all'"
    );
    common::model(&toml, 2, 2, 0, 0.3).left().unwrap()
}

/// What pixels are shown of what is left.
struct Shown<'a> {
    pixels: &'a Pixels,
    numbers: usize,
    left: Option<Left>,
    /// `[images, places]`, of which the size counts.
    limits: &'a [f32],
    /// Of each stage `[pixels, numbers, functions]`.
    weights: &'a [Vec<f32>],
}

impl Shown<'_> {
    /// The numbers of all stages with what they are shown.
    fn beside<T: Real>(&self, outputs: &[Vec<T>]) -> Vec<Vec<T>> {
        let mut outputs = outputs.to_vec();
        let Some(left) = self.left else {
            return outputs;
        };
        let mut first = 0;
        for (s, (count, _)) in self.pixels.stages.iter().enumerate() {
            let pitch = self.pixels.pitch(s, self.numbers);
            for image in 0..self.pixels.images {
                for pixel in 0..*count {
                    let limit = self.limits[image * self.pixels.places() + first + pixel];
                    let functions = left.functions(left.place::<T>(limit.abs()));
                    for number in 0..self.numbers {
                        let at = pixel * self.numbers + number;
                        let weights = &self.weights[s][at * left.terms..][..left.terms];
                        for (w, f) in weights.iter().zip(functions) {
                            outputs[s][image * pitch + at] += T::of(f64::from(*w)) * f;
                        }
                    }
                }
            }
            first += count;
        }
        outputs
    }
}
