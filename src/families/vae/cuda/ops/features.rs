//! `vae_features`: the perceptual term of one layer of the classifier; `kernels/vae/features.cu`.

use bytemuck::{Pod, Zeroable};

use crate::device::cuda::device::{Address, Launch};

/// One layer's features of a batch, of true images and of those that are made.
#[derive(Debug, Clone, Copy)]
pub struct Features {
    /// Images of the batch, at least 1.
    pub images: usize,
    /// Numbers of an image, those of channels among them that nobody has.
    pub numbers: usize,
    /// Numbers that somebody has.
    pub real: usize,
    /// f32 `[images, numbers]`.
    pub of_true: Address,
    /// Likewise.
    pub of_made: Address,
    /// The term's weight in the loss.
    pub weight: f32,
    /// Out: f32 `[images]`: the layer's part of the term, times weight.
    pub cost: Address,
    /// Out: bf16 `[images, numbers]`: derivatives of the mean loss by `of_made`; none: not wanted.
    pub delta: Address,
    /// Those by the layer's sums are wanted, and this is what negative ones were multiplied by; 1: those by what it gives.
    pub slope: f32,
}

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Params {
    of_true: Address,
    of_made: Address,
    cost: Address,
    delta: Address,
    images: u32,
    numbers: u32,
    weight: f32,
    by: f32,
    slope: f32,
    unused: u32,
}

const _: () = assert!(size_of::<Params>() == 56);

const THREADS: u32 = 128;

impl Features {
    /// The launch.
    ///
    /// # Panics
    /// On sizes that the kernel does not take.
    pub fn launch(&self) -> Launch {
        assert!((1..1 << 31).contains(&self.images) && (1..1 << 31).contains(&self.numbers));
        let real = self.real.max(1) as f32;
        let parameter = Params {
            of_true: self.of_true,
            of_made: self.of_made,
            cost: self.cost,
            delta: self.delta,
            images: self.images as u32,
            numbers: self.numbers as u32,
            weight: self.weight / (2.0 * real),
            by: self.weight / (real * self.images as f32),
            slope: self.slope,
            unused: 0,
        };
        let launch = Launch::new("vae_features", self.images as u32, THREADS, &parameter);
        launch.with_shared(4 * THREADS)
    }
}
