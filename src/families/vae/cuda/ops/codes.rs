//! `vae_codes`: what the decoder is given, a code and conditions of each image; `kernels/vae/codes.cu`.

use bytemuck::{Pod, Zeroable};

use crate::device::cuda::device::{Address, Launch};
use crate::random;

/// Codes of a run of images.
#[derive(Debug, Clone, Copy)]
pub struct CodesOf {
    /// f32 `[images, latents]`; none: normal numbers.
    pub codes: Address,
    /// f32 `[condition rows, conditions]`: image number `i` has row `i % condition_rows`.
    pub conditions: Address,
    /// Rows of conditions, at least 1 where there are conditions.
    pub condition_rows: u64,
    /// Numbers of a code.
    pub latents: usize,
    /// Conditions of an image.
    pub width: usize,
    /// Out: bf16 `[images, pitch]`: a code, conditions, zeros. Aligned to 4 bytes.
    pub output: Address,
    /// Even, at least as many as latents and conditions.
    pub pitch: usize,
    /// Random seed.
    pub seed: u64,
    /// Number of the first image.
    pub first: u64,
    /// Images, at least 1.
    pub images: usize,
}

/// `CodesParams` of `kernels/vae/codes.cu`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Params {
    codes: Address,
    conditions: Address,
    output: Address,
    first: u64,
    condition_rows: u64,
    images: u32,
    latents: u32,
    width: u32,
    pitch: u32,
    seed: [u32; 2],
}

const _: () = assert!(size_of::<Params>() == 64);

const THREADS: u32 = 128;

impl CodesOf {
    /// The launch.
    ///
    /// # Panics
    /// On sizes and addresses that the kernel does not take.
    pub fn launch(&self) -> Launch {
        assert!(self.pitch.is_multiple_of(2) && self.latents + self.width <= self.pitch);
        assert!(self.width == 0 || self.condition_rows >= 1);
        assert!(self.images >= 1 && self.output.0.is_multiple_of(4));
        assert!(self.codes.0.is_multiple_of(4) && self.conditions.0.is_multiple_of(4));
        let threads = self.images as u64 * (self.pitch as u64 / 2);
        let blocks = u32::try_from(threads.div_ceil(THREADS.into()));
        let (Ok(blocks), Ok(images)) = (blocks, u32::try_from(self.images)) else {
            panic!("{} images", self.images);
        };
        let parameter = Params {
            codes: self.codes,
            conditions: self.conditions,
            output: self.output,
            first: self.first,
            condition_rows: self.condition_rows.max(1),
            images,
            latents: self.latents as u32,
            width: self.width as u32,
            pitch: self.pitch as u32,
            seed: random::key(self.seed),
        };
        Launch::new("vae_codes", blocks, THREADS, &parameter)
    }
}
