//! `vae_pixels`: the decoder's last layer, and the pixels that come of it; `kernels/vae/pixels.cu`.

use bytemuck::{Pod, Zeroable};

use crate::device::DeviceError;
use crate::device::cuda::device::{Address, Launch};
use crate::likelihood::{Mixture, MixtureRange};
use crate::random;

/// Rows and columns of the last layer's windows.
pub const SIDE: usize = 4;
/// Numbers from one row of products to the next.
const PRODUCTS_PITCH: usize = SIDE * SIDE + 2;
/// Open pixels that a warp looks at together.
const ROWS: usize = 16;
const THREADS: u32 = 128;

/// What the first channel is.
#[derive(Debug, Clone, Copy)]
pub enum Output {
    /// The pixel, in units of so many GeV, by a ReLU; below `smallest` GeV it is a zero.
    Pixel {
        /// GeV.
        unit: f32,
        /// GeV.
        smallest: f32,
    },
    /// The logit of the gate; the other channels are the numbers of a mixture.
    Gate {
        /// What they are the numbers of.
        mixture: Mixture,
        /// GeV: of images that are told a total, pixels below it are zeros.
        smallest: f32,
    },
}

/// Which images are drawn, and where their pixels go.
#[derive(Debug, Clone, Copy)]
pub struct Drawn {
    /// Random seed.
    pub seed: u64,
    /// Number of the first image.
    pub first: u64,
    /// Images, at least 1.
    pub images: usize,
    /// Out: u16 `[images, pixels]`: the first `counts` of each row.
    pub slot_pixel: Address,
    /// Out: f32, likewise, GeV.
    pub slot_value: Address,
    /// Out: u32 `[images]`.
    pub counts: Address,
    /// f32 `[condition rows, 2]`: GeV that image `i % condition_rows` is told to add up to, and what is nothing; none without totals,
    /// and for pixels that no gate opens. Aligned to 8 bytes.
    pub totals: Address,
    /// Rows of them, at least 1 where there are totals.
    pub condition_rows: u64,
}

/// The last layer of a run of images.
#[derive(Debug, Clone, Copy)]
pub struct Pixels {
    /// bf16 `[images, height, width, channels]`.
    pub input: Address,
    /// Height, width, channels: a multiple of 16.
    pub size: [usize; 3],
    /// bf16 `[SIDE * SIDE, channels]`: weights of the first channel.
    pub first_weights: Address,
    /// bf16 `[numbers_up, SIDE * SIDE, channels]`, of the others where the first is a gate; zeros past the numbers of a mixture.
    pub weights: Address,
    /// f32 `[1 + numbers_up]`.
    pub bias: Address,
    /// What the first channel is.
    pub output: Output,
    /// The images.
    pub drawn: Drawn,
}

/// `PixelsParams` of `kernels/vae/pixels.cu`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Params {
    input: Address,
    first_weights: Address,
    weights: Address,
    bias: Address,
    slot_pixel: Address,
    slot_value: Address,
    counts: Address,
    totals: Address,
    condition_rows: u64,
    first: u64,
    height: u32,
    width: u32,
    channels: u32,
    components: u32,
    numbers_up: u32,
    seed: [u32; 2],
    unit: f32,
    smallest: f32,
    upper: f32,
    largest: f32,
    origin: f32,
    lower: f32,
    room: u32,
}

const _: () = assert!(size_of::<Params>() == 136);

impl Output {
    /// Channels but the first, up to a multiple of 8.
    pub fn numbers_up(&self) -> usize {
        match self {
            Output::Pixel { .. } => 0,
            Output::Gate { mixture, .. } => (3 * mixture.components).next_multiple_of(8),
        }
    }

    /// Numbers of shared memory for the products of an image of `size`, or for mixtures.
    fn room(&self, size: [usize; 3]) -> usize {
        let mixtures = THREADS as usize / 32 * ROWS * (self.numbers_up() + 2);
        let of_threads = 2 * THREADS as usize;
        (size[0] * size[1] * PRODUCTS_PITCH)
            .max(mixtures)
            .max(of_threads)
    }

    /// Bytes of shared memory that a block needs whose input is of `size`.
    fn shared(&self, size: [usize; 3]) -> usize {
        let pixels = (size[0] - (SIDE - 1)) * (size[1] - (SIDE - 1));
        4 * (self.room(size) + 96) + 2 * pixels
    }

    /// Refuse an input of `size` for which a block would need more than `shared` bytes of shared memory.
    ///
    /// # Errors
    /// [`DeviceError::Unsupported`]
    pub fn check(&self, size: [usize; 3], shared: u32) -> Result<(), DeviceError> {
        let needed = self.shared(size);
        if needed <= shared as usize {
            return Ok(());
        }
        Err(DeviceError::Unsupported(format!(
            "images of {} x {} pixels are too large for this card (to draw one a block of threads needs {needed} bytes of shared memory and has {shared}); use --device cpu",
            size[0] - (SIDE - 1),
            size[1] - (SIDE - 1),
        )))
    }
}

impl Pixels {
    /// The launch, of a size that [`Output::check`] accepts.
    ///
    /// # Panics
    /// On sizes and addresses that the kernel does not take.
    pub fn launch(&self) -> Launch {
        let [height, width, channels] = self.size;
        assert!(height >= SIDE && width >= SIDE && channels.is_multiple_of(16) && channels > 0);
        let pixels = (height - (SIDE - 1)) * (width - (SIDE - 1));
        assert!(pixels <= 1 << 16 && self.drawn.images >= 1);
        assert!(u32::try_from(self.drawn.images * pixels).is_ok());
        let addresses = [self.input, self.first_weights, self.weights];
        assert!(addresses.iter().all(|a| a.0.is_multiple_of(4)));
        assert!(self.bias.0.is_multiple_of(4) && self.drawn.counts.0.is_multiple_of(4));
        assert!(
            self.drawn.slot_pixel.0.is_multiple_of(2) && self.drawn.slot_value.0.is_multiple_of(4)
        );
        let told = self.drawn.totals != Address::NULL;
        assert!(!told || self.drawn.condition_rows >= 1);
        assert!(!told || matches!(self.output, Output::Gate { .. }));
        assert!(self.drawn.totals.0.is_multiple_of(8));
        let (components, range, smallest) = match self.output {
            Output::Pixel { unit, smallest } => {
                let range = MixtureRange {
                    unit,
                    ..MixtureRange::default()
                };
                (0, range, smallest)
            }
            Output::Gate { mixture, smallest } => {
                (mixture.components, mixture.support.range(), smallest)
            }
        };
        let parameter = Params {
            input: self.input,
            first_weights: self.first_weights,
            weights: self.weights,
            bias: self.bias,
            slot_pixel: self.drawn.slot_pixel,
            slot_value: self.drawn.slot_value,
            counts: self.drawn.counts,
            totals: self.drawn.totals,
            condition_rows: self.drawn.condition_rows.max(1),
            first: self.drawn.first,
            height: height as u32,
            width: width as u32,
            channels: channels as u32,
            components: components as u32,
            numbers_up: self.output.numbers_up() as u32,
            seed: random::key(self.drawn.seed),
            unit: range.unit,
            smallest,
            upper: range.upper,
            largest: range.largest,
            origin: range.origin,
            lower: range.lower,
            room: self.output.room(self.size) as u32,
        };
        let launch = Launch::new("vae_pixels", self.drawn.images as u32, THREADS, &parameter);
        launch.with_shared(self.output.shared(self.size) as u32)
    }
}
