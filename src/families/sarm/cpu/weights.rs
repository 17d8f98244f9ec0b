//! Parameters as the CPU engine holds them in training: padded rows, Adam's moments beside.

use crate::families::sarm::{Left, Sarm, StageShape, StageTensor, TensorSpec, shape};
use crate::family::EngineError;
use crate::family::TrainingState;
use crate::nn::adam::AdamRule;
use crate::numeric::{Isa, Kernel, Vector};

use super::tile::{Packed, padded};

/// One tensor, its rows padded to whole vectors with zeros.
#[derive(Debug, Clone)]
pub struct PaddedTensor {
    /// Name, shape and mask.
    pub spec: TensorSpec,
    /// Numbers from one row to the next.
    pub stride: usize,
    /// The numbers; masked ones and padding are 0.
    pub value: Vec<f32>,
    /// Adam's moments.
    pub first: Vec<f32>,
    pub second: Vec<f32>,
}

impl PaddedTensor {
    fn new(spec: &TensorSpec, values: &[f32]) -> Self {
        let stride = padded(spec.columns());
        let zeros = || vec![0.0; spec.rows() * stride];
        let mut p = Self {
            spec: spec.clone(),
            stride,
            value: zeros(),
            first: zeros(),
            second: zeros(),
        };
        copy_in(&mut p.value, stride, spec, values);
        p
    }

    /// One row, padding included.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.value[row * self.stride..(row + 1) * self.stride]
    }

    /// Element (row, column).
    pub fn at(&self, row: usize, column: usize) -> f32 {
        self.value[row * self.stride + column]
    }
}

fn copy_in(to: &mut [f32], stride: usize, spec: &TensorSpec, values: &[f32]) {
    for (out, row) in to
        .chunks_exact_mut(stride)
        .zip(values.chunks_exact(spec.columns().max(1)))
    {
        out[..row.len()].copy_from_slice(row);
    }
}

fn copy_out(from: &[f32], stride: usize, spec: &TensorSpec) -> Vec<f32> {
    from.chunks_exact(stride)
        .flat_map(|row| &row[..spec.columns()])
        .copied()
        .collect()
}

/// All parameters of a model.
#[derive(Debug, Clone)]
pub struct Weights {
    /// Sizes of each stage.
    pub stages: Vec<StageShape>,
    /// The tensors, in the model's order.
    pub list: Vec<PaddedTensor>,
    /// Optimiser steps made.
    pub steps: u64,
    /// What pixels are shown of what is left.
    pub left: Option<Left>,
}

impl Weights {
    /// Those of `model`, moments 0.
    pub fn new(model: &Sarm) -> Self {
        Self {
            stages: model.stages.clone(),
            list: model
                .tensors
                .iter()
                .zip(&model.parameters)
                .map(|(spec, values)| PaddedTensor::new(spec, values))
                .collect(),
            steps: 0,
            left: model.left(),
        }
    }

    /// One tensor.
    pub fn get(&self, stage: usize, tensor: StageTensor) -> &PaddedTensor {
        &self.list[shape::tensor_index(&self.stages, stage, tensor)]
    }

    /// The same without numbers: all that a gradient needs to know of them.
    pub fn shapes_only(&self) -> Self {
        let empty = |p: &PaddedTensor| PaddedTensor {
            spec: p.spec.clone(),
            stride: p.stride,
            value: Vec::new(),
            first: Vec::new(),
            second: Vec::new(),
        };
        Self {
            stages: self.stages.clone(),
            list: self.list.iter().map(empty).collect(),
            steps: self.steps,
            left: self.left,
        }
    }

    /// Unpadded copies, for a checkpoint.
    pub fn state(&self) -> TrainingState {
        let all = |pick: fn(&PaddedTensor) -> &Vec<f32>| {
            self.list
                .iter()
                .map(|p| copy_out(pick(p), p.stride, &p.spec))
                .collect()
        };
        TrainingState {
            parameters: all(|p| &p.value),
            first_moments: all(|p| &p.first),
            second_moments: all(|p| &p.second),
            steps: self.steps,
        }
    }

