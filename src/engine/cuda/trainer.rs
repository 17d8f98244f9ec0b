//! Training and scoring on a device: the images live there, a step is one recorded sequence of
//! launches, and nothing crosses the bus in it.
//!
//! The host sends the rows and the learning rates of a chunk of steps ahead and reads their losses
//! afterwards. Every kernel adds in an order that depends on shapes and card alone, so the same run on
//! the same card ends in the same bits.

use std::collections::HashMap;
use std::sync::Arc;

use super::batch::{Batch, Chunk};
use super::dataset::ResidentImages;
use super::device::{Device, Memory, Recording};
use super::parameters::{Layout, Parameters, rate};
use super::step::{Around, Goal, Plan};
use crate::engine::adam::AdamRule;
use crate::engine::{ConditionedImages, EngineError, Trainer, TrainingState};
use crate::model::Model;

/// Rows that are sent ahead, unless a batch is larger.
const ROWS_AHEAD: usize = 1 << 18;
/// Steps that are sent ahead.
const STEPS_AHEAD: usize = 4096;
/// Images of a batch that is scored.
const SCORED: usize = 4096;
/// Images that are on the device at once while a file is scored.
const SCORED_RESIDENT: usize = 1 << 17;
/// Sizes of batches whose step is kept recorded; an epoch has two.
const RECORDINGS: usize = 8;

/// A step that was recorded for one size of batch.
struct RecordedStep {
    recording: Box<dyn Recording>,
    /// Its scratch memory, kept for as long as it may be replayed.
    _plan: Plan,
}

/// A model in training on a device.
pub struct CudaTrainer {
    // Dropped first: they refer to the memory below.
    recordings: HashMap<usize, RecordedStep>,
    device: Arc<dyn Device>,
    model: Model,
    parameters: Parameters,
    data: ResidentImages,
    chunk: Chunk,
    training: Option<Batch>,
    scoring: Option<Batch>,
    steps: u64,
}

/// Refuse what cannot fit before anything is allocated. `what`: bytes and what they are for.
fn check_room(
    device: &Arc<dyn Device>,
    what: &[(u64, String)],
    remedy: &str,
) -> Result<(), EngineError> {
    let (needed, free) = (what.iter().map(|w| w.0).sum::<u64>(), device.free_memory()?);
    if needed <= free {
        return Ok(());
    }
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let parts: Vec<String> = what
        .iter()
        .map(|(bytes, name)| format!("{} MiB for {name}", mib(*bytes)))
        .collect();
    Err(EngineError::Device(format!(
        "{} has too little free memory: {} MiB are needed ({}), {} MiB are free; {remedy}",
        device.properties().name,
        mib(needed),
        parts.join(", "),
        mib(free),
    )))
}

