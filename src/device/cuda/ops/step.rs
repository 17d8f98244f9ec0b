//! `finish_step`: the batch's cost, and on to the next step; `kernels/common/step.cu`.

use bytemuck::{Pod, Zeroable};

use crate::device::cuda::device::{Address, Launch};

/// The end of a step, or of a batch that is scored.
#[derive(Debug, Clone, Copy)]
pub struct FinishStep {
    /// f32 `[parts, images]`, nats: what the likelihood kernel wrote.
    pub nll: Address,
    /// Parts of all stages.
    pub parts: usize,
    /// Images in the batch.
    pub images: usize,
    /// Out: f64 `[images]`, nats: the cost of each. NULL: not wanted.
    pub image_nll: Address,
    /// Out: f64 `[steps]`, nats: number `cursor` becomes the mean cost. NULL: not wanted.
    pub losses: Address,
    /// u32: which step it is; becomes the next. NULL: the first, and stays.
    pub cursor: Address,
}

/// `FinishParams` of `kernels/common/step.cu`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Params {
    nll: Address,
    image_nll: Address,
    losses: Address,
    cursor: Address,
    parts: u32,
    images: u32,
}

/// One block adds everything, so that the order of the sums is fixed.
const THREADS: u32 = 1024;

impl FinishStep {
    /// The launch.
    ///
    /// # Panics
    /// On sizes and addresses that the kernel does not take.
    pub fn launch(&self) -> Launch {
        assert!(self.images >= 1 && self.parts >= 1);
        assert!(self.image_nll.0.is_multiple_of(8) && self.losses.0.is_multiple_of(8));
        let parameter = Params {
            nll: self.nll,
            image_nll: self.image_nll,
            losses: self.losses,
            cursor: self.cursor,
            parts: u32::try_from(self.parts).expect("parts are below 2^32"),
            images: u32::try_from(self.images).expect("batches are below 2^32"),
        };
        let threads = (self.images.next_multiple_of(32)).min(THREADS as usize) as u32;
        Launch::new("finish_step", 1, threads, &parameter).with_shared(threads * 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_is_as_large_as_the_kernel_says() {
        assert_eq!(size_of::<Params>(), 40);
    }
}
