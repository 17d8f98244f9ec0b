//! The launches that a step is made of: gather, forward, likelihood, backward, update.

use std::sync::Arc;

use super::batch::{Batch, Likelihood, StageBuffers, all_parts, shown_pitch};
use super::dataset::ResidentImages;
use super::ops::cells;
use super::ops::cells::StageOutput;
use super::ops::gather::Gather;
use super::ops::left::{LeftChange, LeftUpdate};
use super::ops::levels::{LevelsLikelihood, LevelsStage, LevelsUpdate, MapUpdate, Moments};
use super::ops::linear::{
    AdamArenas, ForwardProblem, ForwardResult, InputProblem, Layer, Matrix as Operand, Scratch,
    Update, WeightsProblem, backward_input, backward_input_scratch, backward_weights, forward,
};
use super::ops::mixture::MixtureLikelihood;
use super::parameters::{Matrix, Parameters, StageLayout, pitch};
use crate::device::cuda::device::{Address, Device, Launch, Memory};
use crate::device::cuda::ops::step::FinishStep;
use crate::families::sarm::Sarm;
use crate::family::EngineError;
use crate::family::cuda::{Chunk, Plan};

/// What every batch reads besides its own buffers.
pub struct Around<'a> {
    pub device: &'a Arc<dyn Device>,
    pub model: &'a Sarm,
    pub parameters: &'a Parameters,
    pub data: &'a ResidentImages,
}

/// What becomes of a gradient.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    /// A step of Adam.
    Step,
    /// The gradient is stored in an arena like the parameters'.
    Gradient(Address),
}

impl Batch {
    /// Forward alone: [`image_nll`](Self::image_nll) of the resident images number `rows`, u32 `[images]`.
    pub fn scoring(
        &self,
        around: &Around,
        rows: &Memory<u32>,
        images: usize,
    ) -> Result<Plan, EngineError> {
        let mut launches = self.forward(around, rows, images, Address::NULL)?;
        launches.push(
            FinishStep {
                nll: self.nll.address(),
                parts: all_parts(around.model),
                images,
                image_nll: self.image_nll.address(),
                losses: Address::NULL,
                cursor: Address::NULL,
            }
            .launch(),
        );
        Ok(Plan::new(launches, None))
    }

    /// A whole step of the chunk on `images` images: forward, likelihood, backward, what `goal` asks for.
    pub fn step(
        &self,
        around: &Around,
        chunk: &Chunk,
        images: usize,
        goal: Goal,
    ) -> Result<Plan, EngineError> {
        let mut launches = self.forward(around, &chunk.rows, images, chunk.cursor.address())?;
        let levels = self.backward_levels(around);
        let properties = around.device.properties();
        let scratch = levels
            .iter()
            .map(|level| backward_input_scratch(properties, images as u32, level))
            .max()
            .unwrap_or(0);
        let scratch = match scratch {
            0 => None,
            n => Some(Memory::<f32>::zeros(around.device, n as usize)?),
        };
        let room = scratch.as_ref().map_or(Scratch::NONE, |m| Scratch {
            address: m.address(),
            len: m.len() as u64,
        });
        for level in &levels {
            launches.extend(backward_input(properties, images as u32, room, level)?);
        }
        launches.extend(self.update(around, chunk, images, goal)?);
        launches.push(
            FinishStep {
                nll: self.nll.address(),
                parts: all_parts(around.model),
                images,
                image_nll: Address::NULL,
                losses: chunk.losses.address(),
                cursor: chunk.cursor.address(),
            }
            .launch(),
        );
        Ok(Plan::new(launches, scratch))
    }

    /// Gather, all layers, likelihood.
    fn forward(
        &self,
        around: &Around,
        rows: &Memory<u32>,
        images: usize,
        cursor: Address,
    ) -> Result<Vec<Launch>, EngineError> {
        assert!((1..=self.capacity()).contains(&images));
        let layout = &around.parameters.layout;
        let mut launches = vec![
            Gather {
                data: around.data.addresses(),
                rows: rows.address(),
                cursor,
                batch: images,
                shown: self.shown.address(),
                pitch: shown_pitch(around.model),
                target: self.target.address(),
                limit: address_of(&self.limit),
            }
            .launch(),
        ];
        let depth = layout.stages.iter().map(|s| s.layers.len()).max();
        for level in 0..=depth.unwrap_or(0) {
            let problems: Vec<ForwardProblem> = layout
                .stages
                .iter()
                .zip(&self.stages)
                .filter_map(|(stage, buffers)| self.forward_problem(around, stage, buffers, level))
                .collect();
            let properties = around.device.properties();
            launches.extend(forward(properties, images as u32, &problems)?);
        }
        launches.extend(self.likelihood(around, images));
        Ok(launches)
    }

