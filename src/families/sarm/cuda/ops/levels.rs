//! `levels_likelihood`, `levels_update`: D+D's cost with its gradient, and the step of the shared map;
//! `kernels/sarm/levels.cu`.
//!
//! A block takes tiles of cells in turn and keeps one sum of the map's gradient. How many blocks there
//! are depends on the shapes and the card alone, so on one card every run adds in the same order.

use bytemuck::{Pod, Zeroable};

use super::MOST_STAGES;
use super::cells::{Batch, CELLS, Cells, SHARED, StageCells, StageOutput, parts, tiles};
use crate::device::cuda::device::{Address, Launch, Properties};
use crate::likelihood::Grid;

/// ln of the width in GeV of every level's cell, as the kernel reads it.
pub fn log_widths(grid: &Grid) -> Vec<f32> {
    (0..grid.len()).map(|k| grid.log_width(k) as f32).collect()
}

/// How a model's D+D likelihood is laid out on a card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LevelsPlan {
    /// Numbers of a pixel that the map turns into logits (U).
    latents: usize,
    /// Positive levels (N).
    levels: usize,
    /// A level's row of map and bias in shared memory, and of the gradient's sums.
    row: usize,
    /// Levels that a block holds at a time.
    tile: usize,
    /// Positive pixels that a block treats together.
    entries: usize,
    /// Whether a block's gradient sums stand in shared memory until its end.
    shared_sums: bool,
    /// Blocks of each stage.
    blocks: Vec<u32>,
}

/// Blocks that a multiprocessor has registers for.
const RESIDENT: u32 = 2;
/// The most that the blocks' gradient sums may take of the card's memory, bytes a stage.
const MOST_SUMS: usize = 256 << 20;

impl LevelsPlan {
    /// For batches of up to `images` images of stages with `pixels`, on a card with `properties`.
    pub fn new(
        latents: usize,
        levels: usize,
        pixels: &[usize],
        images: usize,
        properties: &Properties,
    ) -> Self {
        // Four times an odd number: rows of successive levels start in different banks.
        let row = 4 * ((latents + 1).div_ceil(4) | 1);
        let mut plan = Self {
            latents,
            levels,
            row,
            tile: levels.next_multiple_of(8),
            entries: 32,
            shared_sums: true,
            blocks: Vec::new(),
        };
        // Few entries at a time where their latents alone would fill the memory.
        while plan.entries > 4 && 2 * plan.entries * row * 4 > 32 << 10 {
            plan.entries /= 2;
        }
        let budget = properties.shared_per_block;
        if plan.shared() > budget {
            plan.shared_sums = false;
        }
        while plan.shared() > budget && plan.tile > 8 {
            plan.tile = (plan.tile / 2).next_multiple_of(8);
        }
        let resident =
            (properties.shared_per_multiprocessor / (plan.shared() + 1024)).clamp(1, RESIDENT);
        let most = (MOST_SUMS / plan.sums_of_a_block().max(1) / 4).max(1) as u32;
        let wanted: Vec<u32> = pixels.iter().map(|n| tiles(*n, images)).collect();
        let all: u64 = wanted.iter().map(|t| u64::from(*t)).sum();
        let room = u64::from(properties.multiprocessors * resident);
        plan.blocks = wanted
            .iter()
            .map(|t| {
                let share = (u64::from(*t) * room).div_ceil(all.max(1)) as u32;
                share.min(*t).min(most).max(1)
            })
            .collect();
        plan
    }

    fn sums_of_a_block(&self) -> usize {
        self.levels * self.row
    }

    /// Shared memory of a block, bytes, in the order of `kernels/sarm/levels.cu`.
    fn shared(&self) -> u32 {
        let map = self.tile * self.row;
        let sums = if self.shared_sums { map } else { 0 };
        let entries = self.entries * (self.tile + 2 * self.row + 4);
        SHARED + 4 * (map + sums + entries) as u32
    }

    /// Numbers (f32) that stage `stage` needs for the sums of its map's gradient.
    pub fn sums(&self, stage: usize) -> usize {
        self.blocks[stage] as usize * self.sums_of_a_block()
    }
}

/// One stage of [`LevelsLikelihood`].
#[derive(Debug, Clone, Copy)]
pub struct LevelsStage {
    /// What the network gave.
    pub output: StageOutput,
    /// f32 `[levels, map_pitch]`
    pub map: Address,
    /// f32 `[levels]`
    pub bias: Address,
    /// Out: f32, [`LevelsPlan::sums`] of them. NULL where no derivatives are wanted.
    pub sums: Address,
}

