//! Images as they lie on the device, ready to be gathered into batches.

use std::sync::Arc;

use super::ops::gather::Resident;
use crate::conditions::ConditionedImages;
use crate::device::cuda::device::{Device, Memory};
use crate::families::vae::Vae;
use crate::family::EngineError;
use crate::family::cuda::check_rows;

/// Compressed sparse rows of images and their conditions, on the device.
pub(super) struct ResidentImages {
    images: usize,
    start: Memory<u64>,
    pixel: Memory<u16>,
    value: Memory<f32>,
    conditions: Memory<f32>,
}

impl ResidentImages {
    /// Bytes that [`new`](Self::new) takes.
    pub fn bytes(data: &ConditionedImages) -> u64 {
        let images = data.images.len();
        (8 * (images + 1) + 6 * data.images.nonzeros() + 4 * data.conditions.width() * images)
            as u64
    }

    /// Copy the images of `data`, which are `model`'s, to the device.
    pub fn new(
        device: &Arc<dyn Device>,
        model: &Vae,
        data: &ConditionedImages,
    ) -> Result<Self, EngineError> {
        let unit = model.config.loss.unit as f32;
        let (starts, pixels, values) = data.images.csr();
        let start: Vec<u64> = starts.to_vec();
        let value: Vec<f32> = values.iter().map(|x| x / unit).collect();
        let images = data.images.len();
        let conditions: Vec<f32> = (0..images as u64)
            .flat_map(|row| data.conditions.row(row).iter().copied())
            .collect();
        Ok(Self {
            images,
            start: Memory::from(device, &start)?,
            pixel: Memory::from(device, pixels)?,
            value: Memory::from(device, &value)?,
            conditions: Memory::from(device, &conditions)?,
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.images
    }

    /// Check that there is an image for each of `rows`.
    pub fn check_rows(&self, rows: &[u32]) -> Result<(), EngineError> {
        check_rows(rows, self.images)
    }

    /// Where they lie.
    pub fn addresses(&self) -> Resident {
        Resident {
            start: self.start.address(),
            pixel: self.pixel.address(),
            value: self.value.address(),
            conditions: self.conditions.address(),
        }
    }
}
