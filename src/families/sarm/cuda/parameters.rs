//! Where a model's parameters lie on the device, and how a checkpoint's tensors get there and back.
//!
//! All of them are one arena of float32 masters with two more of the same layout for Adam's moments.
//! Weight matrices come first and have a bfloat16 shadow, which is what the tensor cores read; biases,
//! D+D's shared map and the weights of what is left follow. A pixel's gate and values are neighbouring rows of one output matrix,
//! so that one product makes them and one kernel reads them.

use std::sync::Arc;

use half::bf16;

use super::ops::mask::Mask;
use crate::device::DeviceError;
use crate::device::cuda::device::{Address, Device, Memory};
use crate::families::sarm::{Sarm, StageShape, StageTensor};
use crate::family::EngineError;
use crate::family::TrainingState;

/// Elements from one matrix row to the next are a multiple of this: rows start at whole 16 bytes.
pub const PITCH: usize = 8;

/// Matrices start at whole 128 bytes of the shadow.
const ALIGNMENT: usize = 64;

/// Elements from one row of `columns` to the next.
pub fn pitch(columns: usize) -> usize {
    columns.next_multiple_of(PITCH)
}

/// A masked weight matrix and its bias in the arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Matrix {
    /// Its first element.
    pub offset: usize,
    /// Units or numbers that it makes.
    pub rows: usize,
    /// What it reads.
    pub columns: usize,
    /// Elements from one row to the next.
    pub pitch: usize,
    /// Which columns each row reads.
    pub mask: Mask,
    /// First element of its bias, one number a row.
    pub bias: usize,
    /// Whether weight decay applies, as [`TensorSpec::decays`](crate::families::sarm::TensorSpec::decays) says.
    pub decays: bool,
}

/// A stage's parameters in the arena.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageLayout {
    /// Sizes.
    pub shape: StageShape,
    /// Input layer, then the hidden layers.
    pub layers: Vec<Matrix>,
    /// Gate and values of each pixel, [`rows_per_pixel`](Self::rows_per_pixel) rows one after another.
    pub output: Matrix,
    /// D+D: first element of the shared map `[levels, values]`.
    pub map: usize,
    /// D+D: first element of the map's bias.
    pub map_bias: usize,
    /// First element of the weights of what is left `[pixels, 1 + values, functions]`, where pixels are shown it.
    pub left: usize,
}

impl StageLayout {
    /// Numbers that the network gives for a pixel: its gate, then its values.
    pub fn rows_per_pixel(&self) -> usize {
        1 + self.shape.values
    }
}

/// Where everything lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Stage after stage.
    pub stages: Vec<StageLayout>,
    /// Elements of the part with a shadow: the weight matrices.
    pub weights: usize,
    /// Elements in all.
    pub size: usize,
}