/// The cost of a batch under D+D, all stages of a model.
#[derive(Debug, Clone, Copy)]
pub struct LevelsLikelihood<'a> {
    /// Made for at least this batch.
    pub plan: &'a LevelsPlan,
    /// f32 `[levels]`, from [`log_widths`].
    pub log_widths: Address,
    /// Numbers from one row of the map to the next.
    pub map_pitch: usize,
    /// The batch: targets in, costs out.
    pub batch: Batch,
    /// All stages of the plan.
    pub stages: &'a [LevelsStage],
}

/// `LevelsStage` of `kernels/sarm/levels.cu`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct StageParams {
    cells: StageCells,
    map: Address,
    bias: Address,
    sums: Address,
    blocks: u32,
    tiles: u32,
}

/// `LevelsParams` of `kernels/sarm/levels.cu`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Params {
    cells: Cells,
    log_widths: Address,
    latents: u32,
    levels: u32,
    row: u32,
    map_pitch: u32,
    tile: u32,
    entries: u32,
    shared_sums: u32,
    stage_count: u32,
    stages: [StageParams; MOST_STAGES],
}

impl LevelsLikelihood<'_> {
    /// The launches, one for a model of up to 16 stages.
    ///
    /// # Panics
    /// On sizes and addresses that the kernel does not take.
    pub fn launches(&self) -> Vec<Launch> {
        let plan = self.plan;
        let numbers = 1 + plan.latents;
        assert_eq!(self.stages.len(), plan.blocks.len());
        assert!(self.map_pitch >= plan.latents);
        let mut first_part = 0;
        let mut launches = Vec::new();
        for (group, plan_blocks) in self
            .stages
            .chunks(MOST_STAGES)
            .zip(plan.blocks.chunks(MOST_STAGES))
        {
            let mut parameter = Params {
                cells: Cells::new(&self.batch, numbers),
                log_widths: self.log_widths,
                latents: plan.latents as u32,
                levels: plan.levels as u32,
                row: plan.row as u32,
                map_pitch: self.map_pitch as u32,
                tile: plan.tile as u32,
                entries: plan.entries as u32,
                shared_sums: u32::from(plan.shared_sums),
                stage_count: group.len() as u32,
                stages: Zeroable::zeroed(),
            };
            let mut blocks = 0;
            for ((to, stage), share) in parameter.stages.iter_mut().zip(group).zip(plan_blocks) {
                let wanted = stage.output.delta != Address::NULL;
                assert_eq!(wanted, stage.sums != Address::NULL);
                assert!(stage.sums.0.is_multiple_of(16));
                *to = StageParams {
                    cells: StageCells::new(&stage.output, &self.batch, numbers, first_part, blocks),
                    map: stage.map,
                    bias: stage.bias,
                    sums: stage.sums,
                    blocks: *share,
                    tiles: tiles(stage.output.pixels, self.batch.images),
                };
                first_part += parts(stage.output.pixels);
                blocks += share;
            }
            launches.push(
                Launch::new("levels_likelihood", blocks, CELLS as u32, &parameter)
                    .with_shared(plan.shared()),
            );
        }
        launches
    }
}

/// A tensor and Adam's moments of it, f32.
#[derive(Debug, Clone, Copy)]
pub struct Moments {
    /// The parameters.
    pub value: Address,
    /// First moments.
    pub first: Address,
    /// Second moments.
    pub second: Address,
}

/// What becomes of the gradient of a stage's shared map.
#[derive(Debug, Clone, Copy)]
pub enum MapUpdate {
    /// One step of Adam.
    Adam {
        /// `[levels, map_pitch]`
        map: Moments,
        /// `[levels]`
        bias: Moments,
    },
    /// Stored: f32 `[levels, map_pitch]` and `[levels]`.
    Store {
        /// Of the map.
        map: Address,
        /// Of its bias.
        bias: Address,
    },
}

