//! A batch's buffers with the recordings that use them, one for each number of images.

use std::collections::HashMap;
use std::sync::Arc;

use super::batch::Batch;
use super::step::Plan;
use crate::device::cuda::device::{Device, Recording};
use crate::family::EngineError;

/// Numbers of images whose recording is kept; an epoch has two.
const MOST: usize = 8;

/// Launches that were recorded.
struct Recorded {
    recording: Box<dyn Recording>,
    /// Its scratch memory, kept for as long as it may be replayed.
    _plan: Plan,
}

/// Buffers and recordings.
pub struct RecordedBatch {
    // Dropped first: they refer to the buffers.
    recordings: HashMap<usize, Recorded>,
    batch: Batch,
}

impl RecordedBatch {
    /// Nothing is recorded yet.
    pub fn new(batch: Batch) -> Self {
        Self {
            recordings: HashMap::new(),
            batch,
        }
    }

    /// The buffers.
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// Forget what was recorded: something that it refers to will be gone.
    pub fn forget(&mut self) {
        self.recordings.clear();
    }

    /// What `plan` says for `images` images, recorded now if it is not yet.
    ///
    /// # Safety
    /// The plan's launches are of these buffers and of memory that stays until [`forget`](Self::forget) or the
    /// drop, and hold whatever is gathered: rows are below the number of resident images at every replay.
    pub unsafe fn recording(
        &mut self,
        device: &Arc<dyn Device>,
        images: usize,
        plan: impl FnOnce(&Batch) -> Result<Plan, EngineError>,
    ) -> Result<&dyn Recording, EngineError> {
        if !self.recordings.contains_key(&images) {
            let plan = plan(&self.batch)?;
            // SAFETY: by this function's contract; the launchers checked shapes.
            let recording = unsafe { device.record(&plan.launches)? };
            if self.recordings.len() == MOST {
                self.recordings.clear();
            }
            let recorded = Recorded {
                recording,
                _plan: plan,
            };
            self.recordings.insert(images, recorded);
        }
        Ok(self.recordings[&images].recording.as_ref())
    }
}
