//! `vae_latent`, `vae_latent_delta`: codes in training, and derivatives back through them; `kernels/vae/latent.cu`.

use bytemuck::{Pod, Zeroable};

use super::BatchRows;
use crate::device::cuda::device::{Address, Launch};

/// The codes of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Latent {
    /// Which images it has, and the noise of its step.
    pub rows: BatchRows,
    /// Images of the batch, at least 1.
    pub images: usize,
    /// Numbers of a code.
    pub latents: usize,
    /// f32 `[images, pitch]`: means, log variances.
    pub codes: Address,
    /// At least twice the latents.
    pub pitch: usize,
    /// Out: bf16 `[images, input_pitch]`: the code that is drawn; what comes after stays.
    pub input: Address,
    /// At least as many as latents.
    pub input_pitch: usize,
    /// Out: f32 `[images]`, nats: the divergence times `weight`.
    pub cost: Address,
    /// Of the divergence in the loss.
    pub weight: f32,
}

/// Derivatives of the mean loss of a batch by its codes.
#[derive(Debug, Clone, Copy)]
pub struct LatentDelta {
    /// The codes.
    pub of: Latent,
    /// f32 `[images, input_pitch]`: those by the codes that were drawn.
    pub by_input: Address,
    /// Out: bf16 `[images, pitch]`: those by means and log variances, then zeros.
    pub delta: Address,
}

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Params {
    rows: BatchRows,
    codes: Address,
    input: Address,
    cost: Address,
    by_input: Address,
    delta: Address,
    images: u32,
    latents: u32,
    pitch: u32,
    input_pitch: u32,
    weight: f32,
    scale: f32,
}

const _: () = assert!(size_of::<Params>() == 88);

const THREADS: u32 = 64;

impl Latent {
    fn start(&self, kernel: &'static str, [by_input, delta]: [Address; 2]) -> Launch {
        assert!(2 * self.latents <= self.pitch && self.latents <= self.input_pitch);
        assert!((1..1 << 31).contains(&self.images));
        let parameter = Params {
            rows: self.rows,
            codes: self.codes,
            input: self.input,
            cost: self.cost,
            by_input,
            delta,
            images: self.images as u32,
            latents: self.latents as u32,
            pitch: self.pitch as u32,
            input_pitch: self.input_pitch as u32,
            weight: self.weight,
            scale: 1.0 / self.images as f32,
        };
        let blocks = (self.images as u32).div_ceil(THREADS);
        Launch::new(kernel, blocks, THREADS, &parameter)
    }

    /// The launch that draws them.
    ///
    /// # Panics
    /// On sizes that the kernel does not take.
    pub fn launch(&self) -> Launch {
        self.start("vae_latent", [Address::NULL; 2])
    }
}

impl LatentDelta {
    /// The launch.
    ///
    /// # Panics
    /// On sizes that the kernel does not take.
    pub fn launch(&self) -> Launch {
        self.of
            .start("vae_latent_delta", [self.by_input, self.delta])
    }
}
