//! Convolutions, transposed convolutions and dense layers, backward to the weights; `kernels/common/convolution_weights.cu`.

use bytemuck::{Pod, Zeroable};

use super::Demand;
use super::convolution::{
    ConvolutionPhase, Entry, MOST, MULTIPROCESSORS, PHASES, Sums, need, numbers,
};
use super::tile::{Shape, Tile, estimate};
use crate::device::DeviceError;
use crate::device::cuda::device::{Address, Launch};

/// Tiles that weights, output channels by places and channels, are cut into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pieces {
    /// As many of both.
    Square(Tile),
    /// 32 output channels x 128, 64 terms a step.
    Wide,
}

impl Pieces {
    /// All of them.
    pub const ALL: [Pieces; 4] = [
        Pieces::Square(Tile::Small),
        Pieces::Square(Tile::Medium),
        Pieces::Square(Tile::Large),
        Pieces::Wide,
    ];

    /// As in `kernels/common/convolution_weights.cu`.
    const fn shape(self) -> Shape {
        match self {
            Pieces::Square(tile) => tile.shape(),
            Pieces::Wide => Shape {
                rows: 32,
                columns: 128,
                depth: 64,
                stages: 3,
                slices: 1,
                step: 400.0,
            },
        }
    }
}

/// How the terms of a layer's derivatives, its outputs, are shared out, and the results cut into tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Tiles of weights.
    pub pieces: Pieces,
    /// Blocks that share out the terms of a tile.
    pub slices: u32,
}

/// The derivatives of a layer by its weights and biases.
#[derive(Debug, Clone, Copy)]
pub struct ConvolutionWeights<'a> {
    /// What the layer adds up.
    pub sums: Sums<'a>,
    /// bf16 `[images, from_size]`: what it was given.
    pub input: Address,
    /// bf16 `[images, to_size]`: derivatives by its sums.
    pub delta: Address,
    /// Out: f32 `[slices, numbers]`: weights as the phases have them, then biases of each phase.
    pub partial: Address,
}

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Params {
    input: Address,
    delta: Address,
    partial: Address,
    images: u32,
    count: u32,
    from_size: [u32; 3],
    to_size: [u32; 3],
    steps: [u32; 2],
    slices: u32,
    pitch: u32,
    biases: u32,
    row_tiles: u32,
    weights: [u32; PHASES],
    slice_terms: [u32; PHASES],
    phases: [Entry; PHASES],
}

const _: () = assert!(size_of::<Params>() == 80 + (8 + 48) * PHASES);

impl Sums<'_> {
    /// Weights of all phases.
    pub fn weights(&self) -> u64 {
        let terms: u64 = (self.phases.iter())
            .map(|phase| phase.terms(self.from_size[2]))
            .sum();
        terms * u64::from(self.to_size[2])
    }

    /// Numbers of a slice: weights, and biases of each phase.
    pub fn slice(&self) -> u64 {
        self.weights() + self.phases.len() as u64 * u64::from(self.to_size[2])
    }

    /// The share that suits the shapes on an H100 where `images` make a batch. A result's bits depend on it, so it depends on no card.
    pub fn share(&self, images: u32) -> Share {
        // A slice has terms for some steps of a tile at least, and what slices write is read again.
        const LEAST_STEPS: u64 = 4;
        const MOST_SLICES: u64 = 256;
        let terms = |q: &ConvolutionPhase| u64::from(images) * q.outputs();
        let most = self.phases.iter().map(terms).max().unwrap_or(1);
        let options = Pieces::ALL.into_iter().flat_map(|pieces| {
            let steps = most.div_ceil(pieces.shape().depth.into());
            let largest = (steps / LEAST_STEPS).clamp(1, MOST_SLICES) as u32;
            (0..=8)
                .map(|bits| 1u32 << bits)
                .filter(move |n| *n <= largest)
                .map(move |slices| Share { pieces, slices })
        });
        let cost = |share: &Share| self.cycles_of_weights(*share, images);
        let best = options.min_by(|a, b| cost(a).total_cmp(&cost(b)));
        best.unwrap_or(Share {
            pieces: Pieces::Wide,
            slices: 1,
        })
    }

    /// Cycles that derivatives by the weights take on an H100, estimated.
    pub(crate) fn cycles_of_weights(&self, share: Share, images: u32) -> f64 {
        let shape = share.pieces.shape();
        let tiles: Vec<(u64, u32)> = (self.phases.iter())
            .map(|phase| {
                let rows = u64::from(self.to_size[2].div_ceil(shape.rows));
                let columns = phase.terms(self.from_size[2]);
                let columns = columns.div_ceil(shape.columns.into());
                let terms = u64::from(images) * phase.outputs();
                let here = terms.div_ceil(share.slices.into());
                (rows * columns * u64::from(share.slices), here as u32)
            })
            .collect();
        // Written, and read again by whoever adds up.
        estimate(MULTIPROCESSORS, shape, &tiles, 8.0)
    }
}