impl Layout {
    /// The layout of `model`'s parameters.
    pub fn of(model: &Sarm) -> Self {
        let mut end = 0;
        let mut take = |elements: usize| {
            let start = end;
            end += elements.next_multiple_of(ALIGNMENT);
            start
        };
        let mut matrix = |rows: usize, columns: usize, mask: Mask| Matrix {
            offset: take(rows * pitch(columns)),
            rows,
            columns,
            pitch: pitch(columns),
            mask,
            bias: 0,
            decays: false,
        };
        let mut stages: Vec<StageLayout> = model
            .stages
            .iter()
            .map(|shape| {
                let (units, u) = (shape.units(), shape.units_per_pixel);
                let rows_per_pixel = 1 + shape.values;
                let mut layers = vec![matrix(
                    units,
                    shape.inputs(),
                    Mask::input(shape.context() as u32, u as u32, shape.channels as u32),
                )];
                layers.extend(
                    (0..shape.layers).map(|_| matrix(units, units, Mask::hidden(u as u32))),
                );
                StageLayout {
                    shape: *shape,
                    layers,
                    output: matrix(
                        shape.pixels * rows_per_pixel,
                        units,
                        Mask::output(u as u32, rows_per_pixel as u32),
                    ),
                    map: 0,
                    map_bias: 0,
                    left: 0,
                }
            })
            .collect();
        let weights = end;
        let mut take = |elements: usize| {
            let start = end;
            end += elements.next_multiple_of(ALIGNMENT);
            start
        };
        for (s, stage) in stages.iter_mut().enumerate() {
            let decays = |tensor| model.tensors[model.index(s, tensor)].decays();
            for (layer, matrix) in stage.layers.iter_mut().enumerate() {
                matrix.decays = decays(match layer {
                    0 => StageTensor::InputWeight,
                    _ => StageTensor::HiddenWeight(layer - 1),
                });
            }
            // The gates' rows and the values' lie side by side: one rule holds for both.
            stage.output.decays = decays(StageTensor::ValueWeight);
            for matrix in stage.layers.iter_mut().chain([&mut stage.output]) {
                matrix.bias = take(matrix.rows);
            }
            stage.map = take(stage.shape.levels * stage.shape.values);
            stage.map_bias = take(stage.shape.levels);
            let shape = &stage.shape;
            stage.left = take(shape.pixels * (1 + shape.values) * shape.left);
        }
        Self {
            stages,
            weights,
            size: end,
        }
    }

    /// Calls `copy(tensor, its first number, arena's first element, count)` for every run of numbers
    /// that lie side by side both in the checkpoint's tensors of `model` and in the arena.
    fn for_runs(&self, model: &Sarm, mut copy: impl FnMut(usize, usize, usize, usize)) {
        for (s, stage) in self.stages.iter().enumerate() {
            let (pixels, values) = (stage.shape.pixels, stage.shape.values);
            let step = stage.rows_per_pixel();
            let mut rows =
                |tensor: StageTensor, matrix: &Matrix, row_of: &dyn Fn(usize) -> usize| {
                    let index = model.index(s, tensor);
                    let count = model.tensors[index].size() / matrix.columns;
                    for row in 0..count {
                        copy(
                            index,
                            row * matrix.columns,
                            matrix.offset + row_of(row) * matrix.pitch,
                            matrix.columns,
                        );
                    }
                };
            rows(StageTensor::InputWeight, &stage.layers[0], &|r| r);
            for l in 0..stage.shape.layers {
                rows(StageTensor::HiddenWeight(l), &stage.layers[l + 1], &|r| r);
            }
            rows(StageTensor::GateWeight, &stage.output, &|pixel| {
                pixel * step
            });
            rows(StageTensor::ValueWeight, &stage.output, &|r| {
                r / values * step + 1 + r % values
            });
            let mut whole = |tensor: StageTensor, to: usize| {
                let index = model.index(s, tensor);
                copy(index, 0, to, model.tensors[index].size());
            };
            whole(StageTensor::InputBias, stage.layers[0].bias);
            for l in 0..stage.shape.layers {
                whole(StageTensor::HiddenBias(l), stage.layers[l + 1].bias);
            }
            if stage.shape.levels > 0 {
                whole(StageTensor::LevelsWeight, stage.map);
                whole(StageTensor::LevelsBias, stage.map_bias);
            }
            if stage.shape.left > 0 {
                whole(StageTensor::LeftWeight, stage.left);
            }
            let gate = model.index(s, StageTensor::GateBias);
            let value = model.index(s, StageTensor::ValueBias);
            for pixel in 0..pixels {
                let to = stage.output.bias + pixel * step;
                copy(gate, pixel, to, 1);
                copy(value, pixel * values, to + 1, values);
            }
        }
    }

    /// The arena that holds `tensors`; what lies between them is 0.
    fn pack(&self, model: &Sarm, tensors: &[Vec<f32>]) -> Vec<f32> {
        let mut arena = vec![0.0; self.size];
        self.for_runs(model, |tensor, from, to, count| {
            arena[to..to + count].copy_from_slice(&tensors[tensor][from..from + count]);
        });
        arena
    }

