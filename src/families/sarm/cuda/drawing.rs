//! A model on the device, ready to be drawn: its packed weights, and the launches that draw a run of images.

use std::borrow::Cow;
use std::sync::Arc;

use super::ops::MOST_STAGES;
use super::ops::sample::{
    Blocks, FRAGMENT, MOST_LAYERS, Sample, SamplePlan, StageWeights, Unfit, ValueKind,
};
use super::packed::PackedStage;
use crate::device::DeviceError;
use crate::device::cuda::device::{Address, Device, Launch, Memory};
use crate::device::cuda::ops::compact::Compact;
use crate::device::cuda::room::{check_limit, check_room};
use crate::families::sarm::config::Channel;
use crate::families::sarm::{Left, Sarm, Values};
use crate::family::EngineError;
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

/// Where a launch leaves the nonzero pixels of its images, in drawing order: room for all pixels of each.
pub struct Slots {
    pixel: Memory<u16>,
    value: Memory<f32>,
    counts: Memory<u32>,
}

impl Slots {
    /// For `images` images of `pixels` pixels.
    ///
    /// # Errors
    /// As [`Memory::zeros`].
    pub fn new(
        device: &Arc<dyn Device>,
        images: usize,
        pixels: usize,
    ) -> Result<Self, EngineError> {
        Ok(Self {
            pixel: Memory::zeros(device, images * pixels)?,
            value: Memory::zeros(device, images * pixels)?,
            counts: Memory::zeros(device, images)?,
        })
    }
}

/// The images of a launch as compressed sparse rows.
pub struct Rows {
    /// `[images + 1]`
    pub starts: Memory<u32>,
    /// Row-major pixels, ascending in each image.
    pub pixels: Memory<u16>,
    /// GeV.
    pub values: Memory<f32>,
}

impl Rows {
    /// For `images` images of `pixels` pixels.
    ///
    /// # Errors
    /// As [`Memory::zeros`].
    pub fn new(
        device: &Arc<dyn Device>,
        images: usize,
        pixels: usize,
    ) -> Result<Self, EngineError> {
        Ok(Self {
            starts: Memory::zeros(device, images + 1)?,
            pixels: Memory::zeros(device, images * pixels)?,
            values: Memory::zeros(device, images * pixels)?,
        })
    }
}

/// What the images of a launch are told.
pub struct Shown {
    /// f32 `[rows, width]`
    conditions: Memory<f32>,
    /// Of each row, where it says a total: GeV left at the start, and at the end.
    totals: Option<Memory<[f32; 2]>>,
    /// Image number `i` has row `i % rows`.
    rows: u64,
    /// Whether these are all rows that there are, whatever images are drawn.
    all: bool,
}

/// Bytes of device memory that an image of `pixels` pixels takes in [`Slots`] and in `copies` [`Rows`].
pub fn bytes_per_image(pixels: usize, copies: usize) -> u64 {
    ((1 + copies) * (6 * pixels + 4)) as u64
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
    pixels: usize,
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
            pixels: model.pixels(),
        })
    }

    /// Bytes of device memory that it takes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Images that the card draws at a time.
    pub fn wave(&self) -> usize {
        self.plan.wave()
    }

    /// Images that a block of threads draws at a time: fewer in a launch leave it idle.
    pub fn tile(&self) -> usize {
        self.plan.tile()
    }

    /// Bytes that a [`Shown`] takes of each image that a launch draws, at the most.
    pub fn shown_bytes(&self) -> u64 {
        let numbers = self.told.width() + if self.told.has_total() { 2 } else { 0 };
        4 * (self.told.rows_of(1) * numbers) as u64
    }

    /// Room for what `images` images of a launch are told.
    ///
    /// # Errors
    /// As [`Memory::zeros`].
    pub fn shown(&self, device: &Arc<dyn Device>, images: usize) -> Result<Shown, EngineError> {
        let rows = self.told.rows_of(images);
        Ok(Shown {
            conditions: Memory::zeros(device, rows * self.told.width())?,
            totals: match self.told.has_total() {
                true => Some(Memory::zeros(device, rows)?),
                false => None,
            },
            rows: 0,
            all: false,
        })
    }

    /// Send what the images number `first .. first + images` are told to `shown`, which has room for as many and which no
    /// launch to come reads for other images.
    ///
    /// # Errors
    /// Conditions that cannot be drawn or are not the model's; a device that fails.
    pub fn show(&self, shown: &mut Shown, first: u64, images: usize) -> Result<(), EngineError> {
        if shown.all || self.told.width() == 0 {
            return Ok(());
        }
        let told = self.told.of(first, images)?;
        let rows = told.rows().min(images);
        let all = rows == told.rows();
        // As many rows as images where there are more: row k is that of the image whose number leaves k.
        let image = |k: usize| match (all, k as u64, rows as u64) {
            (true, k, _) => k,
            (false, k, n) => first.wrapping_add((k + n - first % n) % n),
        };
        let values: Vec<f32> = (0..rows)
            .flat_map(|k| told.row(image(k)).iter().copied())
            .collect();
        shown.conditions.write(0, &values)?;
        if let Some(totals) = &mut shown.totals {
            let budgets: Vec<[f32; 2]> = (0..rows)
                .filter_map(|k| self.values.first(told.budget(image(k))))
                .map(|budget| [budget.remaining, budget.tolerance])
                .collect();
            totals.write(0, &budgets)?;
        }
        shown.rows = rows as u64;
        shown.all = all && matches!(told, Cow::Borrowed(_));
        Ok(())
    }

    /// The launches that draw the images number `first .. first + images` into `slots` and compact them into `rows`,
    /// both with room for as many; what the images are told is in `shown`. Launches of one drawing may not run at the same
    /// time.
    ///
    /// # Panics
    /// Without images; where `slots` or `rows` have less room; where the pixels of all images do not fit into 32 bits;
    /// where nothing was [shown](Self::show) to images with conditions.
    pub fn launches(
        &self,
        first: u64,
        images: usize,
        shown: &Shown,
        slots: &Slots,
        rows: &Rows,
    ) -> Vec<Launch> {
        let numbers = images * self.pixels;
        assert!(slots.counts.len() >= images && rows.starts.len() > images);
        assert!(slots.pixel.len() >= numbers && slots.value.len() >= numbers);
        assert!(rows.pixels.len() >= numbers && rows.values.len() >= numbers);
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
            conditions: shown.conditions.address(),
            totals: (shown.totals.as_ref()).map_or(Address::NULL, Memory::address),
            condition_rows: shown.rows,
            history: self.history.address(),
            queue: self.queue.address(),
            slot_pixel: slots.pixel.address(),
            slot_value: slots.value.address(),
            counts: slots.counts.address(),
            seed: self.seed,
            first,
            images,
        };
        let compact = Compact {
            slot_pixel: slots.pixel.address(),
            slot_value: slots.value.address(),
            counts: slots.counts.address(),
            images,
            pixels: self.pixels,
            starts: rows.starts.address(),
            out_pixel: rows.pixels.address(),
            out_value: rows.values.address(),
        };
        let mut launches = vec![sample.launch(&self.plan)];
        launches.extend(compact.launches());
        launches
    }
}
