//! Training on a device, whatever the family: the images live there, a step is one recorded sequence of launches, and nothing
//! crosses the bus in it.
//!
//! The host sends the rows and the learning rates of a chunk of steps ahead and reads their losses
//! afterwards. Every kernel adds in an order that depends on shapes and card alone, so the same run on
//! the same card ends in the same bits.

use std::sync::Arc;

use super::recorded::{Plan, RecordedBatch};
use crate::device::cuda::device::{Device, Memory};
use crate::device::cuda::room::check_room;
use crate::family::EngineError;
use crate::nn::adam::{AdamRule, Rates};

/// Rows that are sent ahead, unless a batch is larger.
const ROWS_AHEAD: usize = 1 << 18;
/// Images of a batch: with up to 256 parts of an image, kernels count them in 32 bits.
const MOST_IMAGES: usize = 1 << 22;
/// Steps that are sent ahead.
const STEPS_AHEAD: usize = 4096;

/// The control of a chunk of steps: which images, at which rates, and what came of it.
pub struct Chunk {
    /// Rows of the resident images, batch after batch.
    pub rows: Memory<u32>,
    /// Adam's constants of each step: `AdamRates` of `kernels/common/adam.cuh`.
    pub rates: Memory<[f32; 3]>,
    /// Mean cost of each step's batch, nats.
    pub losses: Memory<f64>,
    /// The step to do next.
    pub cursor: Memory<u32>,
    /// Steps that were done before the chunk.
    pub before: Memory<u64>,
}

impl Chunk {
    fn new(device: &Arc<dyn Device>, rows: usize) -> Result<Self, EngineError> {
        Ok(Self {
            rows: Memory::zeros(device, rows)?,
            rates: Memory::zeros(device, STEPS_AHEAD)?,
            losses: Memory::zeros(device, STEPS_AHEAD)?,
            cursor: Memory::zeros(device, 1)?,
            before: Memory::zeros(device, 1)?,
        })
    }

    /// Bytes that one for batches of `images` images takes.
    pub fn bytes(images: usize) -> u64 {
        (4 * ROWS_AHEAD.max(images) + 20 * STEPS_AHEAD + 12) as u64
    }
}

/// Check that there is an image for each of `rows` among the `images` on the device.
pub(crate) fn check_rows(rows: &[u32], images: usize) -> Result<(), EngineError> {
    match rows.iter().find(|row| **row as usize >= images) {
        None => Ok(()),
        Some(row) => Err(EngineError::Mismatch(format!(
            "image {row} is not among the {images} on the device"
        ))),
    }
}

/// A model in training on a device, all but its steps' control.
///
/// # Safety
/// Launches of its plans are of the batch, the chunk and memory that it holds as long as it lives, none of which they leave, whatever rows
/// that [`check_rows`](Self::check_rows) accepts the chunk has.
pub(crate) unsafe trait Learner {
    /// Buffers of a batch.
    type Batch;

    /// Refuse rows that are not among the resident images.
    fn check_rows(&self, rows: &[u32]) -> Result<(), EngineError>;

    /// How many these are.
    fn images(&self) -> usize;

    /// Bytes that buffers for batches of `images` images take.
    fn batch_bytes(&self, images: usize) -> u64;

    /// Buffers for batches of up to `images` images.
    fn batch(&self, images: usize) -> Result<Self::Batch, EngineError>;

    /// A step of Adam on the next `images` images of `chunk`.
    fn step(&self, batch: &Self::Batch, chunk: &Chunk, images: usize) -> Result<Plan, EngineError>;
}

/// Buffers for batches of up to so many images.
struct Taken<B> {
    capacity: usize,
    recorded: RecordedBatch<B>,
}

/// A learner, and the steps that it does.
pub(crate) struct Steps<L: Learner> {
    // Dropped first, and in this order: recordings refer to what comes after them.
    taken: Option<Taken<L::Batch>>,
    chunk: Chunk,
    learner: L,
    device: Arc<dyn Device>,
    done: u64,
}

impl<L: Learner> Steps<L> {
    /// None is done yet.
    pub fn new(device: &Arc<dyn Device>, learner: L) -> Result<Self, EngineError> {
        Ok(Self {
            taken: None,
            chunk: Chunk::new(device, ROWS_AHEAD)?,
            learner,
            device: Arc::clone(device),
            done: 0,
        })
    }

    /// What learns.
    pub fn learner(&self) -> &L {
        &self.learner
    }

    /// The same, to restore it. Its memory stays where it is.
    pub fn learner_mut(&mut self) -> &mut L {
        &mut self.learner
    }

    /// How many were done.
    pub fn done(&self) -> u64 {
        self.done
    }

    /// So many were done.
    pub fn set_done(&mut self, done: u64) {
        self.done = done;
    }

    /// Buffers for batches of `images` images, taken out: the caller puts them back.
    fn take(&mut self, images: usize) -> Result<Taken<L::Batch>, EngineError> {
        match self.taken.take() {
            Some(taken) if taken.capacity >= images => return Ok(taken),
            // Given back before more is asked for.
            smaller => drop(smaller),
        }
        if images > MOST_IMAGES {
            return Err(EngineError::Mismatch(format!(
                "a batch of {images} images is too large for a CUDA device (it takes up to {MOST_IMAGES}); train with a smaller batch or with --device cpu"
            )));
        }
        let mut bytes = self.learner.batch_bytes(images);
        let is_longer = self.chunk.rows.len() < images;
        if is_longer {
            bytes += Chunk::bytes(images);
        }
        check_room(
            &self.device,
            &[(bytes, format!("a batch of {images} images"))],
            "train with a smaller batch or with --device cpu",
        )?;
        if is_longer {
            self.chunk = Chunk::new(&self.device, images)?;
        }
        Ok(Taken {
            capacity: images,
            recorded: RecordedBatch::new(self.learner.batch(images)?),
        })
    }