impl CudaTrainer {
    /// Set up for `model` on `data`, which must be its.
    pub(super) fn new(
        device: &Arc<dyn Device>,
        model: &Model,
        data: &ConditionedImages,
    ) -> Result<Self, EngineError> {
        let layout = Layout::of(model);
        let images = &data.images;
        let resident =
            ResidentImages::bytes(images.len(), images.nonzeros(), data.conditions.width());
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
            "train on fewer images or on another device",
        )?;
        Ok(Self {
            recordings: HashMap::new(),
            model: model.clone(),
            parameters: Parameters::new(device, model, true)?,
            data: ResidentImages::new(device, model, data, 0..images.len())?,
            chunk: Chunk::new(device, ROWS_AHEAD, STEPS_AHEAD)?,
            device: Arc::clone(device),
            training: None,
            scoring: None,
            steps: 0,
        })
    }

    fn around(&self) -> Around<'_> {
        Around {
            device: &self.device,
            model: &self.model,
            parameters: &self.parameters,
            data: &self.data,
            chunk: &self.chunk,
        }
    }

    fn check_rows(&self, rows: &[u32]) -> Result<(), EngineError> {
        match rows.iter().find(|r| **r as usize >= self.data.len()) {
            None => Ok(()),
            Some(row) => Err(EngineError::Mismatch(format!(
                "image {row} is not among the {} that are trained on",
                self.data.len()
            ))),
        }
    }

    /// Make room for batches of `images` images.
    fn reserve(&mut self, images: usize) -> Result<(), EngineError> {
        if self
            .training
            .as_ref()
            .is_some_and(|b| b.capacity() >= images)
        {
            return Ok(());
        }
        self.recordings.clear();
        self.training = None;
        let layout = &self.parameters.layout;
        let properties = self.device.properties();
        let bytes = Batch::bytes(properties, &self.model, layout, images, true);
        check_room(
            &self.device,
            &[(bytes, format!("a batch of {images} images"))],
            "train with a smaller batch",
        )?;
        if self.chunk.rows.len() < images {
            self.chunk = Chunk::new(&self.device, images, STEPS_AHEAD)?;
        }
        self.training = Some(Batch::new(&self.device, &self.model, layout, images, true)?);
        Ok(())
    }

    /// Steps on whole batches of `images` images each, all of which fit into the chunk.
    fn run(&mut self, rows: &[u32], images: usize, rate_now: f32) -> Result<Vec<f64>, EngineError> {
        let count = rows.len() / images;
        self.reserve(images)?;
        self.chunk.rows.write(0, rows)?;
        let rates: Vec<[f32; 2]> = (1..=count as u64)
            .map(|i| rate(AdamRule::new(rate_now, self.steps + i)))
            .collect();
        self.chunk.rates.write(0, &rates)?;
        self.chunk.cursor.write(0, &[0])?;
        if !self.recordings.contains_key(&images) {
            let Some(batch) = &self.training else {
                unreachable!("reserved above")
            };
            let plan = batch.step(&self.around(), images, Goal::Step)?;
            // SAFETY: the launchers checked shapes against the buffers of `batch`, `parameters`, `data` and
            // `chunk`, rows are below `data`'s length, and whatever replaces one of them clears the recordings.
            let recording = unsafe { self.device.record(&plan.launches)? };
            if self.recordings.len() == RECORDINGS {
                self.recordings.clear();
            }
            self.recordings.insert(
                images,
                RecordedStep {
                    recording,
                    _plan: plan,
                },
            );
        }
        let recorded = &self.recordings[&images];
        for _ in 0..count {
            recorded.recording.replay()?;
        }
        let mut losses = vec![0.0; count];
        self.chunk.losses.read(0, &mut losses)?;
        self.steps += count as u64;
        Ok(losses)
    }

    /// Gradient of the mean negative log-likelihood of `rows`, in the model's tensor order; and that mean.
    /// For tests: a step never forms it whole.
    pub fn gradients(&mut self, rows: &[u32]) -> Result<(f64, Vec<Vec<f32>>), EngineError> {
        self.check_rows(rows)?;
        self.reserve(rows.len())?;
        self.chunk.rows.write(0, rows)?;
        self.chunk.cursor.write(0, &[0])?;
        let arena = Memory::<f32>::zeros(&self.device, self.parameters.layout.size)?;
        let Some(batch) = &self.training else {
            unreachable!("reserved above")
        };
        let goal = Goal::Gradient(arena.address());
        let plan = batch.step(&self.around(), rows.len(), goal)?;
        run_once(&self.device, &plan)?;
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

    /// Seconds that the device takes for a step on `rows`, by its own clock, `repeats` times. For benches: moments
    /// move, parameters do not.
    pub fn time_steps(&mut self, rows: &[u32], repeats: usize) -> Result<Vec<f64>, EngineError> {
        // Records the step, and warms up.
        self.steps(rows, rows.len(), 0.0)?;
        let mut times = Vec::with_capacity(repeats);
        for _ in 0..repeats {
            self.chunk.cursor.write(0, &[0])?;
            let recorded = &self.recordings[&rows.len()];
            times.push(self.device.time(recorded.recording.as_ref())?);
        }
        Ok(times)
    }
}

