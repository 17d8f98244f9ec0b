//! What a block of threads takes on of a drawing, and where it keeps it.

use bytemuck::{Pod, Zeroable};

use super::super::MOST_STAGES;
use crate::families::sarm::StageShape;

/// Layers of a stage, the input layer included: a drawing warp keeps them in registers.
pub const MOST_LAYERS: usize = 8;
/// Rows and columns of a fragment: the most units that a pixel may have in a layer.
pub const FRAGMENT: usize = 16;
/// Warps of a block that work ahead.
pub(in super::super) const WORKERS: usize = 8;
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
pub(super) struct Layout {
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
    pub(super) kernel: &'static str,
    /// Warps that draw, 8 images each: 1 to 4.
    pub(super) warps: usize,
    /// Whether the history is in shared memory.
    pub(super) shared_history: bool,
    pub(super) value_tiles: usize,
    pub(super) level_groups: usize,
    pub(super) layout: Layout,
    pub(super) shared: u32,
    pub(super) blocks: u32,
}

impl SamplePlan {
    /// For a model of `stages` on a card with `multiprocessors`: as many images a block as its `shared` bytes of
    /// shared memory hold; where that is not even 8, their history lies in global memory.
    ///
    /// Depends on the model and on the kind of card alone, so that an image's bits do.
    ///
    /// # Errors
    /// [`Unfit`]: more stages, layers or units per pixel than the kernels take, or more shared memory than `shared` even
    /// so.
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

#[cfg(test)]
mod tests {
    use super::*;

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
                left: 0,
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
