//! `compact_starts`, `compact_pixels`: drawn images, each in its own slot, to sparse images one after another;
//! `kernels/common/compact.cu`.

use bytemuck::{Pod, Zeroable};

use crate::device::cuda::device::{Address, Launch};

/// Images as a sampler leaves them, and where they are to lie.
#[derive(Debug, Clone, Copy)]
pub struct Compact {
    /// u16 `[images, pixels]`: row-major indices of an image's nonzero pixels, distinct, in any order, from the
    /// beginning of its row on.
    pub slot_pixel: Address,
    /// f32 `[images, pixels]`: GeV, in the same order.
    pub slot_value: Address,
    /// u32 `[images]`: nonzero pixels of each, up to `pixels`. Aligned to 16 bytes.
    pub counts: Address,
    /// Images, at least 1. `images * pixels` is below 2^32.
    pub images: usize,
    /// Pixels of an image, up to 65 536.
    pub pixels: usize,
    /// Out: u32 `[images + 1]`: where an image's pixels begin; the last is how many there are in all. Aligned to 16
    /// bytes.
    pub starts: Address,
    /// Out: u16, pixel indices of one image after another, ascending in each. Room for `images * pixels`, if every
    /// pixel may be nonzero.
    pub out_pixel: Address,
    /// Out: f32, their values, GeV. As many.
    pub out_value: Address,
}

/// `CompactParams` of `kernels/common/compact.cu`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Params {
    slot_pixel: Address,
    slot_value: Address,
    counts: Address,
    starts: Address,
    out_pixel: Address,
    out_value: Address,
    images: u32,
    pixels: u32,
}

/// One block adds up all counts.
const STARTS_THREADS: u32 = 1024;
/// Two rows of one sum a warp.
const STARTS_SHARED: u32 = 2 * 32 * 4;
/// A warp writes an image.
const PIXELS_THREADS: u32 = 128;

/// Shared memory of a block of `compact_pixels`, bytes: for each 32 pixels, rounded up to a word a lane, a bitmap
/// and a u16. 48 KiB, which any card gives, for the largest images.
fn pixels_shared(pixels: u32) -> u32 {
    let words = 32 * pixels.div_ceil(1024);
    PIXELS_THREADS / 32 * words * 6
}

impl Compact {
    /// The two launches, in this order.
    ///
    /// # Panics
    /// On sizes and addresses that the kernels do not take.
    pub fn launches(&self) -> Vec<Launch> {
        assert!((1..=1 << 16).contains(&self.pixels), "pixels are u16");
        let fits = self.images.checked_mul(self.pixels);
        assert!(
            self.images >= 1 && fits.is_some_and(|n| u32::try_from(n).is_ok()),
            "{} images of {} pixels",
            self.images,
            self.pixels
        );
        assert!(self.counts.0.is_multiple_of(16) && self.starts.0.is_multiple_of(16));
        assert!(self.slot_pixel.0.is_multiple_of(2) && self.out_pixel.0.is_multiple_of(2));
        assert!(self.slot_value.0.is_multiple_of(4) && self.out_value.0.is_multiple_of(4));
        let parameter = Params {
            slot_pixel: self.slot_pixel,
            slot_value: self.slot_value,
            counts: self.counts,
            starts: self.starts,
            out_pixel: self.out_pixel,
            out_value: self.out_value,
            images: self.images as u32,
            pixels: self.pixels as u32,
        };
        let starts = Launch::new("compact_starts", 1, STARTS_THREADS, &parameter);
        let blocks = parameter.images.div_ceil(PIXELS_THREADS / 32);
        let pixels = Launch::new("compact_pixels", blocks, PIXELS_THREADS, &parameter);
        vec![
            starts.with_shared(STARTS_SHARED),
            pixels.with_shared(pixels_shared(parameter.pixels)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_is_as_large_as_the_kernel_says() {
        assert_eq!(size_of::<Params>(), 56);
    }

    #[test]
    fn the_largest_image_needs_what_any_card_gives() {
        assert_eq!(pixels_shared(1), 4 * 32 * 6);
        assert_eq!(pixels_shared(1024), 4 * 32 * 6);
        assert_eq!(pixels_shared(1025), 4 * 64 * 6);
        assert_eq!(pixels_shared(1 << 16), 48 << 10);
    }
}
