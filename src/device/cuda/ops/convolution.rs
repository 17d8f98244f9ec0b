//! Convolutions, transposed convolutions and dense layers, forward and backward to the input; `kernels/common/convolution.cu`.

use bytemuck::{Pod, Zeroable};

use super::Demand;
use super::tile::{Shape, Tile, estimate};
use crate::device::DeviceError;
use crate::device::cuda::device::{Address, Launch};

/// Multiprocessors of an H100, which cuts and slices are chosen for.
pub(super) const MULTIPROCESSORS: u32 = 132;

/// Problems of one launch; PHASES of `kernels/common/convolution.cu`.
pub const PHASES: usize = 4;

/// Numbers of pixels and images stay below this, in 32 bits with a tile's size on top.
pub(super) const MOST: u64 = 1 << 31;

/// Outputs that add up their inputs alike. The first of each pair is of rows, the second of columns.
#[derive(Debug, Clone, Copy)]
pub struct ConvolutionPhase {
    /// bf16 `[outputs, places, channels]`.
    pub weights: Address,
    /// How many outputs of an image there are.
    pub count: [u32; 2],
    /// The input at the first place of the first output's window: negative above and left of the image.
    pub from: [i32; 2],
    /// The first output.
    pub to: [u32; 2],
    /// Places of a window.
    pub places: [u32; 2],
}

/// What a layer adds up, or its derivatives. Sizes are height, width and channels; channels are multiples of 8.
#[derive(Debug, Clone, Copy)]
pub struct Sums<'a> {
    /// Of an image that is read.
    pub from_size: [u32; 3],
    /// Of an image that is given.
    pub to_size: [u32; 3],
    /// From one output to the next, of the input and of the output.
    pub steps: [u32; 2],
    /// One phase, or one for each of a transposed convolution.
    pub phases: &'a [ConvolutionPhase],
}

/// A layer, or its derivatives.
#[derive(Debug, Clone, Copy)]
pub struct Convolution<'a> {
    /// What it adds up.
    pub sums: Sums<'a>,
    /// bf16 `[images, from_size]`.
    pub input: Address,
    /// f32, a number a channel of the output; none: zeros.
    pub bias: Address,
    /// bf16 `[images, to_size]`, added to the sums; none: zeros.
    pub addend: Address,
    /// bf16 `[images, to_size]`: where it is not above 0, sums are multiplied by the slope; none: where they are not themselves.
    pub seen: Address,
    /// bf16 `[images, to_size]`; none: not wanted.
    pub output: Address,
    /// f32 `[images, to_size]`; none: not wanted.
    pub numbers: Address,
    /// What sums are multiplied by that are not above 0: 1 for nothing, 0 for a ReLU.
    pub slope: f32,
}

/// `ConvolutionPhase` of `kernels/common/convolution.cuh`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Entry {
    weights: Address,
    count: [u32; 2],
    from: [i32; 2],
    to: [u32; 2],
    places: [u32; 2],
    first_block: u32,
    padding: u32,
}

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Params {
    input: Address,
    bias: Address,
    addend: Address,
    seen: Address,
    output: Address,
    numbers: Address,
    images: u32,
    count: u32,
    from_size: [u32; 3],
    to_size: [u32; 3],
    steps: [u32; 2],
    slope: f32,
    column_tiles: u32,
    phases: [Entry; PHASES],
}

const _: () = assert!(size_of::<Entry>() == 48 && size_of::<Params>() == 96 + 48 * PHASES);

/// How the outputs of a layer, pixels by channels, are cut into tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// As many pixels as channels.
    Square(Tile),
    /// 128 pixels x 32 channels, 64 terms a step.
    Narrow,
    /// 128 pixels x 64 channels, 64 terms a step.
    Broad,
}

impl Cut {
    /// All of them.
    pub const ALL: [Cut; 5] = [
        Cut::Square(Tile::Small),
        Cut::Square(Tile::Medium),
        Cut::Square(Tile::Large),
        Cut::Narrow,
        Cut::Broad,
    ];

    /// As in `kernels/common/convolution.cu`.
    const fn shape(self) -> Shape {
        let (columns, step) = match self {
            Cut::Square(tile) => return tile.shape(),
            Cut::Narrow => (32, 400.0),
            Cut::Broad => (64, 600.0),
        };
        Shape {
            rows: 128,
            columns,
            depth: 64,
            stages: 3,
            slices: 1,
            step,
        }
    }
}

impl ConvolutionPhase {
    /// Outputs of an image.
    pub(super) fn outputs(&self) -> u64 {
        u64::from(self.count[0]) * u64::from(self.count[1])
    }

    /// Terms of a sum over `channels` channels.
    pub(super) fn terms(&self, channels: u32) -> u64 {
        u64::from(self.places[0]) * u64::from(self.places[1]) * u64::from(channels)
    }

    /// The same for a kernel, whose blocks begin at number `first_block`.
    pub(super) fn entry(&self, first_block: u64) -> Entry {
        Entry {
            weights: self.weights,
            count: self.count,
            from: self.from,
            to: self.to,
            places: self.places,
            first_block: first_block as u32,
            padding: 0,
        }
    }
}

