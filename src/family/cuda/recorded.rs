//! A batch's buffers with the recordings that use them, one for each number of images.

use std::collections::HashMap;
use std::sync::Arc;

use crate::device::DeviceError;
use crate::device::cuda::device::{Device, Launch, Memory, Recording};
use crate::device::cuda::room::check_room;
use crate::family::EngineError;

/// Numbers of images whose recording is kept; an epoch has two.
const MOST: usize = 8;

/// Launches, and the scratch memory that they use.
pub struct Plan {
    launches: Vec<Launch>,
    /// Kept alive for them.
    _scratch: Option<Memory<f32>>,
}

impl Plan {
    /// Of launches that use `scratch` and memory that others keep.
    pub fn new(launches: Vec<Launch>, scratch: Option<Memory<f32>>) -> Self {
        Self {
            launches,
            _scratch: scratch,
        }
    }

    /// Run its launches once, now.
    ///
    /// # Errors
    /// A launch or the work of the device that fails.
    ///
    /// # Safety
    /// The launches are of memory that is there, and hold whatever lies in it.
    pub(crate) unsafe fn run(&self, device: &Arc<dyn Device>) -> Result<(), DeviceError> {
        for launch in &self.launches {
            // SAFETY: by this function's contract; their memory outlives the call, which waits below.
            unsafe { device.launch(launch)? };
        }
        device.synchronise()
    }
}

/// Launches that were recorded.
struct Recorded {
    recording: Box<dyn Recording>,
    /// Its scratch memory, kept for as long as it may be replayed.
    _plan: Plan,
}

/// Buffers and recordings.
pub struct RecordedBatch<B> {
    // Dropped first: they refer to the buffers.
    recordings: HashMap<usize, Recorded>,
    batch: B,
}

impl<B> RecordedBatch<B> {
    /// Nothing is recorded yet.
    pub fn new(batch: B) -> Self {
        Self {
            recordings: HashMap::new(),
            batch,
        }
    }

    /// The buffers.
    pub fn batch(&self) -> &B {
        &self.batch
    }

    /// Forget what was recorded: something that it refers to will be gone.
    pub fn forget(&mut self) {
        self.recordings.clear();
    }

    /// What `plan` says for `images` images, recorded now if it is not yet.
    ///
    /// # Errors
    /// Those of `plan`; a device that fails.
    ///
    /// # Safety
    /// The plan's launches are of these buffers and of memory that stays until [`forget`](Self::forget) or the
    /// drop, and hold whatever is gathered: rows are below the number of resident images at every replay.
    pub(crate) unsafe fn recording(
        &mut self,
        device: &Arc<dyn Device>,
        images: usize,
        plan: impl FnOnce(&B) -> Result<Plan, EngineError>,
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

/// Images that are judged together.
const JUDGED: usize = 1024;

/// A batch that judges images, and which they are.
pub(crate) struct Judging<B> {
    recorded: RecordedBatch<B>,
    rows: Memory<u32>,
}

impl<B> Judging<B> {
    /// `bytes` and `batch`: what a batch of so many images takes, and its buffers.
    ///
    /// # Errors
    /// Too little memory.
    pub fn new(
        device: &Arc<dyn Device>,
        bytes: impl Fn(usize) -> u64,
        batch: impl Fn(usize) -> Result<B, EngineError>,
    ) -> Result<Self, EngineError> {
        let needed = bytes(JUDGED) + 4 * JUDGED as u64;
        let what = format!("judging {JUDGED} images at once");
        check_room(
            device,
            &[(needed, what)],
            "use another card or --device cpu",
        )?;
        Ok(Self {
            recorded: RecordedBatch::new(batch(JUDGED)?),
            rows: Memory::zeros(device, JUDGED)?,
        })
    }

    /// `read` what the batch says of the images number `rows`, some at a time; `plan` says what to launch for as many, whose rows are in
    /// that memory.
    ///
    /// # Errors
    /// Those of `plan` and `read`; a device that fails.
    ///
    /// # Safety
    /// The plan's launches are of the batch, the rows and of memory that stays for as long as this, the same at every call; `rows` are
    /// those of images in it.
    pub unsafe fn judge(
        &mut self,
        device: &Arc<dyn Device>,
        rows: &[u32],
        plan: impl Fn(&B, &Memory<u32>, usize) -> Result<Plan, EngineError>,
        mut read: impl FnMut(&B, usize) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        for rows in rows.chunks(JUDGED) {
            let images = rows.len();
            self.rows.write(0, rows)?;
            let buffer = &self.rows;
            let plan = |batch: &B| plan(batch, buffer, images);
            // SAFETY: by this function's contract; the rows' memory is never replaced.
            let recording = unsafe { self.recorded.recording(device, images, plan)? };
            recording.replay()?;
            read(self.recorded.batch(), images)?;
        }
        Ok(())
    }
}
