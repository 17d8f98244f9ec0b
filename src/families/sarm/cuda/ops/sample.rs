//! `sample_8` to `sample_32`: all steps of the autoregressive model in one launch; `kernels/sarm/sample.cu`.

use bytemuck::{Pod, Zeroable};

use crate::device::cuda::device::{Address, Launch};
use crate::families::sarm::StageShape;
use crate::families::sarm::config::{Channel, MOST_CHANNELS, Transform};
use crate::families::sarm::likelihood::Mixture;

/// Stages that a launch can draw.
pub const MOST_STAGES: usize = 16;
/// Layers of a stage, the input layer included: a drawing warp keeps them in registers.
pub const MOST_LAYERS: usize = 8;
/// Rows and columns of a fragment: the most units that a pixel may have in a layer.
pub const FRAGMENT: usize = 16;
/// Warps of a block that work ahead.
const WORKERS: usize = 8;
/// Images of a drawing warp.
const WARP_IMAGES: usize = 8;
/// Levels that a warp's vectors of four hold.
pub const LEVEL_GROUP: usize = 128;

/// By warps that draw, the history in shared memory.
const KERNELS: [&str; 4] = ["sample_8", "sample_16", "sample_24", "sample_32"];
/// The history in global memory, with the warps that draw: for large networks, and for those with very many numbers
/// per pixel besides.
const GLOBAL: [(&str, usize); 2] = [("sample_32_global", 4), ("sample_8_global", 1)];

/// How a stage is cut for drawing: blocks of pixels with at most [`FRAGMENT`] units a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocks {
    /// Sizes of the network.
    pub shape: StageShape,
}

impl Blocks {
    /// Layers, the input layer included.
    pub fn layers(&self) -> usize {
        1 + self.shape.layers
    }

    /// Pixels of a block; the last may have fewer.
    pub fn pixels(&self) -> usize {
        (FRAGMENT / self.shape.units_per_pixel.max(1)).max(1)
    }

    /// Blocks of the stage.
    pub fn count(&self) -> usize {
        self.shape.pixels.div_ceil(self.pixels())
    }

    /// Pixels of block `block`.
    pub fn pixels_of(&self, block: usize) -> std::ops::Range<usize> {
        let first = block * self.pixels();
        first..(first + self.pixels()).min(self.shape.pixels)
    }

    /// Steps of [`FRAGMENT`] columns that conditions and earlier pixels take.
    pub fn context_steps(&self) -> usize {
        self.shape.context().div_ceil(FRAGMENT)
    }

    /// Words of what one pixel pushes inside its block: its channels, then its units layer by layer, to 2 x 8 rows each.
    pub fn push_words(&self) -> usize {
        8 * (self.shape.channels + self.layers() * self.shape.units_per_pixel)
    }

    /// Columns of an image's history: own inputs, a block's channels one after another, then the units of each layer.
    fn columns(&self) -> usize {
        (self.shape.channels + self.layers()) * FRAGMENT * self.count()
    }
}

/// Why a model cannot be drawn by these kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// More stages than [`MOST_STAGES`].
    Stages(usize),
    /// More layers than [`MOST_LAYERS`], the input layer included.
    Layers(usize),
    /// More units per pixel than [`FRAGMENT`].
    Units(usize),
    /// Bytes of shared memory that a block needs besides its images' history, and those that it may have.
    Shared {
        /// Needed.
        needed: u64,
        /// There.
        available: u64,
    },
}

/// `TileLayout` of `kernels/sarm/sample_network.cuh`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
struct Layout {
    pitch: u32,
    context_columns: u32,
    rows: u32,
    values: u32,
    pushes: u32,
    push_words: u32,
    random: u32,
    control: u32,
}

/// How a model is drawn on a card: what a block of threads takes on, and where it keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SamplePlan {
    kernel: &'static str,
    /// Warps that draw, 8 images each: 1 to 4.
    warps: usize,
    /// Whether the history is in shared memory.
    shared_history: bool,
    value_tiles: usize,
    level_groups: usize,
    layout: Layout,
    shared: u32,
    blocks: u32,
}

