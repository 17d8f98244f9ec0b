//! `sample_8` to `sample_32`: all steps of the autoregressive model in one launch; `kernels/sarm/sample.cu`.

mod plan;

pub use plan::{Blocks, FRAGMENT, LEVEL_GROUP, MOST_LAYERS, SamplePlan, Unfit};

use bytemuck::{Pod, Zeroable};

use super::MOST_STAGES;
use crate::device::cuda::device::{Address, Launch};
use crate::families::sarm::Left;
use crate::families::sarm::config::{Channel, MOST_CHANNELS, Transform};
use crate::likelihood::{Mixture, MixtureRange};
use plan::Layout;
pub(super) use plan::WORKERS;

/// A stage's network on the device, packed as [`packed`](crate::families::sarm::cuda::packed) says.
#[derive(Debug, Clone, Copy)]
pub struct StageWeights {
    /// How it is cut.
    pub blocks: Blocks,
    /// Fragments of each block's input rows, further layers and gates.
    pub rows: Address,
    /// Fragments of each pixel's numbers.
    pub values: Address,
    /// u32: what each pixel pushes, [`Blocks::push_words`] words.
    pub pushes: Address,
    /// f32 `[blocks, layers + 1, 16]`.
    pub row_bias: Address,
    /// f32 `[pixels, 16 value tiles]`.
    pub value_bias: Address,
    /// D+D: f32 `[latents + 1, groups, 32, 4]`, the bias first. NULL: D+C.
    pub map: Address,
    /// f32 `[pixels, 1 + values, functions]`: weights of what is left of a total. NULL: pixels are not shown it.
    pub left: Address,
}

/// How values are drawn.
#[derive(Debug, Clone, Copy)]
pub enum ValueKind {
    /// D+C.
    Mixture(Mixture),
    /// D+D: f32 `[levels]`, GeV.
    Levels(Address),
}

/// The images number `first .. first + images` of a seed.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    /// Stages in drawing order.
    pub stages: &'a [StageWeights],
    /// How they are drawn.
    pub values: ValueKind,
    /// Functions of what is left of a total, where pixels are shown it.
    pub left: Option<Left>,
    /// What the network is shown of a pixel.
    pub channels: &'a [Channel],
    /// u16 `[places]`: row-major pixel of each place.
    pub order: Address,
    /// f32 `[rows, width]`, standardised; image number `i` has row `i % rows`.
    pub conditions: Address,
    /// f32 `[rows, 2]`: GeV left at the start of an image and at its end. NULL where no total is known.
    pub totals: Address,
    /// Rows of conditions, at least 1 where there are conditions.
    pub condition_rows: u64,
    /// bf16 `[`[`SamplePlan::history`]`]`, where it is not in shared memory.
    pub history: Address,
    /// u32, 0.
    pub queue: Address,
    /// Out: u16 `[images, places]`: row-major nonzero pixels of each image in drawing order.
    pub slot_pixel: Address,
    /// Out: f32, likewise: GeV.
    pub slot_value: Address,
    /// Out: u32 `[images]`: how many.
    pub counts: Address,
    /// Key of the random numbers.
    pub seed: u64,
    /// Number of the first image.
    pub first: u64,
    /// Images.
    pub images: usize,
}

/// `SampleStage` of `kernels/sarm/sample_network.cuh`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Stage {
    rows: Address,
    values: Address,
    pushes: Address,
    row_bias: Address,
    value_bias: Address,
    map: Address,
    left: Address,
    pixels: u32,
    units: u32,
    layers: u32,
    block: u32,
    blocks: u32,
    context_steps: u32,
    first_place: u32,
    inverse_block: u32,
    channels: u32,
    padding: u32,
}

/// `SampleParams` of `kernels/sarm/sample.cu`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Params {
    order: Address,
    conditions: Address,
    totals: Address,
    grid: Address,
    history: Address,
    queue: Address,
    slot_pixel: Address,
    slot_value: Address,
    counts: Address,
    first_image: u64,
    condition_rows: u64,
    images: u32,
    stage_count: u32,
    conditions_each: u32,
    places: u32,
    seed: u64,
    numbers: u32,
    value_tiles: u32,
    components: u32,
    level_groups: u32,
    unit: f32,
    upper: f32,
    largest: f32,
    origin: f32,
    lower: f32,
    left_terms: u32,
    inverse_mean: f32,
    padding: u32,
    input_kind: [u32; MOST_CHANNELS],
    inverse_input_unit: [f32; MOST_CHANNELS],
    input_scale: [f32; MOST_CHANNELS],
    layout: Layout,
    stages: [Stage; MOST_STAGES],
}

/// A transform as `kernels/sarm/shown.cuh` counts them.
pub(super) fn input_kind(transform: Transform) -> u32 {
    match transform {
        Transform::Raw => 0,
        Transform::Log1p => 1,
        Transform::Sqrt => 2,
    }
}

