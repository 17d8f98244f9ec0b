//! Which tile shape to take, and into how many slices to cut long sums.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::device::cuda::device::Properties;

/// Shape of the tile of results that one block computes; `kernels/sarm/masked_linear_tile.cuh` has the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tile {
    /// 32 x 32, 64 terms a step, which four warps share out: many blocks, short sums.
    Small,
    /// 64 x 64, 64 terms a step.
    Medium,
    /// 128 x 128, 32 terms a step: fewest bytes for an operation.
    Large,
}

/// How to cut an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tiling {
    /// The tile.
    pub tile: Tile,
    /// Slices of the sums, computed by different blocks and added up by a second kernel; 1 but for backward to the input.
    pub slices: u32,
}

impl Tile {
    /// All shapes.
    pub const ALL: [Tile; 3] = [Tile::Small, Tile::Medium, Tile::Large];

    /// Side of the largest.
    pub(super) const LARGEST: u32 = 128;

    /// Threads in a block.
    pub(in super::super) const THREADS: u32 = 128;

    /// Rows and columns of results.
    pub const fn side(self) -> u32 {
        match self {
            Tile::Small => 32,
            Tile::Medium => 64,
            Tile::Large => 128,
        }
    }

    /// Terms of the sums in a step.
    pub const fn depth(self) -> u32 {
        match self {
            Tile::Small | Tile::Medium => 64,
            Tile::Large => 32,
        }
    }

    /// Dynamic shared memory of a block, bytes: the larger of the operands' stages and the sums, which lie in one
    /// place one after the other, and the column sums.
    pub(in super::super) const fn shared(self) -> u32 {
        let (stages, slices) = match self {
            Tile::Small => (4, 4),
            Tile::Medium => (3, 2),
            Tile::Large => (4, 1),
        };
        let operands = stages * 2 * self.side() * self.depth() * 2;
        let sums = slices * self.side() * (self.side() + 8) * 4 + slices * self.side() * 4;
        if operands > sums { operands } else { sums }
    }

    /// Cycles of a multiprocessor that a tile with `terms` terms keeps busy, and that it takes from start to end;
    /// `epilogue_bytes` go to and from memory for each of its results.
    ///
    /// Estimates for an H100 (docs/kernels.md, "Which tile"); only their proportions matter, for the choice.
    fn cycles(self, terms: u32, epilogue_bytes: f64) -> (f64, f64) {
        /// A multiprocessor's share of the second-level cache's bandwidth and of the memory's, bytes a cycle.
        const L2: f64 = 28.0;
        const MEMORY: f64 = 14.0;
        /// What one multiprocessor alone can draw from memory.
        const MEMORY_ALONE: f64 = 40.0;
        /// First copies, and what comes before and after the steps.
        const START: f64 = 1500.0;
        let step = match self {
            Tile::Small => 250.0,
            Tile::Medium => 400.0,
            Tile::Large => 500.0,
        };
        let side = f64::from(self.side());
        let steps = f64::from(terms.div_ceil(self.depth()));
        // Two operands of two bytes.
        let copied = steps * f64::from(self.depth()) * side * 4.0;
        let bytes = epilogue_bytes * side * side;
        (
            copied / L2 + bytes / MEMORY + START / 5.0,
            START + steps * step + bytes / MEMORY_ALONE,
        )
    }
}

/// Tiles that are alike: how many, and the terms of their sums.
pub(super) type Alike = (u64, u32);

/// Estimated cycles for `tiles`, the longest first, on a card's multiprocessors.
pub(super) fn estimate(
    properties: &Properties,
    tile: Tile,
    tiles: &[Alike],
    epilogue_bytes: f64,
) -> f64 {
    let multiprocessors = u64::from(properties.multiprocessors.max(1));
    let mut sorted = tiles.to_vec();
    sorted.sort_by_key(|(_, terms)| Reverse(*terms));
    let mut longest = 0.0f64;
    // Whole rounds keep every multiprocessor busy alike; what is left goes to whichever is free first.
    let mut rounds = 0u64;
    let mut loads: BinaryHeap<Reverse<u64>> =
        (0..multiprocessors.min(4096)).map(|_| Reverse(0)).collect();
    for (count, terms) in sorted {
        let (busy, alone) = tile.cycles(terms, epilogue_bytes);
        longest = longest.max(alone);
        let busy = busy as u64;
        rounds += count / multiprocessors * busy;
        for _ in 0..count % multiprocessors {
            if let Some(Reverse(load)) = loads.pop() {
                loads.push(Reverse(load + busy));
            }
        }
    }
    let most = loads.iter().map(|Reverse(load)| *load).max().unwrap_or(0);
    longest.max((rounds + most) as f64)
}
