//! `left_update`: gradients of the weights of what is left, and what becomes of them; `kernels/sarm/left.cu`.

use bytemuck::{Pod, Zeroable};

use super::MOST_STAGES;
use super::cells::{Batch, StageOutput};
use super::levels::Moments;
use crate::device::cuda::device::{Address, Launch};
use crate::families::sarm::Left;

/// What becomes of a stage's gradient.
#[derive(Debug, Clone, Copy)]
pub enum LeftChange {
    /// A step of Adam on f32 `[pixels, numbers, functions]`.
    Adam(Moments),
    /// It is stored, likewise.
    Store(Address),
}

/// The gradient of a batch by the weights of what is left, all stages of a model.
#[derive(Debug, Clone, Copy)]
pub struct LeftUpdate<'a> {
    /// Which functions there are.
    pub left: Left,
    /// The batch that the likelihood was taken of.
    pub batch: Batch,
    /// f32 `[images, places]`, as gathered with totals: the size of each is what is left before the pixel.
    pub limit: Address,
    /// Numbers of a pixel, its gate first.
    pub numbers: usize,
    /// Derivatives of each stage's numbers, and where its weights are.
    pub stages: &'a [(StageOutput, LeftChange)],
    /// `AdamRates` of each step, and u32: which step it is. NULL: the first.
    pub rates: Address,
    /// u32: which step it is. NULL: the first.
    pub cursor: Address,
}

/// `LeftStage` of `kernels/sarm/left.cu`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Stage {
    delta: Address,
    value: Address,
    first: Address,
    second: Address,
    pitch: u32,
    pixels: u32,
    first_place: u32,
    first_block: u32,
}

/// `LeftParams` there.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Params {
    rates: Address,
    cursor: Address,
    target: Address,
    limit: Address,
    images: u32,
    places: u32,
    numbers: u32,
    terms: u32,
    inverse_mean: f32,
    stage_count: u32,
    stages: [Stage; MOST_STAGES],
}

/// Threads of a block.
pub(super) const THREADS: usize = 256;

/// `LeftShared` there, bytes.
const SHARED: usize = 4 * (THREADS * (Left::MOST + 1) + 8 * Left::MOST + 32);

impl LeftUpdate<'_> {
    /// The launches, one for a model of up to 16 stages.
    ///
    /// # Panics
    /// On sizes and addresses that the kernel does not take.
    pub fn launches(&self) -> Vec<Launch> {
        let (terms, batch) = (self.left.terms, &self.batch);
        assert!((1..=Left::MOST).contains(&terms) && self.numbers >= 2 && batch.images >= 1);
        assert!(self.limit != Address::NULL && self.limit.0.is_multiple_of(4));
        // Images are counted in steps of a block's threads.
        assert!(batch.images < 1 << 31);
        let of_group = |group: &[(StageOutput, LeftChange)]| {
            let mut parameter = Params {
                rates: self.rates,
                cursor: self.cursor,
                target: batch.target,
                limit: self.limit,
                images: batch.images as u32,
                places: batch.places as u32,
                numbers: self.numbers as u32,
                terms: terms as u32,
                inverse_mean: self.left.inverse_mean(),
                stage_count: group.len() as u32,
                stages: Zeroable::zeroed(),
            };
            let mut blocks = 0;
            for (to, (stage, change)) in parameter.stages.iter_mut().zip(group) {
                assert!(stage.pixels >= 1 && stage.first_place + stage.pixels <= batch.places);
                assert!(stage.pitch >= stage.pixels * self.numbers && stage.delta != Address::NULL);
                let [value, first, second] = match change {
                    LeftChange::Adam(all) => {
                        assert!(all.first != Address::NULL && self.rates != Address::NULL);
                        [all.value, all.first, all.second]
                    }
                    LeftChange::Store(to) => [*to, Address::NULL, Address::NULL],
                };
                assert!([value, first, second].iter().all(|a| a.0.is_multiple_of(4)));
                *to = Stage {
                    delta: stage.delta,
                    value,
                    first,
                    second,
                    pitch: u32::try_from(stage.pitch).expect("a row has less than 2^32 numbers"),
                    pixels: stage.pixels as u32,
                    first_place: stage.first_place as u32,
                    first_block: blocks,
                };
                blocks += stage.pixels as u32;
            }
            let shared = SHARED + 4 * (self.numbers - 1) * terms;
            Launch::new("left_update", blocks, THREADS as u32, &parameter)
                .with_shared(shared as u32)
        };
        self.stages.chunks(MOST_STAGES).map(of_group).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_as_large_as_the_kernel_says() {
        assert_eq!(size_of::<Stage>(), 48);
        assert_eq!(size_of::<Params>(), 56 + 48 * MOST_STAGES);
    }
}