impl Trainer for CudaTrainer {
    fn steps(
        &mut self,
        rows: &[u32],
        batch: usize,
        learning_rate: f32,
    ) -> Result<Vec<f64>, EngineError> {
        self.check_rows(rows)?;
        let batch = batch.clamp(1, rows.len().max(1));
        let (whole, rest) = rows.split_at(rows.len() - rows.len() % batch);
        let mut losses = Vec::with_capacity(rows.len().div_ceil(batch));
        let steps = (self.chunk.rows.len() / batch).clamp(1, STEPS_AHEAD);
        for rows in whole.chunks(steps * batch) {
            losses.extend(self.run(rows, batch, learning_rate)?);
        }
        if !rest.is_empty() {
            losses.extend(self.run(rest, rest.len(), learning_rate)?);
        }
        Ok(losses)
    }

    fn nll(&mut self, rows: &[u32]) -> Result<Vec<f64>, EngineError> {
        self.check_rows(rows)?;
        if self.scoring.is_none() {
            let images = SCORED.min(self.data.len().max(1));
            let layout = &self.parameters.layout;
            self.scoring = Some(scoring_batch(&self.device, &self.model, layout, images)?);
        }
        let Some(batch) = &self.scoring else {
            unreachable!("made above")
        };
        let mut all = Vec::with_capacity(rows.len());
        for rows in rows.chunks(batch.capacity()) {
            self.chunk.rows.write(0, rows)?;
            let plan = batch.scoring(&self.around(), rows.len())?;
            run_once(&self.device, &plan)?;
            all.extend(batch.image_nll(rows.len())?);
        }
        Ok(all)
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
fn run_once(device: &Arc<dyn Device>, plan: &Plan) -> Result<(), EngineError> {
    for launch in &plan.launches {
        // SAFETY: the launchers checked shapes against the buffers, which outlive the call: it waits below.
        unsafe { device.launch(launch)? };
    }
    device.synchronise()
}

/// Buffers for scoring up to `images` images at once, or fewer where there is too little memory.
fn scoring_batch(
    device: &Arc<dyn Device>,
    model: &Model,
    layout: &Layout,
    images: usize,
) -> Result<Batch, EngineError> {
    let bytes = |images| Batch::bytes(device.properties(), model, layout, images, false);
    let free = device.free_memory()?;
    let mut images = images;
    while images > 1 && bytes(images) > free {
        images /= 2;
    }
    check_room(
        device,
        &[(bytes(images), "a batch that is scored".into())],
        "use another device",
    )?;
    Batch::new(device, model, layout, images, false)
}

/// Log-likelihood in nats of each image of `data`, which is `model`'s; however many there are, only a
/// part of them is on the device at once.
pub(super) fn score(
    device: &Arc<dyn Device>,
    model: &Model,
    data: &ConditionedImages,
) -> Result<Vec<f64>, EngineError> {
    let layout = Layout::of(model);
    check_room(
        device,
        &[(Parameters::bytes(&layout, false), "the parameters".into())],
        "use another device",
    )?;
    let parameters = Parameters::new(device, model, false)?;
    let images = data.images.len();
    let batch = scoring_batch(device, model, &layout, SCORED.min(images.max(1)))?;
    let mut chunk = Chunk::new(device, batch.capacity(), 1)?;
    let mut scores = Vec::with_capacity(images);
    for first in (0..images).step_by(SCORED_RESIDENT) {
        let part = first..images.min(first + SCORED_RESIDENT);
        let resident = ResidentImages::new(device, model, data, part.clone())?;
        let rows: Vec<u32> = (0..part.len() as u32).collect();
        for rows in rows.chunks(batch.capacity()) {
            chunk.rows.write(0, rows)?;
            let around = Around {
                device,
                model,
                parameters: &parameters,
                data: &resident,
                chunk: &chunk,
            };
            let plan = batch.scoring(&around, rows.len())?;
            run_once(device, &plan)?;
            scores.extend(batch.image_nll(rows.len())?.iter().map(|v| -v));
        }
    }
    Ok(scores)
}
