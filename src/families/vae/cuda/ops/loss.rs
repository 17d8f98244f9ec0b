//! `vae_bernoulli`, `vae_bernoulli_delta`, `vae_mixture`: what the decoder's last layer costs; `kernels/vae/loss.cu`.

use bytemuck::{Pod, Zeroable};

use super::BatchRows;
use super::gather::LONELY;
use crate::device::cuda::device::{Address, Launch};
use crate::likelihood::Mixture;

/// The Bernoulli term of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Bernoulli {
    /// Images of the batch, at least 1.
    pub images: usize,
    /// Pixels of an image.
    pub pixels: usize,
    /// f32 `[images, pixels, LONELY]`: what the decoder makes, units of the loss; one channel is used.
    pub output: Address,
    /// f32 `[images, pixels]`, units of the loss.
    pub target: Address,
    /// Its weight in the loss.
    pub weight: f32,
    /// Out: f32 `[images]`, nats: the term times weight.
    pub cost: Address,
    /// Out: bf16, like `output`; none: not wanted.
    pub picture: Address,
}

/// Derivatives of the mean loss of a batch by the sums of the decoder's last layer, which is a ReLU.
#[derive(Debug, Clone, Copy)]
pub struct BernoulliDelta {
    /// The term.
    pub of: Bernoulli,
    /// f32, like its `output`: those of the perceptual term; none: zeros.
    pub by_features: Address,
    /// Out: bf16, like its `output`.
    pub delta: Address,
}

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct BernoulliParams {
    output: Address,
    target: Address,
    cost: Address,
    picture: Address,
    by_features: Address,
    delta: Address,
    images: u32,
    pixels: u32,
    weight: f32,
    scale: f32,
}

const _: () = assert!(size_of::<BernoulliParams>() == 64 && LONELY == 8);

const THREADS: u32 = 128;

impl Bernoulli {
    fn start(&self, kernel: &'static str, [by_features, delta]: [Address; 2]) -> Launch {
        assert!((1..1 << 31).contains(&self.images) && self.pixels <= 1 << 16);
        assert!([self.picture, delta].iter().all(|a| a.0.is_multiple_of(16)));
        let parameter = BernoulliParams {
            output: self.output,
            target: self.target,
            cost: self.cost,
            picture: self.picture,
            by_features,
            delta,
            images: self.images as u32,
            pixels: self.pixels as u32,
            weight: self.weight,
            scale: 1.0 / self.images as f32,
        };
        Launch::new(kernel, self.images as u32, THREADS, &parameter).with_shared(4 * THREADS)
    }

    /// The launch of the term itself.
    ///
    /// # Panics
    /// On sizes and addresses that the kernel does not take.
    pub fn launch(&self) -> Launch {
        self.start("vae_bernoulli", [Address::NULL; 2])
    }
}

impl BernoulliDelta {
    /// The launch.
    ///
    /// # Panics
    /// On sizes and addresses that the kernel does not take.
    pub fn launch(&self) -> Launch {
        self.of
            .start("vae_bernoulli_delta", [self.by_features, self.delta])
    }
}

/// -ln p of a batch's pixels, given by a sparse decoder.
#[derive(Debug, Clone, Copy)]
pub struct MixtureLoss {
    /// Which images it has, and the scales of its step.
    pub rows: BatchRows,
    /// Images of the batch, at least 1.
    pub images: usize,
    /// Pixels of an image.
    pub pixels: usize,
    /// The distribution of a positive pixel.
    pub mixture: Mixture,
    /// Whether images are told their total.
    pub is_told: bool,
    /// GeV: of `target`.
    pub unit: f32,
    /// f32 `[images, pixels, pitch]`: gate, then the numbers of the mixture.
    pub output: Address,
    /// A multiple of 8, at least as many.
    pub pitch: usize,
    /// f32 `[images, pixels]`, units of the loss.
    pub target: Address,
    /// Out: f32 `[images]`, nats.
    pub cost: Address,
    /// Out: bf16, like `output`: derivatives of the mean; none: not wanted.
    pub delta: Address,
}

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct MixtureParams {
    rows: BatchRows,
    output: Address,
    target: Address,
    cost: Address,
    delta: Address,
    images: u32,
    pixels: u32,
    pitch: u32,
    components: u32,
    is_told: u32,
    unit: f32,
    scale: f32,
    inverse_unit: f32,
    log_unit: f32,
    upper: f32,
    origin: f32,
    lower: f32,
}

const _: () = assert!(size_of::<MixtureParams>() == 104);

impl MixtureLoss {
    /// The launch.
    ///
    /// # Panics
    /// On sizes and addresses that the kernel does not take.
    pub fn launch(&self) -> Launch {
        assert!((1..1 << 31).contains(&self.images) && self.pixels <= 1 << 16);
        assert!(self.pitch.is_multiple_of(8) && 3 * self.mixture.components < self.pitch);
        assert!(self.delta.0.is_multiple_of(16));
        let range = self.mixture.support.range();
        let parameter = MixtureParams {
            rows: self.rows,
            output: self.output,
            target: self.target,
            cost: self.cost,
            delta: self.delta,
            images: self.images as u32,
            pixels: self.pixels as u32,
            pitch: self.pitch as u32,
            components: self.mixture.components as u32,
            is_told: self.is_told.into(),
            unit: self.unit,
            scale: 1.0 / self.images as f32,
            inverse_unit: 1.0 / range.unit,
            log_unit: self.mixture.support.unit.ln() as f32,
            upper: range.upper,
            origin: range.origin,
            lower: range.lower,
        };
        let shared = 4 * (THREADS + 64) + 2 * self.pixels as u32;
        Launch::new("vae_mixture", self.images as u32, THREADS, &parameter).with_shared(shared)
    }
}
