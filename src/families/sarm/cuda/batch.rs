//! A batch on its way through the network: its buffers.

use std::sync::Arc;

use half::bf16;

use super::ops::cells::parts;
use super::ops::levels::{LevelsPlan, log_widths};
use super::parameters::{Layout, Matrix, StageLayout, pitch};
use crate::device::cuda::device::{Device, Memory, Properties};
use crate::families::sarm::{Sarm, Values};
use crate::family::EngineError;
use crate::likelihood::{Grid, Mixture};

/// What one stage computes for a batch.
pub(super) struct StageBuffers {
    /// Pre-activations of each layer `[images, pitch]`; none where nothing is trained.
    pub before: Vec<Memory<bf16>>,
    /// Activations, likewise.
    pub after: Vec<Memory<bf16>>,
    /// Derivatives of the loss by the pre-activations; none where nothing is trained.
    pub delta: Vec<Memory<bf16>>,
    /// Gate and values of each pixel.
    pub output: Memory<f32>,
    /// Derivatives by them; none where nothing is trained.
    pub output_delta: Option<Memory<bf16>>,
    /// D+D: sums of the map's gradient.
    pub sums: Option<Memory<f32>>,
}

/// Buffers for batches of up to `capacity` images.
pub struct Batch {
    capacity: usize,
    pub(super) trained: bool,
    pub(super) shown: Memory<bf16>,
    pub(super) target: Memory<u32>,
    /// What was left before each positive pixel, as resident, or before every pixel where they are shown it; of models that
    /// know totals.
    pub(super) limit: Option<Memory<f32>>,
    pub(super) stages: Vec<StageBuffers>,
    /// Costs `[parts, images]`, nats.
    pub(super) nll: Memory<f32>,
    /// Cost of each image, nats.
    pub(super) image_nll: Memory<f64>,
    pub(super) likelihood: Likelihood,
}

pub(super) fn shown_pitch(model: &Sarm) -> usize {
    pitch(model.inputs())
}

/// The likelihood of a model, as a batch runs it.
pub(super) enum Likelihood {
    Mixture(Mixture),
    Levels {
        plan: LevelsPlan,
        /// ln of the width of each level's cell.
        widths: Memory<f32>,
    },
}

fn levels_plan(model: &Sarm, grid: &Grid, images: usize, properties: &Properties) -> LevelsPlan {
    let pixels: Vec<usize> = model.stages.iter().map(|s| s.pixels).collect();
    let latents = model.config.likelihood.values();
    LevelsPlan::new(latents, grid.len(), &pixels, images, properties)
}

pub(super) fn all_parts(model: &Sarm) -> usize {
    model.stages.iter().map(|s| parts(s.pixels)).sum()
}

impl Batch {
    /// Buffers for `capacity` images of `model`; with room for derivatives if it is to be `trained`.
    pub fn new(
        device: &Arc<dyn Device>,
        model: &Sarm,
        layout: &Layout,
        capacity: usize,
        trained: bool,
    ) -> Result<Self, EngineError> {
        let likelihood = match model.values() {
            Values::Mixture(mixture) => Likelihood::Mixture(mixture),
            Values::Levels(grid) => Likelihood::Levels {
                plan: levels_plan(model, &grid, capacity, device.properties()),
                widths: Memory::from(device, &log_widths(&grid))?,
            },
        };
        let stage = |(s, stage): (usize, &StageLayout)| {
            let layers = || {
                let size = |m: &Matrix| Memory::zeros(device, capacity * pitch(m.rows));
                stage.layers.iter().map(size).collect::<Result<Vec<_>, _>>()
            };
            let outputs = capacity * pitch(stage.output.rows);
            Ok(StageBuffers {
                before: if trained { layers()? } else { Vec::new() },
                after: layers()?,
                delta: if trained { layers()? } else { Vec::new() },
                output: Memory::zeros(device, outputs)?,
                output_delta: match trained {
                    true => Some(Memory::zeros(device, outputs)?),
                    false => None,
                },
                sums: match &likelihood {
                    Likelihood::Levels { plan, .. } if trained => {
                        Some(Memory::zeros(device, plan.sums(s))?)
                    }
                    _ => None,
                },
            })
        };
        let stages = layout.stages.iter().enumerate().map(stage);
        let stages = stages.collect::<Result<Vec<_>, EngineError>>()?;
        Ok(Self {
            capacity,
            trained,
            shown: Memory::zeros(device, capacity * shown_pitch(model))?,
            target: Memory::zeros(device, capacity * model.pixels())?,
            limit: match model.total() {
                Some(_) => Some(Memory::zeros(device, capacity * model.pixels())?),
                None => None,
            },
            stages,
            nll: Memory::zeros(device, capacity * all_parts(model))?,
            image_nll: Memory::zeros(device, capacity)?,
            likelihood,
        })
    }

    /// Bytes that [`new`](Self::new) takes.
    pub fn bytes(
        properties: &Properties,
        model: &Sarm,
        layout: &Layout,
        capacity: usize,
        trained: bool,
    ) -> u64 {
        let mut image = 2 * shown_pitch(model) + 4 * model.pixels() + 4 * all_parts(model) + 8;
        if model.total().is_some() {
            image += 4 * model.pixels();
        }
        for stage in &layout.stages {
            let units: usize = stage.layers.iter().map(|m| pitch(m.rows)).sum();
            image += units * if trained { 6 } else { 2 };
            image += pitch(stage.output.rows) * if trained { 6 } else { 4 };
        }
        let fixed = match model.values() {
            Values::Mixture(_) => 0,
            Values::Levels(grid) => {
                let plan = levels_plan(model, &grid, capacity, properties);
                let trained_stages = if trained { layout.stages.len() } else { 0 };
                4 * (grid.len() + (0..trained_stages).map(|s| plan.sums(s)).sum::<usize>())
            }
        };
        (capacity * image + fixed) as u64
    }

    /// Images that it has room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Cost of each image of the last batch that was run, nats.
    pub fn image_nll(&self, images: usize) -> Result<Vec<f64>, EngineError> {
        let mut nll = vec![0.0; images];
        self.image_nll.read(0, &mut nll)?;
        Ok(nll)
    }
}