    /// What a layer of level `level` reads: the images, or the activations below.
    fn input(
        &self,
        around: &Around,
        stage: &StageLayout,
        buffers: &StageBuffers,
        level: usize,
    ) -> Operand {
        let operand = |address, pitch: usize| Operand {
            address,
            pitch: pitch as u32,
        };
        match level.checked_sub(1) {
            None => operand(self.shown.address(), shown_pitch(around.model)),
            Some(l) => operand(buffers.after[l].address(), pitch(stage.layers[l].rows)),
        }
    }

    fn forward_problem(
        &self,
        around: &Around,
        stage: &StageLayout,
        buffers: &StageBuffers,
        level: usize,
    ) -> Option<ForwardProblem> {
        let last = stage.layers.len();
        let matrix = match level {
            l if l < last => &stage.layers[l],
            l if l == last => &stage.output,
            _ => return None,
        };
        let pitch = pitch(matrix.rows) as u32;
        Some(ForwardProblem {
            layer: layer(matrix),
            weights: around.parameters.shadow(matrix.offset),
            bias: around.parameters.value(matrix.bias),
            input: self.input(around, stage, buffers, level),
            result: match level < last {
                true => ForwardResult::Hidden {
                    before: buffers
                        .before
                        .get(level)
                        .map_or(Address::NULL, Memory::address),
                    after: buffers.after[level].address(),
                    pitch,
                },
                false => ForwardResult::Numbers(Operand {
                    address: buffers.output.address(),
                    pitch,
                }),
            },
        })
    }

    /// What the likelihood is taken of.
    fn cells(&self, around: &Around, images: usize) -> cells::Batch {
        cells::Batch {
            target: self.target.address(),
            nll: self.nll.address(),
            places: around.model.pixels(),
            images,
        }
    }

    /// What the networks gave, stage by stage.
    fn outputs(&self, around: &Around) -> Vec<StageOutput> {
        let stages = around.parameters.layout.stages.iter().zip(&self.stages);
        stages
            .map(|(stage, buffers)| StageOutput {
                output: buffers.output.address(),
                delta: address_of(&buffers.output_delta),
                pitch: pitch(stage.output.rows),
                first_place: stage.shape.earlier,
                pixels: stage.shape.pixels,
            })
            .collect()
    }

    fn likelihood(&self, around: &Around, images: usize) -> Vec<Launch> {
        let layout = &around.parameters.layout;
        let batch = self.cells(around, images);
        let outputs = self.outputs(around);
        match &self.likelihood {
            Likelihood::Levels { plan, widths } => {
                let stages: Vec<LevelsStage> = layout
                    .stages
                    .iter()
                    .zip(&self.stages)
                    .zip(&outputs)
                    .map(|((stage, buffers), output)| LevelsStage {
                        output: *output,
                        map: around.parameters.value(stage.map),
                        bias: around.parameters.value(stage.map_bias),
                        sums: address_of(&buffers.sums),
                    })
                    .collect();
                LevelsLikelihood {
                    plan,
                    log_widths: widths.address(),
                    map_pitch: around.model.config.likelihood.values(),
                    batch,
                    stages: &stages,
                }
                .launches()
            }
            Likelihood::Mixture(mixture) => {
                let weights: Vec<Address> = (layout.stages.iter())
                    .map(|stage| around.parameters.value(stage.left))
                    .collect();
                MixtureLikelihood {
                    mixture: *mixture,
                    limit: address_of(&self.limit),
                    left: around.model.left().map(|left| (left, &weights[..])),
                    batch,
                    stages: &outputs,
                }
                .launches()
            }
        }
    }

    /// From the outputs down to the input layers, level by level.
    fn backward_levels(&self, around: &Around) -> Vec<Vec<InputProblem>> {
        let layout = &around.parameters.layout;
        let depth = layout
            .stages
            .iter()
            .map(|s| s.layers.len())
            .max()
            .unwrap_or(0);
        (0..depth)
            .map(|level| {
                let stages = layout.stages.iter().zip(&self.stages);
                stages
                    .filter_map(|(stage, buffers)| {
                        // The output layer first, in every stage.
                        let below = stage.layers.len().checked_sub(level + 1)?;
                        let matrix = match level {
                            0 => &stage.output,
                            _ => &stage.layers[below + 1],
                        };
                        let units = pitch(stage.layers[below].rows) as u32;
                        let hidden = |address| Operand {
                            address,
                            pitch: units,
                        };
                        Some(InputProblem {
                            layer: layer(matrix),
                            weights: around.parameters.shadow(matrix.offset),
                            delta: match level {
                                0 => Operand {
                                    address: address_of(&buffers.output_delta),
                                    pitch: pitch(matrix.rows) as u32,
                                },
                                _ => Operand {
                                    address: buffers.delta[below + 1].address(),
                                    pitch: pitch(matrix.rows) as u32,
                                },
                            },
                            before: hidden(buffers.before[below].address()),
                            below: hidden(buffers.delta[below].address()),
                        })
                    })
                    .collect()
            })
            .collect()
    }