/// The end of a step for the shared maps: the blocks' sums added up in order, and used.
#[derive(Debug, Clone, Copy)]
pub struct LevelsUpdate<'a> {
    /// The plan of the likelihood.
    pub plan: &'a LevelsPlan,
    /// Numbers from one row of the map to the next.
    pub map_pitch: usize,
    /// Of each stage: the sums, and what becomes of them.
    pub stages: &'a [(Address, MapUpdate)],
    /// f32 `[steps, 3]`: step size, scale of the second moments and what decaying weights keep, as Adam's rule gives them;
    /// the map and its bias do not decay.
    pub rates: Address,
    /// u32: which step it is. NULL: the first.
    pub cursor: Address,
}

/// `UpdateStage` of `kernels/sarm/levels.cu`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct UpdateStage {
    sums: Address,
    map: [Address; 3],
    bias: [Address; 3],
    blocks: u32,
    store: u32,
}

/// `UpdateParams` of `kernels/sarm/levels.cu`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct UpdateParams {
    rates: Address,
    cursor: Address,
    latents: u32,
    levels: u32,
    row: u32,
    map_pitch: u32,
    blocks_per_stage: u32,
    unused: u32,
    stages: [UpdateStage; MOST_STAGES],
}

/// Numbers of the map that a block of the update adds up.
const UPDATED: usize = 32;

impl LevelsUpdate<'_> {
    /// The launches, one for a model of up to 16 stages.
    ///
    /// # Panics
    /// On sizes that the kernel does not take.
    pub fn launches(&self) -> Vec<Launch> {
        let plan = self.plan;
        assert_eq!(self.stages.len(), plan.blocks.len());
        assert!(self.map_pitch >= plan.latents);
        let blocks_per_stage = plan.sums_of_a_block().div_ceil(UPDATED);
        let groups = self.stages.chunks(MOST_STAGES);
        groups
            .zip(plan.blocks.chunks(MOST_STAGES))
            .map(|(group, blocks)| {
                let mut parameter = UpdateParams {
                    rates: self.rates,
                    cursor: self.cursor,
                    latents: plan.latents as u32,
                    levels: plan.levels as u32,
                    row: plan.row as u32,
                    map_pitch: self.map_pitch as u32,
                    blocks_per_stage: blocks_per_stage as u32,
                    unused: 0,
                    stages: Zeroable::zeroed(),
                };
                for ((to, (sums, update)), blocks) in
                    parameter.stages.iter_mut().zip(group).zip(blocks)
                {
                    let all = |m: &Moments| [m.value, m.first, m.second];
                    let only = |a: &Address| [*a, Address::NULL, Address::NULL];
                    let (map, bias, store) = match update {
                        MapUpdate::Adam { map, bias } => (all(map), all(bias), 0),
                        MapUpdate::Store { map, bias } => (only(map), only(bias), 1),
                    };
                    assert!(store == 1 || self.rates != Address::NULL);
                    *to = UpdateStage {
                        sums: *sums,
                        map,
                        bias,
                        blocks: *blocks,
                        store,
                    };
                }
                let blocks = u32::try_from(group.len() * blocks_per_stage)
                    .expect("maps have less than 2^32 numbers");
                Launch::new("levels_update", blocks, CELLS as u32, &parameter)
                    .with_shared(4 * CELLS as u32)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_as_large_as_the_kernels_say() {
        assert_eq!(size_of::<StageParams>(), 72);
        assert_eq!(size_of::<Params>(), 72 + 72 * MOST_STAGES);
        assert_eq!(size_of::<UpdateStage>(), 64);
        assert_eq!(size_of::<UpdateParams>(), 40 + 64 * MOST_STAGES);
    }

    #[test]
    fn every_shape_fits_every_card() {
        for kib in [99, 163, 227] {
            let card = Properties {
                name: String::new(),
                uuid: None,
                capability: (8, 0),
                multiprocessors: 108,
                shared_per_block: kib << 10,
                shared_per_multiprocessor: (kib + 1) << 10,
                l2: 0,
                memory: 0,
            };
            for latents in [1, 10, 33, 100, 1024] {
                for levels in [1, 2, 300, 1000, 65536] {
                    let plan = LevelsPlan::new(latents, levels, &[9, 616], 8192, &card);
                    assert!(plan.shared() <= card.shared_per_block, "{plan:?}");
                    assert!(plan.tile.is_multiple_of(8) && plan.row > latents);
                    assert!(!plan.shared_sums || plan.tile >= levels);
                    assert!(plan.sums(0) >= levels * (latents + 1));
                }
            }
        }
    }
}
