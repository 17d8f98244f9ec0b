//! What is left of an image's total, added to a pixel's gate and values; the same chain of sums in every sampler.

use crate::conditions::Budget;
use crate::families::sarm::left::Place;
use crate::families::sarm::{Left, Sarm, StageShape, StageTensor};
use crate::numeric::{LANES, Lanes, Vector};

use super::group::{Group, StagePass};
use super::tile::padded;

/// Weights of one stage.
pub struct LeftTables {
    left: Left,
    /// Of the gates, `[pixel][function]`.
    gates: Vec<f32>,
    /// Of the values, `[pixel][function][padded values]`.
    values: Vec<f32>,
    stride: usize,
}

/// `sum`, and the functions with these weights.
#[inline(always)]
fn add<V: Lanes>(weights: &[f32], functions: [V; Left::MOST], sum: V) -> V {
    let pairs = weights.iter().zip(functions);
    pairs.fold(sum, |sum, (w, f)| V::splat(*w).fma(f, sum))
}

impl LeftTables {
    /// For stage `stage` of `model`, where pixels are shown what is left.
    pub fn new(model: &Sarm, stage: usize) -> Option<Self> {
        let left = model.left()?;
        let shape = &model.stages[stage];
        let weight = model.parameter(stage, StageTensor::LeftWeight);
        let stride = padded(shape.values);
        let mut gates = Vec::new();
        let mut values = vec![0.0; shape.pixels * left.terms * stride];
        for (pixel, rows) in weight
            .chunks_exact((1 + shape.values) * left.terms)
            .enumerate()
        {
            let (gate, rest) = rows.split_at(left.terms);
            gates.extend_from_slice(gate);
            for (v, row) in rest.chunks_exact(left.terms).enumerate() {
                for (f, w) in row.iter().enumerate() {
                    values[(pixel * left.terms + f) * stride + v] = *w;
                }
            }
        }
        Some(Self {
            left,
            gates,
            values,
            stride,
        })
    }

    /// One or a vector of gate logits of `pixel`, for images with as much left as `at` says.
    #[inline(always)]
    pub fn gate<V: Lanes>(&self, pixel: usize, at: Place<V>, logit: V) -> V {
        let functions = self.left.functions_of(at);
        let terms = self.left.terms;
        let weights = &self.gates[pixel * terms..(pixel + 1) * terms];
        add(weights, functions, logit)
    }

    /// Add to the values of `pixel` in `numbers`, padded, of an image with this much left.
    #[inline(always)]
    pub fn values<V: Vector>(&self, pixel: usize, budget: Option<Budget>, numbers: &mut [f32]) {
        let Some(budget) = budget else { return };
        let functions = self
            .left
            .functions(self.left.place::<f32>(budget.remaining));
        let terms = self.left.terms;
        let rows = &self.values[pixel * terms * self.stride..(pixel + 1) * terms * self.stride];
        for (row, f) in rows.chunks_exact(self.stride).zip(functions) {
            for (w, to) in row.chunks_exact(LANES).zip(numbers.chunks_exact_mut(LANES)) {
                // SAFETY: both chunks hold LANES numbers.
                unsafe {
                    let sum = V::load(to.as_ptr());
                    V::splat(f)
                        .fma(V::load(w.as_ptr()), sum)
                        .store(to.as_mut_ptr());
                }
            }
        }
    }
}

impl StagePass<'_> {
    /// Add what is left to the gates of every cell.
    #[inline(always)]
    pub fn gates_shown_what_is_left<V: Vector>(&mut self) {
        let Some(left) = self.shared.model.left() else {
            return;
        };
        let weight = (self.shared.weights).get(self.stage, StageTensor::LeftWeight);
        let (pixels, numbers) = (self.shape.pixels, 1 + self.shape.values);
        for (cell, logit) in self.work.gates.chunks_exact_mut(LANES).enumerate() {
            let functions = left.functions_of::<V>(self.work.places.at(cell * LANES));
            let weights = weight.row(cell % pixels * numbers);
            // SAFETY: the chunk holds LANES numbers.
            unsafe {
                let sum = add(&weights[..left.terms], functions, V::load(logit.as_ptr()));
                sum.store(logit.as_mut_ptr());
            }
        }
    }

    /// Add what is left to the values of every positive pixel.
    #[inline(always)]
    pub fn values_shown_what_is_left(&mut self) {
        let Some(left) = self.shared.model.left() else {
            return;
        };
        let weight = (self.shared.weights).get(self.stage, StageTensor::LeftWeight);
        let count = self.shape.values;
        let stride = padded(count);
        for pixel in 0..self.shape.pixels {
            for e in self.work.ends[pixel]..self.work.ends[pixel + 1] {
                let Some(budget) = self.work.entries[e].budget else {
                    continue;
                };
                let functions = left.functions(left.place::<f32>(budget.remaining));
                let numbers = &mut self.work.values[e * stride..][..count];
                for (v, number) in numbers.iter_mut().enumerate() {
                    let row = weight.row(pixel * (1 + count) + 1 + v);
                    for (w, f) in row[..left.terms].iter().zip(functions) {
                        *number += w * f;
                    }
                }
            }
        }
    }
}

/// Gradient of the weights of one pixel, rows of padded functions: gate first, then values.
#[inline(always)]
pub fn gradient<V: Vector>(
    left: Left,
    shape: &StageShape,
    stage: usize,
    pixel: usize,
    groups: &[Group],
    sums: &mut [f32],
) {
    let width = sums.len() / (1 + shape.values);
    let stride = padded(shape.values);
    let mut gate = [V::splat(0.0); Left::MOST];
    for group in groups {
        let work = &group.stages[stage];
        for block in 0..group.blocks {
            let cell = (block * shape.pixels + pixel) * LANES;
            let functions = left.functions_of::<V>(work.places.at(cell));
            // SAFETY: the slice holds LANES numbers.
            let slope = unsafe { V::load(work.gates[cell..][..LANES].as_ptr()) };
            for (sum, f) in gate.iter_mut().zip(functions) {
                *sum = slope.fma(f, *sum);
            }
        }
        for e in work.ends[pixel]..work.ends[pixel + 1] {
            let Some(budget) = work.entries[e].budget else {
                continue;
            };
            let functions = left.functions(left.place::<f32>(budget.remaining));
            let slopes = &work.values[e * stride..][..shape.values];
            for (row, slope) in sums.chunks_exact_mut(width).skip(1).zip(slopes) {
                for (sum, f) in row[..left.terms].iter_mut().zip(functions) {
                    *sum += slope * f;
                }
            }
        }
    }
    for (sum, g) in sums[..left.terms].iter_mut().zip(gate) {
        *sum = g.sum();
    }
}
