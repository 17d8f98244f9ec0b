//! A model on the device, ready to be drawn: its packed weights, and the launches that draw a run of images.

use std::sync::Arc;

use super::ops::MOST_STAGES;
use super::ops::sample::{
    Blocks, FRAGMENT, MOST_LAYERS, Sample, SamplePlan, StageWeights, Unfit, ValueKind,
};
use super::packed::PackedStage;
use crate::device::DeviceError;
use crate::device::cuda::device::{Address, Device, Launch, Memory};
use crate::device::cuda::room::{check_limit, check_room};
use crate::families::sarm::config::Channel;
use crate::families::sarm::{Left, Sarm, Values};
use crate::family::EngineError;
use crate::family::cuda::{Shown, Slots};
use crate::family::{SamplingPlan, Told};

const REMEDY: &str = "use a smaller network, another card or --device cpu";

/// One stage's packed weights on the device.
struct StageMemory {
    blocks: Blocks,
    rows: Memory<[u32; 4]>,
    values: Memory<[u32; 4]>,
    pushes: Memory<u32>,
    row_bias: Memory<f32>,
    value_bias: Memory<f32>,
    map: Option<Memory<f32>>,
    left: Option<Memory<f32>>,
}

/// A copy of `numbers` on the device, where there are any.
fn some(device: &Arc<dyn Device>, numbers: &[f32]) -> Result<Option<Memory<f32>>, EngineError> {
    match numbers.is_empty() {
        true => Ok(None),
        false => Ok(Some(Memory::from(device, numbers)?)),
    }
}

impl StageMemory {
    fn new(device: &Arc<dyn Device>, packed: &PackedStage) -> Result<Self, EngineError> {
        Ok(Self {
            blocks: packed.blocks,
            rows: Memory::from(device, &packed.rows)?,
            values: Memory::from(device, &packed.values)?,
            pushes: Memory::from(device, &packed.pushes)?,
            row_bias: Memory::from(device, &packed.row_bias)?,
            value_bias: Memory::from(device, &packed.value_bias)?,
            map: some(device, &packed.map)?,
            left: some(device, &packed.left)?,
        })
    }

    fn weights(&self) -> StageWeights {
        StageWeights {
            blocks: self.blocks,
            rows: self.rows.address(),
            values: self.values.address(),
            pushes: self.pushes.address(),
            row_bias: self.row_bias.address(),
            value_bias: self.value_bias.address(),
            map: self.map.as_ref().map_or(Address::NULL, Memory::address),
            left: self.left.as_ref().map_or(Address::NULL, Memory::address),
        }
    }
}

/// A model on the device with seed and conditions: all that an image depends on but its number.
pub struct Drawing {
    stages: Vec<StageMemory>,
    plan: SamplePlan,
    grid: Option<Memory<f32>>,
    values: Values,
    left: Option<Left>,
    channels: Vec<Channel>,
    order: Memory<u16>,
    told: Told,
    history: Memory<u16>,
    queue: Memory<u32>,
    seed: u64,
    bytes: u64,
}

fn blocks(model: &Sarm) -> Vec<Blocks> {
    let stages = model.stages.iter();
    stages.map(|shape| Blocks { shape: *shape }).collect()
}

/// Why a card does not draw a model, in words.
fn unfit(device: &Arc<dyn Device>, why: Unfit) -> DeviceError {
    let name = &device.properties().name;
    DeviceError::Unsupported(match why {
        Unfit::Stages(n) => format!(
            "models are drawn on CUDA devices with up to {MOST_STAGES} stages, this one has {n}; use --device cpu"
        ),
        Unfit::Layers(n) => format!(
            "models are drawn on CUDA devices with up to {} hidden layers after the input layer, this one has {}; use --device cpu",
            MOST_LAYERS - 1,
            n - 1
        ),
        Unfit::Units(n) => format!(
            "models are drawn on CUDA devices with up to {FRAGMENT} units per pixel, this one has {n}; use --device cpu"
        ),
        Unfit::Shared { needed, available } => format!(
            "the network is too large to be drawn on {name}: its layers, units and numbers per pixel need {needed} bytes of shared memory, a block of threads has {available}; use fewer components or latents, another card or --device cpu"
        ),
    })
}