impl ConvolutionWeights<'_> {
    /// The launch for `images` images, at least one.
    ///
    /// # Errors
    /// [`DeviceError::Unsupported`] for a shape or alignment that the kernels do not take.
    pub fn launch(&self, share: Share, images: u32) -> Result<Launch, DeviceError> {
        let sums = &self.sums;
        sums.check(images)?;
        for address in [self.input, self.delta, self.partial] {
            need(address.0.is_multiple_of(16), "the address", address.0)?;
        }
        need(share.slices >= 1, "slices", share.slices)?;
        need(
            sums.slice() < MOST,
            "numbers of a layer's derivatives",
            sums.slice(),
        )?;
        let shape = share.pieces.shape();
        let row_tiles = u64::from(sums.to_size[2].div_ceil(shape.rows));
        let mut parameter = Params {
            input: self.input,
            delta: self.delta,
            partial: self.partial,
            images,
            count: sums.phases.len() as u32,
            from_size: sums.from_size,
            to_size: sums.to_size,
            steps: sums.steps,
            slices: share.slices,
            pitch: sums.slice() as u32,
            biases: sums.weights() as u32,
            row_tiles: row_tiles as u32,
            weights: [0; PHASES],
            slice_terms: [0; PHASES],
            phases: [Entry::zeroed(); PHASES],
        };
        let (mut blocks, mut weights) = (0, 0);
        for (i, phase) in sums.phases.iter().enumerate() {
            let columns = phase.terms(sums.from_size[2]);
            let terms = u64::from(images) * phase.outputs();
            parameter.phases[i] = phase.entry(blocks);
            parameter.weights[i] = weights as u32;
            // Whole steps, so that slices begin where copies may.
            let of_slice = terms.div_ceil(share.slices.into());
            parameter.slice_terms[i] = of_slice.next_multiple_of(shape.depth.into()) as u32;
            let tiles = row_tiles * columns.div_ceil(shape.columns.into());
            blocks += tiles * u64::from(share.slices);
            weights += columns * u64::from(sums.to_size[2]);
            need(blocks < MOST, "blocks in a launch", blocks)?;
        }
        let kernel = match share.pieces {
            Pieces::Square(Tile::Small) => "convolution_weights_small",
            Pieces::Square(Tile::Medium) => "convolution_weights_medium",
            Pieces::Square(Tile::Large) => "convolution_weights_large",
            Pieces::Wide => "convolution_weights_wide",
        };
        let launch = Launch::new(kernel, blocks as u32, Tile::THREADS, &parameter);
        Ok(launch.with_shared(shape.shared()))
    }

    /// What it costs at the least.
    pub fn demand(&self, share: Share, images: u32) -> Demand {
        let sums = &self.sums;
        let read = numbers(sums.from_size) + numbers(sums.to_size);
        Demand {
            matrix_operations: 2.0 * f64::from(images) * sums.counts()[0],
            bytes: 2.0 * f64::from(images) * read
                + 4.0 * f64::from(share.slices) * sums.slice() as f64,
        }
    }
}
