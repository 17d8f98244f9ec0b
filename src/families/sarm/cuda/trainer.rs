//! Training on a device: the images live there, a step is one recorded sequence of launches, and nothing
//! crosses the bus in it.
//!
//! The host sends the rows and the learning rates of a chunk of steps ahead and reads their losses
//! afterwards. Every kernel adds in an order that depends on shapes and card alone, so the same run on
//! the same card ends in the same bits.

use std::sync::Arc;

use super::batch::{Batch, Chunk};
use super::dataset::ResidentImages;
use super::parameters::{Layout, Parameters, constants};
use super::recorded::RecordedBatch;
use super::scorer::Scorer;
use super::step::{Around, Goal, Plan};
use crate::conditions::ConditionedImages;
use crate::device::DeviceError;
use crate::device::cuda::device::{Device, Memory};
use crate::device::cuda::room::check_room;
use crate::families::sarm::Sarm;
use crate::family::EngineError;
use crate::family::{Trainer, TrainingState};
use crate::nn::adam::AdamRule;
use crate::nn::adam::Rates;

/// Rows that are sent ahead, unless a batch is larger.
const ROWS_AHEAD: usize = 1 << 18;
/// Images of a batch: with up to 256 parts of an image, kernels count them in 32 bits.
const MOST_IMAGES: usize = 1 << 22;
/// Steps that are sent ahead.
const STEPS_AHEAD: usize = 4096;

/// A model in training on a device.
pub struct CudaTrainer {
    // Dropped first: their recordings refer to the memory below.
    training: Option<RecordedBatch>,
    scoring: Option<Scorer>,
    device: Arc<dyn Device>,
    model: Sarm,
    parameters: Parameters,
    data: ResidentImages,
    chunk: Chunk,
    steps: u64,
}

impl CudaTrainer {
    /// Set up for `model` on `data`, which must be its.
    pub(super) fn new(
        device: &Arc<dyn Device>,
        model: &Sarm,
        data: &ConditionedImages,
    ) -> Result<Self, EngineError> {
        let layout = Layout::of(model);
        let images = &data.images;
        let resident = ResidentImages::bytes(model, images.len(), images.nonzeros());
        check_room(
            device,
            &[
                (resident, format!("{} images", images.len())),
                (Parameters::bytes(&layout, true), "the parameters".into()),
                (
                    Chunk::bytes(ROWS_AHEAD, STEPS_AHEAD),
                    "the order of images".into(),
                ),
            ],
            "train on fewer images, on another card or with --device cpu",
        )?;
        Ok(Self {
            training: None,
            scoring: None,
            device: Arc::clone(device),
            model: model.clone(),
            parameters: Parameters::new(device, model, true)?,
            data: ResidentImages::new(device, model, data, 0..images.len())?,
            chunk: Chunk::new(device, ROWS_AHEAD, STEPS_AHEAD)?,
            steps: 0,
        })
    }

