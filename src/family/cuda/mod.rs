//! CUDA devices, whatever the family. Drawing: what a launch leaves behind, what its images are told, and the sampler that keeps a device
//! busy. Training: recorded steps and their control.

mod recorded;
mod rows;
mod sampler;
mod shown;
mod steps;

pub(crate) use recorded::Judging;
pub use recorded::{Plan, RecordedBatch};
pub use rows::{Rows, Slots, bytes_per_image};
pub use sampler::CudaSampler;
pub use shown::Shown;
pub use steps::Chunk;
pub(crate) use steps::{Learner, Steps, check_rows};

use std::sync::Arc;

use super::several::Several;
use super::{EngineError, Sampler};
use crate::device::Card;
use crate::device::cuda::device::{Device, Launch};

/// A model on a device with seed and conditions: all that an image depends on but its number.
pub trait Drawing: Send {
    /// What the images of a launch are told, on the device.
    type Shown: Send;

    /// Bytes of device memory that it takes.
    fn bytes(&self) -> u64;

    /// Images that the device draws at a time.
    fn wave(&self) -> usize;

    /// Images that are drawn together: fewer in a launch leave something idle.
    fn tile(&self) -> usize;

    /// Bytes that a [`Shown`](Self::Shown) takes of each image that a launch draws, at the most.
    fn shown_bytes(&self) -> u64;

    /// Room for what `images` images of a launch are told.
    ///
    /// # Errors
    /// As [`Memory::zeros`](crate::device::cuda::device::Memory::zeros).
    fn shown(&self, device: &Arc<dyn Device>, images: usize) -> Result<Self::Shown, EngineError>;

    /// Send what the images number `first .. first + images` are told to `shown`, which has room for as many and which no
    /// launch to come reads for other images.
    ///
    /// # Errors
    /// Conditions that cannot be drawn or are not the model's; a device that fails.
    fn show(&self, shown: &mut Self::Shown, first: u64, images: usize) -> Result<(), EngineError>;

    /// The launches that leave the pixels of the images number `first .. first + images`, at least one, in `slots`, which have room
    /// for as many; what they are told is in `shown`. Launches of one drawing may not run at the same time.
    ///
    /// # Errors
    /// A shape that the kernels do not take.
    ///
    /// # Panics
    /// Where `slots` have less room; where the pixels of all images do not fit into 32 bits; where nothing was
    /// [shown](Self::show) to images with conditions.
    fn launches(
        &self,
        first: u64,
        images: usize,
        shown: &Self::Shown,
        slots: &Slots,
    ) -> Result<Vec<Launch>, EngineError>;
}

/// What draws on `cards`: `sampler` of one, or of each of several, which share the images.
///
/// # Errors
/// Those of `sampler`; no cards.
pub fn on_cards(
    cards: &[Card],
    sampler: impl Fn(&Card) -> Result<Box<dyn Sampler>, EngineError>,
) -> Result<Box<dyn Sampler>, EngineError> {
    if let [card] = cards {
        return sampler(card);
    }
    let samplers = cards
        .iter()
        .map(|card| Ok((card.name.clone(), sampler(card)?)));
    let samplers = samplers.collect::<Result<_, EngineError>>()?;
    Ok(Box::new(Several::new(samplers)?))
}
