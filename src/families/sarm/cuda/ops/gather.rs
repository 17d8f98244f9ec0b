//! `gather_batch`: the images of a batch out of the resident data set; `kernels/sarm/gather.cu`.

use bytemuck::{Pod, Zeroable};

use crate::device::cuda::device::{Address, Launch};

/// Images, one after another, as they lie on the device. Image i has entries `start[i] .. start[i + 1]`.
#[derive(Debug, Clone, Copy)]
pub struct Resident {
    /// u64 `[images + 1]`
    pub start: Address,
    /// u16 a positive pixel: its place in the drawing order, distinct within an image.
    pub place: Address,
    /// bf16 `[channels]` a positive pixel: what the network is shown of it.
    pub shown: Address,
    /// 32 bits a positive pixel, not 0: GeV as f32 (D+C), level + 1 as u32 (D+D).
    pub target: Address,
    /// f32 a positive pixel: [`Mixture::limit`](crate::likelihood::Mixture::limit), of which the size is what is
    /// left before it. NULL where no total is known.
    pub limit: Address,
    /// u32 `[images]`, with `limit`: the place from which on nothing is left. A positive pixel there counts as none.
    pub certain: Address,
    /// f32 `[images]`, with `limit`: GeV left before the first pixel. NULL where nobody asks what is left before a zero; else
    /// targets are GeV.
    pub total: Address,
    /// bf16 `[images, conditions]`; NULL without conditions.
    pub conditions: Address,
    /// Conditions of an image.
    pub condition_count: usize,
    /// Numbers that are shown of a pixel, at least 1.
    pub channels: usize,
    /// Pixels of an image.
    pub places: usize,
}

/// A batch to gather.
#[derive(Debug, Clone, Copy)]
pub struct Gather {
    /// Where the images are.
    pub data: Resident,
    /// u32: images of one batch after another, each below the number of resident images.
    pub rows: Address,
    /// u32: which batch of `rows` it is. NULL: the first.
    pub cursor: Address,
    /// Images in it.
    pub batch: usize,
    /// Out: bf16 `[batch, pitch]`: conditions, then all channels of the pixels in drawing order, then zeros.
    pub shown: Address,
    /// Columns of `shown` in memory, a multiple of 8.
    pub pitch: usize,
    /// Out: 32 bits `[batch, places]`, 0 for a pixel that is zero, all ones from `certain` on.
    pub target: Address,
    /// Out, where totals are known: f32 `[batch, places]`, the limit of each positive pixel. Others are not written or, with
    /// `total`, are GeV left before the pixel.
    pub limit: Address,
}

/// `GatherParams` of `kernels/sarm/gather.cu`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Params {
    start: Address,
    place: Address,
    shown: Address,
    target: Address,
    limit: Address,
    certain: Address,
    total: Address,
    conditions: Address,
    rows: Address,
    cursor: Address,
    shown_out: Address,
    target_out: Address,
    limit_out: Address,
    batch: u32,
    places: u32,
    condition_count: u32,
    pitch: u32,
    channels: u32,
    padding: u32,
}

/// A warp gathers an image; few warps a block spread a small batch over the card.
const THREADS: u32 = 128;

/// Target of a pixel that is zero with certainty, because nothing is left of its image's total.
pub const CERTAIN: u32 = u32::MAX;

impl Gather {
    /// The launch.
    ///
    /// # Panics
    /// On sizes and addresses that the kernel does not take.
    pub fn launch(&self) -> Launch {
        let data = &self.data;
        let columns = data.condition_count + data.channels * data.places;
        assert!(self.pitch.is_multiple_of(8) && self.pitch >= columns && data.channels >= 1);
        assert!((1..=1 << 16).contains(&data.places), "places are u16");
        assert!(self.shown.0.is_multiple_of(16) && self.target.0.is_multiple_of(4));
        assert!((data.limit == Address::NULL) == (self.limit == Address::NULL));
        assert!((data.limit == Address::NULL) == (data.certain == Address::NULL));
        assert!(data.total == Address::NULL || data.limit != Address::NULL);
        assert!(data.limit.0.is_multiple_of(4) && self.limit.0.is_multiple_of(4));
        assert!(data.condition_count == 0 || data.conditions != Address::NULL);
        let parameter = Params {
            start: data.start,
            place: data.place,
            shown: data.shown,
            target: data.target,
            limit: data.limit,
            certain: data.certain,
            total: data.total,
            conditions: data.conditions,
            rows: self.rows,
            cursor: self.cursor,
            shown_out: self.shown,
            target_out: self.target,
            limit_out: self.limit,
            batch: u32::try_from(self.batch).expect("batches are below 2^32"),
            places: data.places as u32,
            condition_count: data.condition_count as u32,
            pitch: self.pitch as u32,
            channels: data.channels as u32,
            padding: 0,
        };
        let images_per_block = THREADS / 32;
        let blocks = parameter.batch.div_ceil(images_per_block);
        Launch::new("gather_batch", blocks, THREADS, &parameter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_is_as_large_as_the_kernel_says() {
        assert_eq!(size_of::<Params>(), 128);
    }
}
