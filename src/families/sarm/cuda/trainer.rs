//! Training on a device.

use std::sync::Arc;

use super::batch::Batch;
use super::dataset::ResidentImages;
use super::parameters::{Layout, Parameters};
use super::scorer::Scorer;
use super::step::{Around, Goal};
use crate::conditions::ConditionedImages;
use crate::device::cuda::device::{Device, Memory};
use crate::device::cuda::room::check_room;
use crate::families::sarm::Sarm;
use crate::family::cuda::{Chunk, Learner, Plan, Steps};
use crate::family::{EngineError, Trainer, TrainingState};
use crate::nn::adam::Rates;

/// A model in training on a device.
pub struct CudaTrainer {
    // Dropped first: its recordings refer to what learns.
    scoring: Option<Scorer>,
    steps: Steps<Learning>,
}

/// What its steps read and change.
struct Learning {
    device: Arc<dyn Device>,
    model: Sarm,
    parameters: Parameters,
    data: ResidentImages,
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
        let (properties, layout) = (self.device.properties(), &self.parameters.layout);
        Batch::bytes(properties, &self.model, layout, images, true)
    }

    fn batch(&self, images: usize) -> Result<Batch, EngineError> {
        let layout = &self.parameters.layout;
        Batch::new(&self.device, &self.model, layout, images, true)
    }

    fn step(&self, batch: &Batch, chunk: &Chunk, images: usize) -> Result<Plan, EngineError> {
        batch.step(&self.around(), chunk, images, Goal::Step)
    }
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
                (Chunk::bytes(1), "the order of images".into()),
            ],
            "train on fewer images, on another card or with --device cpu",
        )?;
        let learning = Learning {
            device: Arc::clone(device),
            model: model.clone(),
            parameters: Parameters::new(device, model, true)?,
            data: ResidentImages::new(device, model, data, 0..images.len())?,
        };
        Ok(Self {
            scoring: None,
            steps: Steps::new(device, learning)?,
        })
    }

    /// Gradient of the mean negative log-likelihood of `rows`, in the model's tensor order; and that mean.
    /// For tests: a step never forms it whole.
    ///
    /// # Errors
    /// Without rows, for a row that is not among the images or more rows than a batch may have; where the device has too
    /// little memory, or its work fails.
    pub fn gradients(&mut self, rows: &[u32]) -> Result<(f64, Vec<Vec<f32>>), EngineError> {
        let learning = self.steps.learner();
        let size = learning.parameters.layout.size;
        let arena = Memory::<f32>::zeros(&learning.device, size)?;
        let goal = Goal::Gradient(arena.address());
        let plan = |learning: &Learning, batch: &Batch, chunk: &Chunk| {
            batch.step(&learning.around(), chunk, rows.len(), goal)
        };
        let loss = self.steps.once(rows, plan)?;
        let learning = self.steps.learner();
        let layout = &learning.parameters.layout;
        Ok((loss, layout.unpack(&learning.model, &arena.to_vec()?)))
    }

    /// Device memory in bytes that the data, the parameters and batches of `images` images take, besides scratch.
    pub fn bytes(&self, images: usize) -> u64 {
        let learning = self.steps.learner();
        learning.data.bytes_taken()
            + Parameters::bytes(&learning.parameters.layout, true)
            + Chunk::bytes(images)
            + learning.batch_bytes(images)
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
        self.steps.time(rows, repeats)
    }
}

impl Trainer for CudaTrainer {
    fn steps(&mut self, rows: &[u32], batch: usize, rates: Rates) -> Result<Vec<f64>, EngineError> {
        self.steps.steps(rows, batch, rates)
    }

    fn nll(&mut self, rows: &[u32]) -> Result<Vec<f64>, EngineError> {
        let learning = self.steps.learner();
        let mut scorer = match self.scoring.take() {
            Some(scorer) => scorer,
            None => {
                let layout = &learning.parameters.layout;
                let images = learning.data.len();
                Scorer::new(&learning.device, &learning.model, layout, images, 0)?
            }
        };
        let nll = scorer.nll(&learning.around(), rows);
        self.scoring = Some(scorer);
        nll
    }

    fn state(&self) -> Result<TrainingState, EngineError> {
        let learning = self.steps.learner();
        (learning.parameters).state(&learning.model, self.steps.done())
    }

    fn restore(&mut self, state: &TrainingState) -> Result<(), EngineError> {
        let learning = self.steps.learner_mut();
        learning.parameters.restore(&learning.model, state)?;
        self.steps.set_done(state.steps);
        Ok(())
    }
}
