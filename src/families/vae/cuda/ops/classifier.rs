//! `vae_dropout`, `vae_cross_entropy`: what the classifier has beside its layers; `kernels/vae/classifier.cu`.

use bytemuck::{Pod, Zeroable};

use super::BatchRows;
use crate::device::cuda::device::{Address, Launch};

/// What a layer gave of a batch, or derivatives by its sums, some of which are left out by chance.
#[derive(Debug, Clone, Copy)]
pub struct Dropout {
    /// The step.
    pub rows: BatchRows,
    /// In and out: bf16 `[pixels of all images, channels_up]`.
    pub values: Address,
    /// Pixels of all images.
    pub pixels: u64,
    /// Channels that somebody has.
    pub channels: usize,
    /// A multiple of 8, at least as many.
    pub channels_up: usize,
    /// Number of the layer.
    pub layer: usize,
    /// The fraction that is left out, less than 1.
    pub rate: f32,
    /// Seed of the training.
    pub seed: u64,
}

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct DropoutParams {
    rows: BatchRows,
    values: Address,
    numbers: u64,
    channels: u32,
    channels_up: u32,
    layer: u32,
    rate: f32,
    seed: u64,
}

const _: () = assert!(size_of::<DropoutParams>() == 64);

const THREADS: u32 = 128;
/// Numbers of a thread.
const EACH: u64 = 4;

impl Dropout {
    /// The launch.
    ///
    /// # Panics
    /// On sizes that the kernel does not take.
    pub fn launch(&self) -> Launch {
        assert!(self.channels_up.is_multiple_of(8) && self.channels <= self.channels_up);
        assert!((0.0..1.0).contains(&self.rate) && self.channels > 0);
        let numbers = self.pixels * self.channels_up as u64;
        let parameter = DropoutParams {
            rows: self.rows,
            values: self.values,
            numbers,
            channels: self.channels as u32,
            channels_up: self.channels_up as u32,
            layer: self.layer as u32,
            rate: self.rate,
            seed: self.seed,
        };
        let blocks = numbers.div_ceil(EACH).div_ceil(THREADS.into());
        let blocks = u32::try_from(blocks).expect("pixels of a batch are below 2^31");
        Launch::new("vae_dropout", blocks, THREADS, &parameter)
    }
}

/// The cross entropy of a batch between two classes.
#[derive(Debug, Clone, Copy)]
pub struct CrossEntropy {
    /// Which images it has.
    pub rows: BatchRows,
    /// Images of the batch, at least 1.
    pub images: usize,
    /// u32 `[resident images]`: 0 or 1.
    pub classes: Address,
    /// f32 `[images, LONELY]`: logarithms of the odds of class 1; one channel is used.
    pub odds: Address,
    /// Out: f32 `[images]`, nats.
    pub cost: Address,
    /// Out: f32 `[images]`: 1 where the likelier class is the image's, else 0.
    pub right: Address,
    /// Out: bf16, like `odds`: derivatives of the mean; none: not wanted.
    pub delta: Address,
}

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct CrossEntropyParams {
    rows: BatchRows,
    classes: Address,
    odds: Address,
    cost: Address,
    right: Address,
    delta: Address,
    images: u32,
    scale: f32,
}

const _: () = assert!(size_of::<CrossEntropyParams>() == 72);

impl CrossEntropy {
    /// The launch.
    ///
    /// # Panics
    /// On sizes and addresses that the kernel does not take.
    pub fn launch(&self) -> Launch {
        assert!((1..1 << 31).contains(&self.images) && self.delta.0.is_multiple_of(16));
        let parameter = CrossEntropyParams {
            rows: self.rows,
            classes: self.classes,
            odds: self.odds,
            cost: self.cost,
            right: self.right,
            delta: self.delta,
            images: self.images as u32,
            scale: 1.0 / self.images as f32,
        };
        let blocks = (self.images as u32).div_ceil(THREADS);
        Launch::new("vae_cross_entropy", blocks, THREADS, &parameter)
    }
}
