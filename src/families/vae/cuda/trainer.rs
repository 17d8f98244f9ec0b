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
use crate::families::vae::terms::{Judged, Terms};
use crate::family::cuda::{Chunk, Judging, Learner, Plan, Steps};
use crate::family::{EngineError, Trainer, TrainingState, check_images};
use crate::nn::adam::Rates;

/// A model in training on a device.
pub struct CudaTrainer {
    // Dropped first: its recordings refer to what learns.
    judging: Option<Judging<Batch>>,
    steps: Steps<Learning>,
    judged: Judged,
}

/// What its steps read and change.
struct Learning {
    device: Arc<dyn Device>,
    model: Vae,
    parameters: Parameters,
    data: ResidentImages,
}

impl Learning {
    fn around(&self) -> Around<'_> {
        Around {
            model: &self.model,
            parameters: &self.parameters,
            data: &self.data,
        }
    }
}

// SAFETY: the images are the model's and its rows are checked, buffers are as large as the layers that launches are made of, and no batch is
// larger than its capacity; memory is the batch's, the chunk's and its own, which it never replaces.
unsafe impl Learner for Learning {
    type Batch = Batch;

    fn check_rows(&self, rows: &[u32]) -> Result<(), EngineError> {
        self.data.check_rows(rows)
    }

    fn images(&self) -> usize {
        self.data.len()
    }

    fn batch_bytes(&self, images: usize) -> u64 {
        Batch::bytes(&self.model, images) + self.parameters.scratch(images)
    }

    fn batch(&self, images: usize) -> Result<Batch, EngineError> {
        Batch::new(&self.device, &self.model, images, Some(&self.parameters))
    }

    fn step(&self, batch: &Batch, chunk: &Chunk, images: usize) -> Result<Plan, EngineError> {
        batch.step(&self.around(), chunk, images, Goal::Step)
    }
}

impl CudaTrainer {
    /// Set up for `model` on `data`.
    ///
    /// # Errors
    /// Images or conditions that are not the model's; too little memory on the device.
    pub fn new(
        device: &Arc<dyn Device>,
        model: &Vae,
        data: &ConditionedImages,
    ) -> Result<Self, EngineError> {
        check_images(model, data)?;
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
                (Chunk::bytes(1), "the order of images".into()),
            ],
            "train on fewer images, on another card or with --device cpu",
        )?;
        let learning = Learning {
            device: Arc::clone(device),
            model: model.clone(),
            parameters: Parameters::new(device, model, &AUTOENCODER)?,
            data: ResidentImages::new(device, model, data)?,
        };
        Ok(Self {
            judging: None,
            steps: Steps::new(device, learning)?,
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
        let learning = self.steps.learner();
        let size = learning.parameters.learning_size();
        let arena = Memory::<f32>::zeros(&learning.device, size)?;
        let goal = Goal::Gradient(arena.address());
        let plan = |learning: &Learning, batch: &Batch, chunk: &Chunk| {
            batch.step(&learning.around(), chunk, rows.len(), goal)
        };
        let loss = self.steps.once(rows, plan)?;
        let learning = self.steps.learner();
        let mut tensors: Vec<Vec<f32>> = (learning.model.parameters.iter())
            .map(|p| vec![0.0; p.len()])
            .collect();
        learning.parameters.unpack(&arena.to_vec()?, &mut tensors);
        Ok((loss, tensors))
    }

    /// Device memory in bytes that the parameters and batches of `images` images take, besides data.
    pub fn bytes(&self, images: usize) -> u64 {
        let learning = self.steps.learner();
        Parameters::bytes(&learning.model, &AUTOENCODER)
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

    /// Parts of the losses of `rows`, image by image.
    fn costs(&mut self, rows: &[u32]) -> Result<Vec<Vec<f32>>, EngineError> {
        let learning = self.steps.learner();
        learning.data.check_rows(rows)?;
        let (device, model) = (&learning.device, &learning.model);
        let judging = match &mut self.judging {
            Some(judging) => judging,
            none => none.insert(Judging::new(
                device,
                |images| Batch::bytes(model, images),
                |images| Batch::new(device, model, images, None),
            )?),
        };
        let mut all = Vec::with_capacity(rows.len());
        let plan = |batch: &Batch, rows: &Memory<u32>, images: usize| {
            batch.judging(&learning.around(), rows, images)
        };
        let read = |batch: &Batch, images: usize| {
            let mut costs = vec![0.0; images * parts(model)];
            batch.costs.read(0, &mut costs)?;
            let of = |image: usize| costs.iter().skip(image).step_by(images).copied().collect();
            all.extend((0..images).map(of));
            Ok(())
        };
        // SAFETY: launches are of the batch, the rows and the learner's memory, which it never replaces; rows were checked above.
        unsafe { judging.judge(device, rows, plan, read)? };
        Ok(all)
    }
}

impl Trainer for CudaTrainer {
    fn steps(&mut self, rows: &[u32], batch: usize, rates: Rates) -> Result<Vec<f64>, EngineError> {
        self.steps.steps(rows, batch, rates)
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
        self.judged.add(&weighted, std::iter::repeat(1.0));
        Ok(weighted.iter().map(|terms| terms.iter().sum()).collect())
    }

    fn take_terms(&mut self) -> Vec<(&'static str, f64)> {
        let names = Terms::names(&self.steps.learner().model);
        std::mem::take(&mut self.judged).means(names)
    }

    fn state(&self) -> Result<TrainingState, EngineError> {
        let learning = self.steps.learner();
        (learning.parameters).state(&learning.model, self.steps.done())
    }

    fn restore(&mut self, state: &TrainingState) -> Result<(), EngineError> {
        let learning = self.steps.learner_mut();
        learning.parameters.restore(&learning.model, state)?;
        // What does not learn is kept here alone.
        learning.model.parameters.clone_from(&state.parameters);
        self.steps.set_done(state.steps);
        Ok(())
    }
}