    /// Gradients of all weights, and what becomes of them.
    fn update(
        &self,
        around: &Around,
        chunk: &Chunk,
        images: usize,
        goal: Goal,
    ) -> Result<Vec<Launch>, EngineError> {
        assert!(self.trained, "a batch without derivatives");
        let parameters = around.parameters;
        let mut problems = Vec::new();
        for (stage, buffers) in parameters.layout.stages.iter().zip(&self.stages) {
            for level in 0..=stage.layers.len() {
                let (matrix, delta) = match stage.layers.get(level) {
                    Some(matrix) => (matrix, buffers.delta[level].address()),
                    None => (&stage.output, address_of(&buffers.output_delta)),
                };
                problems.push(WeightsProblem {
                    layer: layer(matrix),
                    delta: Operand {
                        address: delta,
                        pitch: pitch(matrix.rows) as u32,
                    },
                    input: self.input(around, stage, buffers, level),
                    weights: matrix.offset as u64,
                    bias: matrix.bias as u64,
                    decays: matrix.decays,
                });
            }
        }
        let update = match goal {
            Goal::Gradient(arena) => Update::Store(arena),
            Goal::Step => Update::Adam(AdamArenas {
                value: parameters.value(0),
                first: parameters.moments(0)[0],
                second: parameters.moments(0)[1],
                shadow: parameters.shadow(0),
                rates: chunk.rates.address(),
                cursor: chunk.cursor.address(),
            }),
        };
        let properties = around.device.properties();
        let mut launches = backward_weights(properties, images as u32, update, &problems)?;
        if let Likelihood::Levels { plan, .. } = &self.likelihood {
            let stages: Vec<(Address, MapUpdate)> = parameters
                .layout
                .stages
                .iter()
                .zip(&self.stages)
                .map(|(stage, buffers)| {
                    let update = match goal {
                        Goal::Step => MapUpdate::Adam {
                            map: moments(parameters, stage.map),
                            bias: moments(parameters, stage.map_bias),
                        },
                        Goal::Gradient(arena) => MapUpdate::Store {
                            map: element(arena, stage.map),
                            bias: element(arena, stage.map_bias),
                        },
                    };
                    (address_of(&buffers.sums), update)
                })
                .collect();
            launches.extend(
                LevelsUpdate {
                    plan,
                    map_pitch: around.model.config.likelihood.values(),
                    stages: &stages,
                    rates: chunk.rates.address(),
                    cursor: chunk.cursor.address(),
                }
                .launches(),
            );
        }
        if let Some(left) = around.model.left() {
            let outputs = self.outputs(around).into_iter();
            let stages: Vec<(StageOutput, LeftChange)> = outputs
                .zip(&parameters.layout.stages)
                .map(|(output, stage)| {
                    let change = match goal {
                        Goal::Step => LeftChange::Adam(moments(parameters, stage.left)),
                        Goal::Gradient(arena) => LeftChange::Store(element(arena, stage.left)),
                    };
                    (output, change)
                })
                .collect();
            launches.extend(
                LeftUpdate {
                    left,
                    batch: self.cells(around, images),
                    limit: address_of(&self.limit),
                    numbers: 1 + around.model.config.likelihood.values(),
                    stages: &stages,
                    rates: chunk.rates.address(),
                    cursor: chunk.cursor.address(),
                }
                .launches(),
            );
        }
        Ok(launches)
    }
}

/// Master number `element` with its moments.
fn moments(parameters: &Parameters, element: usize) -> Moments {
    let [first, second] = parameters.moments(element);
    Moments {
        value: parameters.value(element),
        first,
        second,
    }
}

/// f32 number `element` of an arena.
fn element(arena: Address, element: usize) -> Address {
    Address(arena.0 + 4 * element as u64)
}

fn address_of<T: bytemuck::Pod>(memory: &Option<Memory<T>>) -> Address {
    memory.as_ref().map_or(Address::NULL, Memory::address)
}

fn layer(matrix: &Matrix) -> Layer {
    Layer {
        rows: matrix.rows as u32,
        columns: matrix.columns as u32,
        pitch: matrix.pitch as u32,
        mask: matrix.mask,
    }
}
