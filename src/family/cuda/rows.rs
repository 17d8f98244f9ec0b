//! Where images lie on a device: as they are drawn, and as the host takes them.

use std::sync::Arc;

use crate::device::cuda::device::{Address, Device, Launch, Memory};
use crate::device::cuda::ops::compact::Compact;
use crate::family::EngineError;

/// Where a launch leaves the nonzero pixels of its images, in the order of drawing: room for all pixels of each.
pub struct Slots {
    pixel: Memory<u16>,
    value: Memory<f32>,
    counts: Memory<u32>,
    pixels: usize,
}

impl Slots {
    /// For `images` images of `pixels` pixels.
    ///
    /// # Errors
    /// As [`Memory::zeros`].
    pub fn new(
        device: &Arc<dyn Device>,
        images: usize,
        pixels: usize,
    ) -> Result<Self, EngineError> {
        Ok(Self {
            pixel: Memory::zeros(device, images * pixels)?,
            value: Memory::zeros(device, images * pixels)?,
            counts: Memory::zeros(device, images)?,
            pixels,
        })
    }

    /// u16 `[images, pixels]` from image number `first` on: the first pixels of each row are its nonzero ones.
    ///
    /// # Panics
    /// Where there are no `images` images from `first` on.
    pub fn pixel(&self, first: usize, images: usize) -> Address {
        assert!(first + images <= self.counts.len());
        self.pixel.at(first * self.pixels)
    }

    /// f32 `[images, pixels]`, GeV, likewise.
    ///
    /// # Panics
    /// As [`pixel`](Self::pixel).
    pub fn value(&self, first: usize, images: usize) -> Address {
        assert!(first + images <= self.counts.len());
        self.value.at(first * self.pixels)
    }

    /// u32 `[images]`: how many of each row.
    ///
    /// # Panics
    /// As [`pixel`](Self::pixel).
    pub fn counts(&self, first: usize, images: usize) -> Address {
        assert!(first + images <= self.counts.len());
        self.counts.at(first)
    }

    /// The launches that turn the first `images` images into `rows`.
    ///
    /// # Panics
    /// Without images; where there are fewer images here, or less room there; where all their pixels do not fit into 32 bits.
    pub fn compact(&self, images: usize, rows: &Rows) -> Vec<Launch> {
        let numbers = images * self.pixels;
        assert!(rows.starts.len() > images);
        assert!(rows.pixels.len() >= numbers && rows.values.len() >= numbers);
        let compact = Compact {
            slot_pixel: self.pixel(0, images),
            slot_value: self.value(0, images),
            counts: self.counts(0, images),
            images,
            pixels: self.pixels,
            starts: rows.starts.address(),
            out_pixel: rows.pixels.address(),
            out_value: rows.values.address(),
        };
        compact.launches()
    }
}

/// The images of a launch as compressed sparse rows.
pub struct Rows {
    /// `[images + 1]`
    pub starts: Memory<u32>,
    /// Row-major pixels, ascending in each image.
    pub pixels: Memory<u16>,
    /// GeV.
    pub values: Memory<f32>,
}

impl Rows {
    /// For `images` images of `pixels` pixels.
    ///
    /// # Errors
    /// As [`Memory::zeros`].
    pub fn new(
        device: &Arc<dyn Device>,
        images: usize,
        pixels: usize,
    ) -> Result<Self, EngineError> {
        Ok(Self {
            starts: Memory::zeros(device, images + 1)?,
            pixels: Memory::zeros(device, images * pixels)?,
            values: Memory::zeros(device, images * pixels)?,
        })
    }
}

/// Bytes of device memory that an image of `pixels` pixels takes in [`Slots`] and in `copies` [`Rows`].
pub fn bytes_per_image(pixels: usize, copies: usize) -> u64 {
    ((1 + copies) * (6 * pixels + 4)) as u64
}