impl SamplePlan {
    /// For a model of `stages` on a card with `multiprocessors`: as many images a block as its `shared` bytes of
    /// shared memory hold; where that is not even 8, their history lies in global memory.
    ///
    /// Depends on the model and on the kind of card alone, so that an image's bits do.
    pub fn new(stages: &[Blocks], shared: u32, multiprocessors: u32) -> Result<Self, Unfit> {
        if stages.len() > MOST_STAGES {
            return Err(Unfit::Stages(stages.len()));
        }
        let most = |f: &dyn Fn(&Blocks) -> usize| stages.iter().map(f).max().unwrap_or(0);
        let layers = most(&|s| s.layers());
        if layers > MOST_LAYERS {
            return Err(Unfit::Layers(layers));
        }
        let units = most(&|s| s.shape.units_per_pixel);
        if units > FRAGMENT {
            return Err(Unfit::Units(units));
        }
        let value_tiles = most(&|s| s.shape.values).div_ceil(FRAGMENT);
        let level_groups = most(&|s| s.shape.levels).div_ceil(LEVEL_GROUP);
        let context_columns = FRAGMENT * most(&|s| s.context_steps());
        // An odd multiple of 16 bytes: the rows that a fragment takes lie in different banks.
        let pitch = context_columns + most(&|s| s.columns()) + 8;
        let push_words = most(&|s| s.push_words() * s.pixels());
        let fit = |kernel, warps: usize, shared_history: bool| {
            let mut end = 0u64;
            let mut take = |bytes: usize| {
                let start = end;
                end += bytes as u64;
                // Where it does not fit it is not used.
                start as u32
            };
            let fragments = warps * 32 * size_of::<[f32; 4]>();
            let images = warps * WARP_IMAGES;
            take(if shared_history {
                2 * images * pitch
            } else {
                0
            });
            let layout = Layout {
                pitch: pitch as u32,
                context_columns: context_columns as u32,
                rows: take((layers + 1) * fragments),
                values: take(2 * value_tiles * fragments),
                pushes: take(4 * 2 * push_words),
                push_words: push_words as u32,
                random: take(4 * 2 * 3 * images),
                control: take(32),
            };
            (end <= u64::from(shared))
                .then_some(Self {
                    kernel,
                    warps,
                    shared_history,
                    value_tiles,
                    level_groups,
                    layout,
                    shared: end as u32,
                    blocks: multiprocessors,
                })
                .ok_or(Unfit::Shared {
                    needed: end,
                    available: shared.into(),
                })
        };
        let held = KERNELS.iter().enumerate().rev();
        let [large, many] = GLOBAL.map(|(kernel, warps)| fit(kernel, warps, false));
        held.map(|(kernel, name)| fit(*name, kernel + 1, true))
            .chain([large])
            .find(Result::is_ok)
            .unwrap_or(many)
    }

    /// Numbers of the history in global memory, of a launch of the whole card.
    pub fn history(&self) -> usize {
        match self.shared_history {
            true => 0,
            false => self.wave() * self.layout.pitch as usize,
        }
    }

    /// Images that a block draws at a time.
    pub fn tile(&self) -> usize {
        self.warps * WARP_IMAGES
    }

    /// Images that the whole card draws at a time.
    pub fn wave(&self) -> usize {
        self.tile() * self.blocks as usize
    }
}

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
    input_kind: [u32; MOST_CHANNELS],
    inverse_input_unit: [f32; MOST_CHANNELS],
    input_scale: [f32; MOST_CHANNELS],
    layout: Layout,
    stages: [Stage; MOST_STAGES],
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
        let (components, unit, upper, grid) = match self.values {
            ValueKind::Mixture(m) => {
                assert!(m.components >= 1 && numbers == 3 * m.components);
                let upper = m.support.upper as f32 / m.support.unit as f32;
                (m.components, m.support.unit as f32, upper, Address::NULL)
            }
            ValueKind::Levels(grid) => (0, 1.0, 0.0, grid),
        };
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
            unit,
            upper,
            input_kind: [0; MOST_CHANNELS],
            inverse_input_unit: [0.0; MOST_CHANNELS],
            input_scale: [0.0; MOST_CHANNELS],
            layout: plan.layout,
            stages: Zeroable::zeroed(),
        };
        for (i, channel) in self.channels.iter().enumerate() {
            parameter.input_kind[i] = match channel.transform {
                Transform::Raw => 0,
                Transform::Log1p => 1,
                Transform::Sqrt => 2,
            };
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
        assert_eq!(size_of::<Stage>(), 88);
        assert_eq!(size_of::<Params>(), 216 + 88 * MOST_STAGES);
    }

    fn stage(pixels: usize, units_per_pixel: usize, layers: usize, earlier: usize) -> Blocks {
        Blocks {
            shape: StageShape {
                earlier,
                pixels,
                units_per_pixel,
                layers,
                conditions: 0,
                channels: 1,
                values: 15,
                levels: 0,
            },
        }
    }

    #[test]
    fn jets_and_muons_fit_as_docs_say() {
        let jets = [stage(9, 5, 5, 0), stage(616, 1, 5, 9)];
        let muons = [stage(49, 5, 3, 0), stage(975, 1, 3, 49)];
        for (stages, shared, tile) in [
            (jets, 227, 24),
            (muons, 227, 16),
            (jets, 163, 16),
            (jets, 99, 8),
        ] {
            let plan = SamplePlan::new(&stages, shared * 1024, 132).unwrap();
            assert_eq!(plan.tile(), tile, "{plan:?}");
            assert_eq!(plan.layout.pitch % 16, 8);
        }
        let large = SamplePlan::new(&jets, 60 * 1024, 132).unwrap();
        assert_eq!((large.kernel, large.tile()), (GLOBAL[0].0, 32));
        assert!(large.history() > 0);
        let small = SamplePlan::new(&jets, 16 * 1024, 132).unwrap();
        assert_eq!((small.kernel, small.tile()), (GLOBAL[1].0, 8));
        assert!(matches!(
            SamplePlan::new(&jets, 8 * 1024, 132),
            Err(Unfit::Shared { .. })
        ));
        assert_eq!(
            SamplePlan::new(&[stage(9, 17, 5, 0)], 227 * 1024, 132),
            Err(Unfit::Units(17))
        );
        assert_eq!(
            SamplePlan::new(&[stage(9, 1, 8, 0)], 227 * 1024, 132),
            Err(Unfit::Layers(9))
        );
    }
}