impl Drawing {
    /// Pack `model` and send it to `device`.
    ///
    /// # Errors
    /// Conditions that are not the model's, a model that [`SamplePlan::new`] cannot plan for, less memory than it takes:
    /// free on the device, or allowed by `plan`.
    pub fn new(
        device: &Arc<dyn Device>,
        model: &Sarm,
        plan: &SamplingPlan,
    ) -> Result<Self, EngineError> {
        Self::within(device, model, plan, device.properties().shared_per_block)
    }

    /// The same with blocks that take no more than `shared` bytes of shared memory, as on a smaller card.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn within(
        device: &Arc<dyn Device>,
        model: &Sarm,
        plan: &SamplingPlan,
        shared: u32,
    ) -> Result<Self, EngineError> {
        let told = Told::new(model, plan)?;
        let multiprocessors = device.properties().multiprocessors;
        let sample_plan = SamplePlan::new(&blocks(model), shared, multiprocessors)
            .map_err(|why| unfit(device, why))?;
        let weights: u64 = blocks(model).iter().map(PackedStage::bytes).sum();
        let needed = [
            (weights, "the packed weights".to_string()),
            (4 * model.pixels() as u64, "the order of the pixels".into()),
            (
                2 * sample_plan.history() as u64,
                "what is drawn at a time".into(),
            ),
        ];
        let bytes = needed.iter().map(|part| part.0).sum();
        check_limit(plan.max_memory, bytes)?;
        check_room(device, &needed, REMEDY)?;
        let stages =
            (0..model.stages.len()).map(|s| StageMemory::new(device, &PackedStage::new(model, s)));
        let stages = stages.collect::<Result<Vec<_>, _>>()?;
        let values = model.values();
        let grid = match &values {
            Values::Mixture(_) => None,
            Values::Levels(grid) => {
                let levels: Vec<f32> = (0..grid.len()).map(|level| grid.value(level)).collect();
                Some(Memory::from(device, &levels)?)
            }
        };
        Ok(Self {
            stages,
            plan: sample_plan,
            grid,
            values,
            left: model.left(),
            channels: model.config.input.channels(),
            order: Memory::from(device, &model.order.concat())?,
            told,
            history: Memory::zeros(device, sample_plan.history())?,
            bytes,
            queue: Memory::zeros(device, 1)?,
            seed: plan.seed,
        })
    }
}

impl crate::family::cuda::Drawing for Drawing {
    type Shown = Shown;

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn wave(&self) -> usize {
        self.plan.wave()
    }

    fn tile(&self) -> usize {
        self.plan.tile()
    }

    fn shown_bytes(&self) -> u64 {
        Shown::bytes_each(&self.told)
    }

    fn shown(&self, device: &Arc<dyn Device>, images: usize) -> Result<Shown, EngineError> {
        Shown::new(&self.told, device, images)
    }

    fn show(&self, shown: &mut Shown, first: u64, images: usize) -> Result<(), EngineError> {
        shown.send(&self.told, (first, images), |budget| {
            self.values.first(budget)
        })
    }

    fn launches(
        &self,
        first: u64,
        images: usize,
        shown: &Shown,
        slots: &Slots,
    ) -> Result<Vec<Launch>, EngineError> {
        let stages: Vec<StageWeights> = self.stages.iter().map(StageMemory::weights).collect();
        let sample = Sample {
            stages: &stages,
            values: match (&self.values, &self.grid) {
                (Values::Mixture(mixture), _) => ValueKind::Mixture(*mixture),
                (Values::Levels(_), grid) => {
                    ValueKind::Levels(grid.as_ref().map_or(Address::NULL, Memory::address))
                }
            },
            left: self.left,
            channels: &self.channels,
            order: self.order.address(),
            conditions: shown.conditions(),
            totals: shown.totals(),
            condition_rows: shown.rows(),
            history: self.history.address(),
            queue: self.queue.address(),
            slot_pixel: slots.pixel(0, images),
            slot_value: slots.value(0, images),
            counts: slots.counts(0, images),
            seed: self.seed,
            first,
            images,
        };
        Ok(vec![sample.launch(&self.plan)])
    }
}
