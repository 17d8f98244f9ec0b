//! Shapes of the tiles that matrix products are cut into, and how long they take.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A square tile of results that one block computes; `kernels/common/tile.cuh` has the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tile {
    /// 32 x 32, 64 terms a step, which four warps share out: many blocks, short sums.
    Small,
    /// 64 x 64, 64 terms a step.
    Medium,
    /// 128 x 128, 32 terms a step: fewest bytes for an operation.
    Large,
}

/// Shape of a tile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Shape {
    pub rows: u32,
    pub columns: u32,
    /// Terms of the sums in a step.
    pub depth: u32,
    /// Steps that are in shared memory at a time.
    pub stages: u32,
    /// Warps that share out the terms.
    pub slices: u32,
    /// Cycles of a step of one tile alone, about.
    pub step: f64,
}

impl Tile {
    /// All of them.
    pub const ALL: [Tile; 3] = [Tile::Small, Tile::Medium, Tile::Large];

    /// Side of the largest.
    pub(crate) const LARGEST: u32 = 128;

    /// Threads in a block, of whatever shape.
    pub(crate) const THREADS: u32 = 128;

    pub(crate) const fn shape(self) -> Shape {
        let (side, depth, stages, slices, step) = match self {
            Tile::Small => (32, 64, 4, 4, 250.0),
            Tile::Medium => (64, 64, 3, 2, 400.0),
            Tile::Large => (128, 32, 4, 1, 500.0),
        };
        Shape {
            rows: side,
            columns: side,
            depth,
            stages,
            slices,
            step,
        }
    }

    /// Rows and columns of results.
    pub const fn side(self) -> u32 {
        self.shape().rows
    }

    /// Terms of the sums in a step.
    pub const fn depth(self) -> u32 {
        self.shape().depth
    }

    /// Dynamic shared memory of a block, bytes.
    pub(crate) const fn shared(self) -> u32 {
        self.shape().shared()
    }
}

impl Shape {
    /// Dynamic shared memory of a block, bytes: the larger of the operands' stages and the sums, which lie in one
    /// place one after the other, and the column sums.
    pub const fn shared(&self) -> u32 {
        let operands = self.stages * (self.rows + self.columns) * self.depth * 2;
        let sums = self.slices * self.rows * (self.columns + 8) * 4 + self.slices * self.rows * 4;
        if operands > sums { operands } else { sums }
    }

    /// Cycles of a multiprocessor that a tile with `terms` terms keeps busy, and that it takes from start to end;
    /// `epilogue_bytes` go to and from memory for each of its results.
    ///
    /// Estimates for an H100 (docs/kernels.md, "Which tile"); only their proportions matter, for the choice.
    fn cycles(&self, terms: u32, epilogue_bytes: f64) -> (f64, f64) {
        /// A multiprocessor's share of the second-level cache's bandwidth and of the memory's, bytes a cycle.
        const L2: f64 = 28.0;
        const MEMORY: f64 = 14.0;
        /// What one multiprocessor alone can draw from memory.
        const MEMORY_ALONE: f64 = 40.0;
        /// First copies, and what comes before and after the steps.
        const START: f64 = 1500.0;
        let (rows, columns) = (f64::from(self.rows), f64::from(self.columns));
        let steps = f64::from(terms.div_ceil(self.depth));
        // Two operands of two bytes.
        let copied = steps * f64::from(self.depth) * (rows + columns) * 2.0;
        let bytes = epilogue_bytes * rows * columns;
        (
            copied / L2 + bytes / MEMORY + START / 5.0,
            START + steps * self.step + bytes / MEMORY_ALONE,
        )
    }
}

/// Tiles that are alike: how many, and the terms of their sums.
pub(crate) type Alike = (u64, u32);

/// Estimated cycles for `tiles`, the longest first, on a card's multiprocessors.
pub(crate) fn estimate(
    multiprocessors: u32,
    shape: Shape,
    tiles: &[Alike],
    epilogue_bytes: f64,
) -> f64 {
    let multiprocessors = u64::from(multiprocessors.max(1));
    let mut sorted = tiles.to_vec();
    sorted.sort_by_key(|(_, terms)| Reverse(*terms));
    let mut longest = 0.0f64;
    // Whole rounds keep every multiprocessor busy alike; what is left goes to whichever is free first.
    let mut rounds = 0u64;
    let mut loads: BinaryHeap<Reverse<u64>> =
        (0..multiprocessors.min(4096)).map(|_| Reverse(0)).collect();
    for (count, terms) in sorted {
        let (busy, alone) = shape.cycles(terms, epilogue_bytes);
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
