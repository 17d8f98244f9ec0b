//! Convolutions, transposed convolutions and dense layers, forward; `kernels/common/convolution.cu`.

use bytemuck::{Pod, Zeroable};

use super::Demand;
use super::tile::{Shape, Tile, estimate};
use crate::device::DeviceError;
use crate::device::cuda::device::{Address, Launch};

/// Problems of one launch; PHASES of `kernels/common/convolution.cu`.
pub const PHASES: usize = 4;

/// Numbers of pixels and images stay below this, in 32 bits with a tile's size on top.
const MOST: u64 = 1 << 31;

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

/// A layer. Sizes are height, width and channels; channels are multiples of 8.
#[derive(Debug, Clone, Copy)]
pub struct Convolution<'a> {
    /// bf16 `[images, from_size]`.
    pub input: Address,
    /// Of an image that is read.
    pub from_size: [u32; 3],
    /// f32, a number a channel of the output.
    pub bias: Address,
    /// bf16 `[images, to_size]`.
    pub output: Address,
    /// Of an image that is given.
    pub to_size: [u32; 3],
    /// From one output to the next, of the input and of the output.
    pub steps: [u32; 2],
    /// What negative sums are multiplied by: 1 for nothing, 0 for a ReLU.
    pub slope: f32,
    /// Its sums: one phase, or one for each of a transposed convolution.
    pub phases: &'a [ConvolutionPhase],
}

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Entry {
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
    output: Address,
    images: u32,
    count: u32,
    from_size: [u32; 3],
    to_size: [u32; 3],
    steps: [u32; 2],
    slope: f32,
    column_tiles: u32,
    phases: [Entry; PHASES],
}

const _: () = assert!(size_of::<Entry>() == 48 && size_of::<Params>() == 72 + 48 * PHASES);

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
    fn outputs(&self) -> u64 {
        u64::from(self.count[0]) * u64::from(self.count[1])
    }

    fn terms(&self, channels: u32) -> u64 {
        u64::from(self.places[0]) * u64::from(self.places[1]) * u64::from(channels)
    }
}

impl Convolution<'_> {
    /// The cut that suits the shapes on an H100 where `images` pass together. A result's bits depend on it, so it depends on no card.
    pub fn cut(&self, images: u32) -> Cut {
        const MULTIPROCESSORS: u32 = 132;

        let cost = |cut: &Cut| {
            let shape = cut.shape();
            let tiles: Vec<(u64, u32)> = (self.phases.iter())
                .map(|phase| {
                    let rows = (u64::from(images) * phase.outputs()).div_ceil(shape.rows.into());
                    let columns = u64::from(self.to_size[2].div_ceil(shape.columns));
                    (rows * columns, phase.terms(self.from_size[2]) as u32)
                })
                .collect();
            estimate(MULTIPROCESSORS, shape, &tiles, 2.0)
        };
        let best = (Cut::ALL.into_iter()).min_by(|a, b| cost(a).total_cmp(&cost(b)));
        best.unwrap_or(Cut::Broad)
    }

    /// The launch for `images` images, at least one.
    ///
    /// # Errors
    /// [`DeviceError::Unsupported`] for a shape or alignment that the kernels do not take.
    pub fn launch(&self, cut: Cut, images: u32) -> Result<Launch, DeviceError> {
        self.check(images)?;
        let shape = cut.shape();
        let column_tiles = u64::from(self.to_size[2].div_ceil(shape.columns));
        let mut parameter = Params {
            input: self.input,
            bias: self.bias,
            output: self.output,
            images,
            count: self.phases.len() as u32,
            from_size: self.from_size,
            to_size: self.to_size,
            steps: self.steps,
            slope: self.slope,
            column_tiles: column_tiles as u32,
            phases: [Entry::zeroed(); PHASES],
        };
        let mut blocks = 0;
        for (entry, phase) in parameter.phases.iter_mut().zip(self.phases) {
            *entry = Entry {
                weights: phase.weights,
                count: phase.count,
                from: phase.from,
                to: phase.to,
                places: phase.places,
                first_block: blocks as u32,
                padding: 0,
            };
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

    fn check(&self, images: u32) -> Result<(), DeviceError> {
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
        let addresses = [self.input, self.bias, self.output].into_iter();
        for address in addresses.chain(self.phases.iter().map(|p| p.weights)) {
            need(address.0.is_multiple_of(16), "the address", address.0)?;
        }
        for size in [self.from_size, self.to_size] {
            let pixels = u64::from(size[0]) * u64::from(size[1]);
            let all = pixels.saturating_mul(images.into());
            need(pixels < MOST && all < MOST, "pixels of all images", all)?;
        }
        for phase in self.phases {
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

    /// What it costs at the least.
    pub fn demand(&self, images: u32) -> Demand {
        let numbers = |size: [u32; 3]| size.iter().map(|n| f64::from(*n)).product::<f64>();
        let outputs = f64::from(self.to_size[2]);
        let (mut sums, mut weights) = (0.0, 0.0);
        for phase in self.phases {
            let terms = phase.terms(self.from_size[2]) as f64;
            sums += phase.outputs() as f64 * terms * outputs;
            weights += terms * outputs;
        }
        let read_and_written = numbers(self.from_size) + numbers(self.to_size);
        Demand {
            matrix_operations: 2.0 * f64::from(images) * sums,
            bytes: 2.0 * (weights + f64::from(images) * read_and_written) + 4.0 * outputs,
        }
    }
}

fn need(holds: bool, what: &str, found: impl std::fmt::Display) -> Result<(), DeviceError> {
    match holds {
        true => Ok(()),
        false => Err(DeviceError::Unsupported(format!(
            "convolutions on a card do not take this: {what} = {found}"
        ))),
    }
}
