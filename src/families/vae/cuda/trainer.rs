//! Training on a device.

use std::sync::Arc;

use super::batch::{Batch, parts};
use super::dataset::ResidentImages;
use super::parameters::{AUTOENCODER, Goal, Parameters};
use super::step::Around;
use crate::conditions::ConditionedImages;
use crate::device::cuda::device::{Device, Memory};
use crate::device::cuda::room::check_room;
use crate::families::vae::Vae;
use crate::families::vae::pass::{Judged, Terms};
use crate::family::cuda::{Chunk, Learner, Plan, RecordedBatch, Steps};
use crate::family::{EngineError, Trainer, TrainingState};
use crate::nn::adam::Rates;

/// Images that are judged together.
const JUDGED: usize = 1024;

/// A model in training on a device.
pub struct CudaTrainer {
    // Dropped first: their recordings refer to the memory below.
    steps: Steps<Batch>,
    judging: Option<Judging>,
    learning: Learning,
    judged: Judged,
}

/// What its steps read and change.
struct Learning {
    device: Arc<dyn Device>,
    model: Vae,
    parameters: Parameters,
    data: ResidentImages,
}

/// Buffers for images that are judged.
struct Judging {
    recorded: RecordedBatch<Batch>,
    rows: Memory<u32>,
}

impl Learning {
    fn around(&self) -> Around<'_> {
        Around {
            device: &self.device,
            model: &self.model,
            parameters: &self.parameters,
            data: &self.data,
        }
    }
}

// SAFETY: launchers check shapes against the buffers; memory is the batch's, the chunk's and its own, which it never replaces;
// `check_rows` is that of its images.
unsafe impl Learner for Learning {
    type Batch = Batch;

    fn check_rows(&self, rows: &[u32]) -> Result<(), EngineError> {
        self.data.check_rows(rows)
    }

    fn images(&self) -> usize {
        self.data.len()
    }

    fn batch_bytes(&self, images: usize) -> u64 {
        Batch::bytes(&self.model, images, true)
    }

    fn batch(&self, images: usize) -> Result<Batch, EngineError> {
        Batch::new(&self.device, &self.model, images, true)
    }

    fn step(&self, batch: &Batch, chunk: &Chunk, images: usize) -> Result<Plan, EngineError> {
        batch.step(&self.around(), chunk, images, Goal::Step)
    }
}

impl CudaTrainer {
    /// Set up for `model` on `data`, which must be its.
    ///
    /// # Errors
    /// Too little memory on the device.
    pub fn new(
        device: &Arc<dyn Device>,
        model: &Vae,
        data: &ConditionedImages,
    ) -> Result<Self, EngineError> {
        check_room(
            device,
            &[
                (
                    ResidentImages::bytes(data),
                    format!("{} images", data.images.len()),
                ),
                (
                    Parameters::bytes(model, &AUTOENCODER),
                    "the parameters".into(),
                ),
                (Chunk::BYTES, "the order of images".into()),
            ],
            "train on fewer images, on another card or with --device cpu",
        )?;
        Ok(Self {
            steps: Steps::new(device)?,
            judging: None,
            learning: Learning {
                device: Arc::clone(device),
                model: model.clone(),
                parameters: Parameters::new(device, model, &AUTOENCODER)?,
                data: ResidentImages::new(device, model, data)?,
            },
            judged: Judged::default(),
        })
    }

    /// Gradient of the mean loss of `rows`, of the tensors of encoder and decoder, the others' being 0; and that mean. For tests: a step never
    /// forms it whole.
    ///
    /// # Errors
    /// Without rows, for a row that is not among the images or more rows than a batch may have; where the device has too
    /// little memory, or its work fails.
    pub fn gradients(&mut self, rows: &[u32]) -> Result<(f64, Vec<Vec<f32>>), EngineError> {
        let learning = &self.learning;
        let parameters = &learning.parameters;
        let arena = Memory::<f32>::zeros(&learning.device, parameters.learning_size())?;
        let goal = Goal::Gradient(arena.address());
        let plan =
            |batch: &Batch, chunk: &Chunk| batch.step(&learning.around(), chunk, rows.len(), goal);
        let loss = self.steps.once(learning, rows, plan)?;
        let mut tensors: Vec<Vec<f32>> = (learning.model.parameters.iter())
            .map(|p| vec![0.0; p.len()])
            .collect();
        parameters.unpack(&arena.to_vec()?, &mut tensors);
        Ok((loss, tensors))
    }