    /// Steps on whole batches of `images` images each, all of which fit into the chunk.
    fn run(
        &mut self,
        taken: &mut Taken<L::Batch>,
        rows: &[u32],
        images: usize,
        rates: Rates,
    ) -> Result<Vec<f64>, EngineError> {
        let count = rows.len() / images;
        self.chunk.rows.write(0, rows)?;
        let constants: Vec<[f32; 3]> = (1..=count as u64)
            .map(|i| AdamRule::new(rates, self.done + i).constants())
            .collect();
        self.chunk.rates.write(0, &constants)?;
        self.chunk.cursor.write(0, &[0])?;
        self.chunk.before.write(0, &[self.done])?;
        let (learner, chunk) = (&self.learner, &self.chunk);
        let plan = |batch: &L::Batch| learner.step(batch, chunk, images);
        // SAFETY: by the learner's contract; `chunk` is replaced only where the recordings are dropped; rows were checked by the caller.
        let recording = unsafe { taken.recorded.recording(&self.device, images, plan)? };
        for _ in 0..count {
            recording.replay()?;
        }
        let mut losses = vec![0.0; count];
        self.chunk.losses.read(0, &mut losses)?;
        self.done += count as u64;
        Ok(losses)
    }

    /// All of `rows` in batches of `batch`, the last one smaller.
    fn run_all(
        &mut self,
        taken: &mut Taken<L::Batch>,
        (rows, batch): (&[u32], usize),
        rates: Rates,
    ) -> Result<Vec<f64>, EngineError> {
        let (whole, rest) = rows.split_at(rows.len() - rows.len() % batch);
        let mut losses = Vec::with_capacity(rows.len().div_ceil(batch));
        let steps = (self.chunk.rows.len() / batch).clamp(1, STEPS_AHEAD);
        for rows in whole.chunks(steps * batch) {
            losses.extend(self.run(taken, rows, batch, rates)?);
        }
        if !rest.is_empty() {
            losses.extend(self.run(taken, rest, rest.len(), rates)?);
        }
        Ok(losses)
    }

    /// Steps on `rows` in batches of `batch`, the last one smaller: the mean cost of each.
    pub fn steps(
        &mut self,
        rows: &[u32],
        batch: usize,
        rates: Rates,
    ) -> Result<Vec<f64>, EngineError> {
        self.learner.check_rows(rows)?;
        // Buffers as for whole batches even where only the last, smaller one is left: blocks that share out a sum
        // are as many, and the bits the same.
        let batch = batch.clamp(1, self.learner.images().max(rows.len()).max(1));
        let mut taken = self.take(batch)?;
        let losses = self.run_all(&mut taken, (rows, batch), rates);
        self.taken = Some(taken);
        losses
    }

    /// What `plan` says of `rows`, once and now, without a step of Adam: the mean cost.
    pub fn once(
        &mut self,
        rows: &[u32],
        plan: impl FnOnce(&L, &L::Batch, &Chunk) -> Result<Plan, EngineError>,
    ) -> Result<f64, EngineError> {
        self.learner.check_rows(rows)?;
        if rows.is_empty() {
            return Err(EngineError::Mismatch("a gradient needs images".into()));
        }
        let taken = self.take(rows.len())?;
        self.chunk.rows.write(0, rows)?;
        self.chunk.cursor.write(0, &[0])?;
        self.chunk.before.write(0, &[self.done])?;
        let plan = plan(&self.learner, taken.recorded.batch(), &self.chunk)?;
        // SAFETY: by the learner's contract; rows were checked above.
        unsafe { plan.run(&self.device)? };
        self.taken = Some(taken);
        let mut loss = [0.0];
        self.chunk.losses.read(0, &mut loss)?;
        Ok(loss[0])
    }

    /// Seconds that the device takes for a step on `rows`, by its own clock, `repeats` times. For benches: it
    /// leaves parameters and moments that nobody trained.
    pub fn time(&mut self, rows: &[u32], repeats: usize) -> Result<Vec<f64>, EngineError> {
        let images = rows.len();
        // Two steps: records them, and leaves rows and rates for two.
        self.steps(&[rows, rows].concat(), images, 0.0.into())?;
        let mut taken = self.take(images)?;
        let mut times = Vec::with_capacity(repeats);
        for _ in 0..repeats {
            self.chunk.cursor.write(0, &[0])?;
            let (learner, chunk) = (&self.learner, &self.chunk);
            let plan = |batch: &L::Batch| learner.step(batch, chunk, images);
            // SAFETY: as in `run`; the rows are those of `steps`, which checked them.
            let recording = unsafe { taken.recorded.recording(&self.device, images, plan)? };
            // While the first runs, the host hands in the second, so that its clock starts with its first kernel.
            recording.replay()?;
            times.push(self.device.time(recording)?);
        }
        self.taken = Some(taken);
        Ok(times)
    }
}