impl Sample<'_> {
    /// The launch, as `plan` of the same stages has it.
    ///
    /// # Panics
    /// On sizes and addresses that the kernel does not take.
    pub fn launch(&self, plan: &SamplePlan) -> Launch {
        let shapes = self.stages.iter().map(|s| s.blocks.shape);
        let places: usize = shapes.clone().map(|s| s.pixels).sum();
        let conditions = shapes.clone().map(|s| s.conditions).max().unwrap_or(0);
        assert!(shapes.clone().all(|s| s.channels == self.channels.len()));
        let numbers = shapes.map(|s| s.values).max().unwrap_or(0);
        assert!((1..=MOST_STAGES).contains(&self.stages.len()) && self.images >= 1);
        assert!(u32::try_from(self.images * places).is_ok());
        assert!(conditions == 0 || self.condition_rows >= 1);
        assert!(self.totals == Address::NULL || self.condition_rows >= 1);
        assert!(self.totals.0.is_multiple_of(8));
        assert!((1..=MOST_CHANNELS).contains(&self.channels.len()));
        assert!(self.slot_pixel.0.is_multiple_of(2) && self.slot_value.0.is_multiple_of(4));
        let (components, range, grid) = match self.values {
            ValueKind::Mixture(m) => {
                assert!(m.components >= 1 && numbers == 3 * m.components);
                (m.components, m.support.range(), Address::NULL)
            }
            ValueKind::Levels(grid) => (0, MixtureRange::default(), grid),
        };
        let shown = self
            .stages
            .iter()
            .all(|s| (s.left != Address::NULL) == self.left.is_some());
        assert!(shown && (self.left.is_none() || self.totals != Address::NULL));
        let mut parameter = Params {
            order: self.order,
            conditions: self.conditions,
            totals: self.totals,
            grid,
            history: self.history,
            queue: self.queue,
            slot_pixel: self.slot_pixel,
            slot_value: self.slot_value,
            counts: self.counts,
            first_image: self.first,
            condition_rows: self.condition_rows.max(1),
            images: self.images as u32,
            stage_count: self.stages.len() as u32,
            conditions_each: conditions as u32,
            places: places as u32,
            seed: self.seed,
            numbers: numbers as u32,
            value_tiles: plan.value_tiles as u32,
            components: components as u32,
            level_groups: plan.level_groups as u32,
            unit: range.unit,
            upper: range.upper,
            largest: range.largest,
            origin: range.origin,
            lower: range.lower,
            left_terms: self.left.map_or(0, |left| left.terms as u32),
            inverse_mean: self.left.map_or(0.0, |left| left.inverse_mean()),
            padding: 0,
            input_kind: [0; MOST_CHANNELS],
            inverse_input_unit: [0.0; MOST_CHANNELS],
            input_scale: [0.0; MOST_CHANNELS],
            layout: plan.layout,
            stages: Zeroable::zeroed(),
        };
        for (i, channel) in self.channels.iter().enumerate() {
            parameter.input_kind[i] = input_kind(channel.transform);
            parameter.inverse_input_unit[i] = 1.0 / channel.unit as f32;
            parameter.input_scale[i] = channel.scale as f32;
        }
        for (to, stage) in parameter.stages.iter_mut().zip(self.stages) {
            let (blocks, shape) = (stage.blocks, stage.blocks.shape);
            let vectors = [stage.rows, stage.values, stage.pushes, stage.map];
            assert!(vectors.iter().all(|a| a.0.is_multiple_of(16)));
            assert!((components == 0) == (stage.map != Address::NULL));
            *to = Stage {
                rows: stage.rows,
                values: stage.values,
                pushes: stage.pushes,
                row_bias: stage.row_bias,
                value_bias: stage.value_bias,
                map: stage.map,
                left: stage.left,
                pixels: shape.pixels as u32,
                units: shape.units_per_pixel as u32,
                layers: blocks.layers() as u32,
                block: blocks.pixels() as u32,
                blocks: blocks.count() as u32,
                context_steps: blocks.context_steps() as u32,
                first_place: shape.earlier as u32,
                inverse_block: (1u32 << 31).div_ceil(blocks.pixels() as u32),
                channels: shape.channels as u32,
                padding: 0,
            };
        }
        let tiles = self.images.div_ceil(plan.tile()) as u32;
        let threads = 32 * (plan.warps + WORKERS) as u32;
        assert!(
            plan.shared_history
                || self.history.0.is_multiple_of(16) && self.history != Address::NULL
        );
        Launch::new(plan.kernel, tiles.min(plan.blocks), threads, &parameter)
            .with_shared(plan.shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_as_large_as_the_kernel_says() {
        assert_eq!(size_of::<Stage>(), 96);
        assert_eq!(size_of::<Params>(), 240 + 96 * MOST_STAGES);
    }
}
