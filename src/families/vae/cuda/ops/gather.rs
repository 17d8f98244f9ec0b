//! `vae_gather`: a batch out of the resident images; `kernels/vae/gather.cu`.

use bytemuck::{Pod, Zeroable};

use super::BatchRows;
use crate::device::cuda::device::{Address, Launch};

/// Channels of a pixel of which one is used; LONELY of `kernels/vae/batch.cuh`.
pub const LONELY: usize = 8;

/// Images on the device.
#[derive(Debug, Clone, Copy)]
pub struct Resident {
    /// u64 `[images + 1]`: where the entries of each image begin.
    pub start: Address,
    /// u16: pixel of each entry.
    pub pixel: Address,
    /// f32: value of each entry, in units of the loss.
    pub value: Address,
    /// f32 `[images, told]`.
    pub conditions: Address,
}

/// A batch.
#[derive(Debug, Clone, Copy)]
pub struct Gather {
    /// What it is taken from.
    pub resident: Resident,
    /// Which images it has.
    pub rows: BatchRows,
    /// Images of the batch, at least 1.
    pub images: usize,
    /// Pixels of an image.
    pub pixels: usize,
    /// Conditions of an image.
    pub told: usize,
    /// Out: bf16 `[images, pixels, channels]`: pixel, conditions, zeros; none: not wanted.
    pub input: Address,
    /// A multiple of 8, more than `told`.
    pub channels: usize,
    /// Out: bf16 `[images, pixels, LONELY]`: pixel, zeros; none: not wanted.
    pub lonely: Address,
    /// Out: f32 `[images, pixels]`; none: not wanted.
    pub target: Address,
    /// Out: bf16 `[images, code_pitch]`: conditions from `latents` on, then zeros; none: not wanted.
    pub code: Address,
    /// Numbers of a code.
    pub latents: usize,
    /// At least as many as latents and conditions.
    pub code_pitch: usize,
}

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Params {
    start: Address,
    pixel: Address,
    value: Address,
    conditions: Address,
    rows: BatchRows,
    input: Address,
    lonely: Address,
    target: Address,
    code: Address,
    images: u32,
    pixels: u32,
    told: u32,
    channels: u32,
    latents: u32,
    code_pitch: u32,
}

const _: () = assert!(size_of::<Params>() == 112);

const THREADS: u32 = 128;

impl Gather {
    /// The launch.
    ///
    /// # Panics
    /// On sizes and addresses that the kernel does not take.
    pub fn launch(&self) -> Launch {
        assert!(self.channels.is_multiple_of(8) && self.channels > self.told);
        assert!(self.latents + self.told <= self.code_pitch && self.pixels <= 1 << 16);
        assert!((1..1 << 31).contains(&self.images));
        assert!(
            [self.input, self.lonely]
                .iter()
                .all(|a| a.0.is_multiple_of(16))
        );
        assert!(self.target.0.is_multiple_of(4) && self.code.0.is_multiple_of(2));
        let parameter = Params {
            start: self.resident.start,
            pixel: self.resident.pixel,
            value: self.resident.value,
            conditions: self.resident.conditions,
            rows: self.rows,
            input: self.input,
            lonely: self.lonely,
            target: self.target,
            code: self.code,
            images: self.images as u32,
            pixels: self.pixels as u32,
            told: self.told as u32,
            channels: self.channels as u32,
            latents: self.latents as u32,
            code_pitch: self.code_pitch as u32,
        };
        Launch::new("vae_gather", self.images as u32, THREADS, &parameter)
    }
}