    /// Device memory in bytes that the parameters and batches of `images` images take, besides data and scratch.
    pub fn bytes(&self, images: usize) -> u64 {
        Parameters::bytes(&self.learning.model, &AUTOENCODER)
            + Chunk::BYTES
            + self.learning.batch_bytes(images)
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
        self.steps.time(&self.learning, rows, repeats)
    }

    /// Parts of the losses of `rows`, image by image.
    fn costs(&mut self, rows: &[u32]) -> Result<Vec<Vec<f32>>, EngineError> {
        let learning = &self.learning;
        learning.data.check_rows(rows)?;
        let (device, model) = (&learning.device, &learning.model);
        let mut judging = match self.judging.take() {
            Some(judging) => judging,
            None => {
                let bytes = Batch::bytes(model, JUDGED, false) + 4 * JUDGED as u64;
                let what = format!("judging {JUDGED} images at once");
                check_room(device, &[(bytes, what)], "use another card or --device cpu")?;
                Judging {
                    recorded: RecordedBatch::new(Batch::new(device, model, JUDGED, false)?),
                    rows: Memory::zeros(device, JUDGED)?,
                }
            }
        };
        let mut all = Vec::with_capacity(rows.len());
        for rows in rows.chunks(JUDGED) {
            let images = rows.len();
            judging.rows.write(0, rows)?;
            let buffer = &judging.rows;
            let plan = |batch: &Batch| batch.judging(&learning.around(), buffer, images);
            // SAFETY: the memory is the batch's, that of `judging` and the trainer's, which it never replaces; rows were checked above.
            let recording = unsafe { judging.recorded.recording(device, images, plan)? };
            recording.replay()?;
            let mut costs = vec![0.0; images * parts(model)];
            judging.recorded.batch().costs.read(0, &mut costs)?;
            all.extend(
                (0..images).map(|i| costs.iter().skip(i).step_by(images).copied().collect()),
            );
        }
        self.judging = Some(judging);
        Ok(all)
    }
}

impl Trainer for CudaTrainer {
    fn steps(&mut self, rows: &[u32], batch: usize, rates: Rates) -> Result<Vec<f64>, EngineError> {
        self.steps.steps(&self.learning, rows, batch, rates)
    }

    fn nll(&mut self, rows: &[u32]) -> Result<Vec<f64>, EngineError> {
        let costs = self.costs(rows)?;
        let weighted: Vec<[f64; 3]> = (costs.iter())
            .map(|costs| {
                let (of_features, others) = costs.split_at(costs.len() - 2);
                let sum = of_features.iter().copied().map(f64::from).sum();
                [sum, f64::from(others[0]), f64::from(others[1])]
            })
            .collect();
        self.judged.add(&weighted);
        Ok(weighted.iter().map(|terms| terms.iter().sum()).collect())
    }

    fn take_terms(&mut self) -> Vec<(&'static str, f64)> {
        let names = Terms::names(&self.learning.model);
        std::mem::take(&mut self.judged).means(names)
    }

    fn state(&self) -> Result<TrainingState, EngineError> {
        let learning = &self.learning;
        (learning.parameters).state(&learning.model, self.steps.done())
    }

    fn restore(&mut self, state: &TrainingState) -> Result<(), EngineError> {
        let learning = &mut self.learning;
        learning.parameters.restore(&learning.model, state)?;
        self.steps.set_done(state.steps);
        Ok(())
    }
}