impl Sums<'_> {
    /// The cut that suits the shapes on an H100 where `images` pass together. A result's bits depend on it, so it depends on no card.
    pub fn cut(&self, images: u32) -> Cut {
        let cost = |cut: &Cut| self.cycles(*cut, images);
        let best = (Cut::ALL.into_iter()).min_by(|a, b| cost(a).total_cmp(&cost(b)));
        best.unwrap_or(Cut::Broad)
    }

    /// Cycles that it takes on an H100, estimated.
    pub(crate) fn cycles(&self, cut: Cut, images: u32) -> f64 {
        let shape = cut.shape();
        let tiles: Vec<(u64, u32)> = (self.phases.iter())
            .map(|phase| {
                let rows = (u64::from(images) * phase.outputs()).div_ceil(shape.rows.into());
                let columns = u64::from(self.to_size[2].div_ceil(shape.columns));
                (rows * columns, phase.terms(self.from_size[2]) as u32)
            })
            .collect();
        estimate(MULTIPROCESSORS, shape, &tiles, 2.0)
    }

    /// Refuse what the kernels do not take.
    pub(super) fn check(&self, images: u32) -> Result<(), DeviceError> {
        need(images >= 1, "images", images)?;
        let phases = self.phases.len();
        need((1..=PHASES).contains(&phases), "phases", phases)?;
        for channels in [self.from_size[2], self.to_size[2]] {
            need(
                channels > 0 && channels.is_multiple_of(8),
                "channels",
                channels,
            )?;
        }
        for size in [self.from_size, self.to_size] {
            let pixels = u64::from(size[0]) * u64::from(size[1]);
            let all = pixels.saturating_mul(images.into());
            need(pixels < MOST && all < MOST, "pixels of all images", all)?;
        }
        for phase in self.phases {
            need(
                phase.weights.0.is_multiple_of(16),
                "the address",
                phase.weights.0,
            )?;
            let inside = (0..2).all(|i| {
                let last = u64::from(phase.count[i].saturating_sub(1)) * u64::from(self.steps[1]);
                u64::from(phase.to[i]) + last < u64::from(self.to_size[i])
            });
            need(
                inside && phase.outputs() > 0,
                "outputs of a phase",
                phase.outputs(),
            )?;
            let terms = phase.terms(self.from_size[2]);
            need((1..MOST).contains(&terms), "terms of a sum", terms)?;
        }
        Ok(())
    }

    /// Multiply-adds of an image, and weights.
    pub(super) fn counts(&self) -> [f64; 2] {
        let outputs = f64::from(self.to_size[2]);
        let each = self.phases.iter().map(|phase| {
            let weights = phase.terms(self.from_size[2]) as f64 * outputs;
            [phase.outputs() as f64 * weights, weights]
        });
        each.fold([0.0; 2], |sum, here| [sum[0] + here[0], sum[1] + here[1]])
    }
}

/// Numbers of an image of this size.
pub(super) fn numbers(size: [u32; 3]) -> f64 {
    size.iter().map(|n| f64::from(*n)).product()
}

impl Convolution<'_> {
    /// The launch for `images` images, at least one.
    ///
    /// # Errors
    /// [`DeviceError::Unsupported`] for a shape or alignment that the kernels do not take.
    pub fn launch(&self, cut: Cut, images: u32) -> Result<Launch, DeviceError> {
        let sums = &self.sums;
        sums.check(images)?;
        for address in [
            self.input,
            self.bias,
            self.addend,
            self.seen,
            self.output,
            self.numbers,
        ] {
            need(address.0.is_multiple_of(16), "the address", address.0)?;
        }
        let shape = cut.shape();
        let column_tiles = u64::from(sums.to_size[2].div_ceil(shape.columns));
        let mut parameter = Params {
            input: self.input,
            bias: self.bias,
            addend: self.addend,
            seen: self.seen,
            output: self.output,
            numbers: self.numbers,
            images,
            count: sums.phases.len() as u32,
            from_size: sums.from_size,
            to_size: sums.to_size,
            steps: sums.steps,
            slope: self.slope,
            column_tiles: column_tiles as u32,
            phases: [Entry::zeroed(); PHASES],
        };
        let mut blocks = 0;
        for (entry, phase) in parameter.phases.iter_mut().zip(sums.phases) {
            *entry = phase.entry(blocks);
            let row_tiles = (u64::from(images) * phase.outputs()).div_ceil(shape.rows.into());
            blocks += row_tiles * column_tiles;
            need(blocks < MOST, "blocks in a launch", blocks)?;
        }
        let kernel = match cut {
            Cut::Square(Tile::Small) => "convolution_small",
            Cut::Square(Tile::Medium) => "convolution_medium",
            Cut::Square(Tile::Large) => "convolution_large",
            Cut::Narrow => "convolution_narrow",
            Cut::Broad => "convolution_broad",
        };
        let launch = Launch::new(kernel, blocks as u32, Tile::THREADS, &parameter);
        Ok(launch.with_shared(shape.shared()))
    }

    /// What it costs at the least.
    pub fn demand(&self, images: u32) -> Demand {
        let sums = &self.sums;
        let [products, weights] = sums.counts();
        let read_and_written = numbers(sums.from_size) + numbers(sums.to_size);
        Demand {
            matrix_operations: 2.0 * f64::from(images) * products,
            bytes: 2.0 * (weights + f64::from(images) * read_and_written)
                + 4.0 * f64::from(sums.to_size[2]),
        }
    }
}

pub(super) fn need(
    holds: bool,
    what: &str,
    found: impl std::fmt::Display,
) -> Result<(), DeviceError> {
    match holds {
        true => Ok(()),
        false => Err(DeviceError::Unsupported(format!(
            "convolutions on a card do not take this: {what} = {found}"
        ))),
    }
}