    /// Take over a checkpoint; nothing is changed when its shapes are not this model's.
    pub fn restore(&mut self, state: &TrainingState) -> Result<(), EngineError> {
        state.check(self.list.iter().map(|p| p.spec.size()))?;
        let lists = [
            &state.parameters,
            &state.first_moments,
            &state.second_moments,
        ];
        for (i, p) in self.list.iter_mut().enumerate() {
            copy_in(&mut p.value, p.stride, &p.spec, &lists[0][i]);
            copy_in(&mut p.first, p.stride, &p.spec, &lists[1][i]);
            copy_in(&mut p.second, p.stride, &p.spec, &lists[2][i]);
        }
        self.steps = state.steps;
        Ok(())
    }
}

/// Weights packed for one direction of one step.
#[derive(Debug, Clone)]
pub struct PackedStage {
    /// Input layer, hidden layers, gate: rows by what they read.
    pub forward: Vec<Packed>,
    /// Hidden layers and gate, transposed: rows are what is read, columns who reads it.
    pub backward: Vec<Packed>,
    /// D+D: the shared map transposed, `[values][padded levels]`.
    pub levels: Vec<f32>,
}

/// The matrices that a step multiplies dense blocks of images with: input, hidden layers, gate.
pub fn dense_layers(shape: &StageShape) -> Vec<StageTensor> {
    let mut list = vec![StageTensor::InputWeight];
    list.extend((0..shape.layers).map(StageTensor::HiddenWeight));
    list.push(StageTensor::GateWeight);
    list
}

impl PackedStage {
    /// Plan the panels for a stage.
    pub fn plan(weights: &Weights, stage: usize, isa: Isa) -> Self {
        let shape = &weights.stages[stage];
        let rows = isa.tile_rows();
        let units = shape.units();
        let mut forward = Vec::new();
        let mut backward = Vec::new();
        for (i, tensor) in dense_layers(shape).into_iter().enumerate() {
            let spec = &weights.get(stage, tensor).spec;
            forward.push(Packed::plan(&[0, spec.rows()], rows, |_, last| {
                0..spec.read(last)
            }));
            if i > 0 {
                // Column k is read from the first row on that reads past k.
                backward.push(Packed::plan(&[0, units], rows, |first, _| {
                    let reader = (0..spec.rows()).find(|r| spec.read(*r) > first);
                    reader.unwrap_or(spec.rows())..spec.rows()
                }));
            }
        }
        let levels = vec![0.0; shape.values * padded(shape.levels)];
        Self {
            forward,
            backward,
            levels,
        }
    }

    /// Pack the current weights; `backward` too when a gradient is wanted.
    pub fn fill(&mut self, weights: &Weights, stage: usize, backward: bool) {
        let shape = &weights.stages[stage];
        for (i, tensor) in dense_layers(shape).into_iter().enumerate() {
            let p = weights.get(stage, tensor);
            self.forward[i].fill(&p.value, p.stride);
            if i > 0 && backward {
                self.backward[i - 1].fill_transposed(&p.value, p.stride);
            }
        }
        if shape.levels > 0 {
            let p = weights.get(stage, StageTensor::LevelsWeight);
            let stride = padded(shape.levels);
            for (u, row) in self.levels.chunks_exact_mut(stride).enumerate() {
                for (n, o) in row.iter_mut().take(shape.levels).enumerate() {
                    *o = p.at(n, u);
                }
            }
        }
    }
}

/// Adam on the part of one row that is not masked, with all that an instruction set has.
pub struct Adam<'a> {
    /// The row's parameters and moments.
    pub value: &'a mut [f32],
    pub first: &'a mut [f32],
    pub second: &'a mut [f32],
    /// Its gradient.
    pub gradient: &'a [f32],
    /// Constants of this step.
    pub rule: AdamRule,
}

impl Kernel for Adam<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        self.rule
            .step(self.value, self.first, self.second, self.gradient);
    }
}