    fn around(&self) -> Around<'_> {
        Around {
            device: &self.device,
            model: &self.model,
            parameters: &self.parameters,
            data: &self.data,
        }
    }

    /// Buffers for batches of `images` images, taken out: the caller puts them back.
    fn take_training(&mut self, images: usize) -> Result<RecordedBatch, EngineError> {
        match self.training.take() {
            Some(training) if training.batch().capacity() >= images => return Ok(training),
            // Given back before more is asked for.
            smaller => drop(smaller),
        }
        if images > MOST_IMAGES {
            return Err(EngineError::Mismatch(format!(
                "a batch of {images} images is too large for a CUDA device (it takes up to {MOST_IMAGES}); train with a smaller batch or with --device cpu"
            )));
        }
        let layout = &self.parameters.layout;
        let properties = self.device.properties();
        let bytes = Batch::bytes(properties, &self.model, layout, images, true);
        check_room(
            &self.device,
            &[(bytes, format!("a batch of {images} images"))],
            "train with a smaller batch or with --device cpu",
        )?;
        if self.chunk.rows.len() < images {
            self.chunk = Chunk::new(&self.device, images, STEPS_AHEAD)?;
        }
        let batch = Batch::new(&self.device, &self.model, layout, images, true)?;
        Ok(RecordedBatch::new(batch))
    }

    /// Steps on whole batches of `images` images each, all of which fit into the chunk.
    fn run(
        &mut self,
        training: &mut RecordedBatch,
        rows: &[u32],
        images: usize,
        rates: Rates,
    ) -> Result<Vec<f64>, EngineError> {
        let count = rows.len() / images;
        self.chunk.rows.write(0, rows)?;
        let constants: Vec<[f32; 3]> = (1..=count as u64)
            .map(|i| constants(AdamRule::new(rates, self.steps + i)))
            .collect();
        self.chunk.rates.write(0, &constants)?;
        self.chunk.cursor.write(0, &[0])?;
        let (around, chunk) = (self.around(), &self.chunk);
        let plan = |batch: &Batch| batch.step(&around, chunk, images, Goal::Step);
        // SAFETY: the memory is the batch's and this trainer's, which keeps its own as long as it lives and
        // replaces `chunk` only where it drops the recordings; rows were checked by the caller.
        let recording = unsafe { training.recording(&self.device, images, plan)? };
        for _ in 0..count {
            recording.replay()?;
        }
        let mut losses = vec![0.0; count];
        self.chunk.losses.read(0, &mut losses)?;
        self.steps += count as u64;
        Ok(losses)
    }

    /// All of `rows` in batches of `batch`, the last one smaller.
    fn run_all(
        &mut self,
        training: &mut RecordedBatch,
        rows: &[u32],
        batch: usize,
        rates: Rates,
    ) -> Result<Vec<f64>, EngineError> {
        let (whole, rest) = rows.split_at(rows.len() - rows.len() % batch);
        let mut losses = Vec::with_capacity(rows.len().div_ceil(batch));
        let steps = (self.chunk.rows.len() / batch).clamp(1, STEPS_AHEAD);
        for rows in whole.chunks(steps * batch) {
            losses.extend(self.run(training, rows, batch, rates)?);
        }
        if !rest.is_empty() {
            losses.extend(self.run(training, rest, rest.len(), rates)?);
        }
        Ok(losses)
    }

    /// Gradient of the mean negative log-likelihood of `rows`, in the model's tensor order; and that mean.
    /// For tests: a step never forms it whole.
    ///
    /// # Errors
    /// Without rows, for a row that is not among the images or more rows than a batch may have; where the device has too
    /// little memory, or its work fails.
    pub fn gradients(&mut self, rows: &[u32]) -> Result<(f64, Vec<Vec<f32>>), EngineError> {
        self.data.check_rows(rows)?;
        if rows.is_empty() {
            return Err(EngineError::Mismatch("a gradient needs images".into()));
        }
        let training = self.take_training(rows.len())?;
        self.chunk.rows.write(0, rows)?;
        self.chunk.cursor.write(0, &[0])?;
        let arena = Memory::<f32>::zeros(&self.device, self.parameters.layout.size)?;
        let goal = Goal::Gradient(arena.address());
        let plan = training
            .batch()
            .step(&self.around(), &self.chunk, rows.len(), goal)?;
        run_once(&self.device, &plan)?;
        self.training = Some(training);
        let mut loss = [0.0];
        self.chunk.losses.read(0, &mut loss)?;
        let layout = &self.parameters.layout;
        Ok((loss[0], layout.unpack(&self.model, &arena.to_vec()?)))
    }

    /// Device memory in bytes that the data, the parameters and batches of `images` images take, besides scratch.
    pub fn bytes(&self, images: usize) -> u64 {
        let layout = &self.parameters.layout;
        self.data.bytes_taken()
            + Parameters::bytes(layout, true)
            + Chunk::bytes(ROWS_AHEAD, STEPS_AHEAD)
            + Batch::bytes(self.device.properties(), &self.model, layout, images, true)
    }

    /// Seconds that the device takes for a step on `rows`, by its own clock, `repeats` times. For benches: it
    /// leaves parameters and moments that nobody trained.
    ///
    /// # Errors
    /// A row that is not among the images, more rows than a batch may have; too little memory on the device, or work of it
    /// that fails.
    ///
    /// # Panics
    /// Without rows.
    pub fn time_steps(&mut self, rows: &[u32], repeats: usize) -> Result<Vec<f64>, EngineError> {
        let images = rows.len();
        // Two steps: records them, and leaves rows and rates for two.
        self.steps(&[rows, rows].concat(), images, 0.0.into())?;
        let mut training = self.take_training(images)?;
        let mut times = Vec::with_capacity(repeats);
        for _ in 0..repeats {
            self.chunk.cursor.write(0, &[0])?;
            let (around, chunk) = (self.around(), &self.chunk);
            let plan = |batch: &Batch| batch.step(&around, chunk, images, Goal::Step);
            // SAFETY: as in `run`; the rows are those of `steps`, which checked them.
            let recording = unsafe { training.recording(&self.device, images, plan)? };
            // While the first runs, the host hands in the second, so that its clock starts with its first kernel.
            recording.replay()?;
            times.push(self.device.time(recording)?);
        }
        self.training = Some(training);
        Ok(times)
    }
}

impl Trainer for CudaTrainer {
    fn steps(&mut self, rows: &[u32], batch: usize, rates: Rates) -> Result<Vec<f64>, EngineError> {
        self.data.check_rows(rows)?;
        // Buffers as for whole batches even where only the last, smaller one is left: blocks that share out a sum
        // are as many, and the bits the same.
        let batch = batch.clamp(1, self.data.len().max(rows.len()).max(1));
        let mut training = self.take_training(batch)?;
        let losses = self.run_all(&mut training, rows, batch, rates);
        self.training = Some(training);
        losses
    }

    fn nll(&mut self, rows: &[u32]) -> Result<Vec<f64>, EngineError> {
        let mut scorer = match self.scoring.take() {
            Some(scorer) => scorer,
            None => {
                let layout = &self.parameters.layout;
                Scorer::new(&self.device, &self.model, layout, self.data.len(), 0)?
            }
        };
        let nll = scorer.nll(&self.around(), rows);
        self.scoring = Some(scorer);
        nll
    }

    fn state(&self) -> Result<TrainingState, EngineError> {
        self.parameters.state(&self.model, self.steps)
    }

    fn restore(&mut self, state: &TrainingState) -> Result<(), EngineError> {
        self.parameters.restore(&self.model, state)?;
        self.steps = state.steps;
        Ok(())
    }
}

/// Run launches once, now. Their rows are below the number of resident images, and the buffers that they
/// were planned for are still there.
fn run_once(device: &Arc<dyn Device>, plan: &Plan) -> Result<(), DeviceError> {
    for launch in &plan.launches {
        // SAFETY: the launchers checked shapes against the buffers, which outlive the call: it waits below.
        unsafe { device.launch(launch)? };
    }
    device.synchronise()
}