    /// The tensors that `arena` holds.
    pub fn unpack(&self, model: &Sarm, arena: &[f32]) -> Vec<Vec<f32>> {
        let mut tensors: Vec<Vec<f32>> =
            model.tensors.iter().map(|t| vec![0.0; t.size()]).collect();
        self.for_runs(model, |tensor, from, to, count| {
            tensors[tensor][from..from + count].copy_from_slice(&arena[to..to + count]);
        });
        tensors
    }
}

/// A model's parameters on a device, with what training needs beside them.
pub struct Parameters {
    /// Where each lies.
    pub layout: Layout,
    values: Memory<f32>,
    /// Adam's moments; empty where nothing is trained.
    moments: Vec<Memory<f32>>,
    shadow: Memory<bf16>,
}

impl Parameters {
    /// `model`'s parameters; with room for Adam's moments, 0, if they are to be `trained`.
    pub fn new(device: &Arc<dyn Device>, model: &Sarm, trained: bool) -> Result<Self, EngineError> {
        let layout = Layout::of(model);
        let mut parameters = Self {
            values: Memory::zeros(device, layout.size)?,
            moments: (0..if trained { 2 } else { 0 })
                .map(|_| Memory::zeros(device, layout.size))
                .collect::<Result<_, _>>()?,
            shadow: Memory::zeros(device, layout.weights)?,
            layout,
        };
        parameters.set(model, &model.parameters)?;
        Ok(parameters)
    }

    /// Bytes that [`new`](Self::new) takes.
    pub fn bytes(layout: &Layout, trained: bool) -> u64 {
        let copies = if trained { 3 } else { 1 };
        (4 * copies * layout.size + 2 * layout.weights) as u64
    }

    fn set(&mut self, model: &Sarm, tensors: &[Vec<f32>]) -> Result<(), DeviceError> {
        let arena = self.layout.pack(model, tensors);
        self.values.write(0, &arena)?;
        let shadow: Vec<bf16> = arena[..self.layout.weights]
            .iter()
            .map(|v| bf16::from_f32(*v))
            .collect();
        self.shadow.write(0, &shadow)
    }

    /// Take over a checkpoint's parameters and moments, which must be `model`'s.
    pub fn restore(&mut self, model: &Sarm, state: &TrainingState) -> Result<(), EngineError> {
        state.check(model.tensors.iter().map(|t| t.size()))?;
        self.set(model, &state.parameters)?;
        let moments = [&state.first_moments, &state.second_moments];
        for (memory, list) in self.moments.iter_mut().zip(moments) {
            memory.write(0, &self.layout.pack(model, list))?;
        }
        Ok(())
    }

    /// Parameters and moments as a checkpoint holds them.
    pub fn state(&self, model: &Sarm, steps: u64) -> Result<TrainingState, EngineError> {
        let list = |memory: &Memory<f32>| {
            let values = memory.to_vec()?;
            Ok::<_, DeviceError>(self.layout.unpack(model, &values))
        };
        let moment = |i: usize| match self.moments.get(i) {
            Some(memory) => list(memory),
            None => Ok(model.tensors.iter().map(|t| vec![0.0; t.size()]).collect()),
        };
        Ok(TrainingState {
            parameters: list(&self.values)?,
            first_moments: moment(0)?,
            second_moments: moment(1)?,
            steps,
        })
    }

    /// Address of master number `element`.
    pub fn value(&self, element: usize) -> Address {
        self.values.at(element)
    }

    /// Addresses of the two moments of master number `element`; null where nothing is trained.
    pub fn moments(&self, element: usize) -> [Address; 2] {
        [0, 1].map(|i| self.moments.get(i).map_or(Address::NULL, |m| m.at(element)))
    }

    /// Address of the shadow of weight number `element`.
    pub fn shadow(&self, element: usize) -> Address {
        self.shadow.at(element)
    }
}
