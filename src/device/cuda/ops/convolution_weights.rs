//! Convolutions, transposed convolutions and dense layers, backward to the weights; `kernels/common/convolution_weights.cu`.

use bytemuck::{Pod, Zeroable};

use super::Demand;
use super::convolution::{Entry, MOST, PHASES, Sums, need, numbers};
use super::tile::{Tile, estimate};
use crate::device::DeviceError;
use crate::device::cuda::device::{Address, Launch};

/// How the terms of a layer's derivatives, its outputs, are shared out, and the results cut into tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Tiles of weights.
    pub tile: Tile,
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
        const MULTIPROCESSORS: u32 = 132;
        // A slice has terms for some steps of a tile at least, and what slices write is read again.
        const LEAST_STEPS: u64 = 4;
        const MOST_SLICES: u64 = 256;
        let terms = |q: &super::convolution::ConvolutionPhase| u64::from(images) * q.outputs();
        let most = self.phases.iter().map(terms).max().unwrap_or(1);
        let options = Tile::ALL.into_iter().flat_map(|tile| {
            let steps = most.div_ceil(tile.depth().into());
            let largest = (steps / LEAST_STEPS).clamp(1, MOST_SLICES) as u32;
            (0..=8)
                .map(|bits| 1u32 << bits)
                .filter(move |n| *n <= largest)
                .map(move |slices| Share { tile, slices })
        });
        let cost = |share: &Share| {
            let side = u64::from(share.tile.side());
            let tiles: Vec<(u64, u32)> = (self.phases.iter())
                .map(|phase| {
                    let rows = u64::from(self.to_size[2]).div_ceil(side);
                    let columns = phase.terms(self.from_size[2]).div_ceil(side);
                    let here = terms(phase).div_ceil(share.slices.into());
                    (rows * columns * u64::from(share.slices), here as u32)
                })
                .collect();
            // Written, and read again by whoever adds up.
            estimate(MULTIPROCESSORS, share.tile.shape(), &tiles, 8.0)
        };
        let best = options.min_by(|a, b| cost(a).total_cmp(&cost(b)));
        best.unwrap_or(Share {
            tile: Tile::Medium,
            slices: 1,
        })
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
        let side = u64::from(share.tile.side());
        let row_tiles = u64::from(sums.to_size[2]).div_ceil(side);
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
            parameter.slice_terms[i] = terms.div_ceil(share.slices.into()) as u32;
            blocks += row_tiles * columns.div_ceil(side) * u64::from(share.slices);
            weights += columns * u64::from(sums.to_size[2]);
            need(blocks < MOST, "blocks in a launch", blocks)?;
        }
        let kernel = match share.tile {
            Tile::Small => "convolution_weights_small",
            Tile::Medium => "convolution_weights_medium",
            Tile::Large => "convolution_weights_large",
        };
        let launch = Launch::new(kernel, blocks as u32, Tile::THREADS, &parameter);
        Ok(launch.with_shared(share.tile.shared()))
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
