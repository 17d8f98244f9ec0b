//! The classifier that images are compared by, in training on a device.

use std::sync::Arc;

use half::bf16;

use super::batch::{LayerBuffers, Use, partial};
use super::dataset::ResidentImages;
use super::filled::COPIED;
use super::layers::{Run, Stretch, address};
use super::ops::BatchRows;
use super::ops::classifier::{CrossEntropy, Dropout};
use super::ops::gather::{Gather, LONELY};
use super::parameters::{CLASSIFIER, Goal, Parameters};
use crate::conditions::ConditionedImages;
use crate::device::DeviceError;
use crate::device::cuda::device::{Address, Device, Launch, Memory};
use crate::device::cuda::ops::step::FinishStep;
use crate::device::cuda::room::check_room;
use crate::families::vae::Vae;
use crate::families::vae::classifier::{Judged, Learning};
use crate::families::vae::network::Part;
use crate::family::EngineError;
use crate::family::check_images;
use crate::family::cuda::{Chunk, Judging, Learner, Plan, Steps};
use crate::nn::adam::Rates;

/// Buffers for batches of up to so many images.
struct Batch {
    capacity: usize,
    pictures: Memory<bf16>,
    features: Vec<LayerBuffers>,
    head: Vec<LayerBuffers>,
    costs: Memory<f32>,
    right: Memory<f32>,
    /// What slices find of the weights; none where nothing is trained.
    partial: Option<Memory<f32>>,
}

impl Batch {
    /// Bytes that [`new`](Self::new) takes, besides what slices find.
    fn bytes(model: &Vae, capacity: usize) -> u64 {
        let network = &model.network;
        let layers = LayerBuffers::bytes(&network.features, Use::Under)
            + LayerBuffers::bytes(&network.head, Use::Top);
        ((2 * LONELY * model.pixels() + 8 + layers) * capacity) as u64
    }

    /// `trained`: what is trained, if anything is.
    fn new(
        device: &Arc<dyn Device>,
        model: &Vae,
        capacity: usize,
        trained: Option<&Parameters>,
    ) -> Result<Self, EngineError> {
        let network = &model.network;
        Ok(Self {
            capacity,
            pictures: Memory::zeros(device, capacity * LONELY * model.pixels())?,
            features: LayerBuffers::of(device, &network.features, capacity, Use::Under)?,
            head: LayerBuffers::of(device, &network.head, capacity, Use::Top)?,
            costs: Memory::zeros(device, capacity)?,
            right: Memory::zeros(device, capacity)?,
            partial: partial(device, trained, capacity)?,
        })
    }
}

/// What its steps read and change.
struct State {
    device: Arc<dyn Device>,
    model: Vae,
    parameters: Parameters,
    data: ResidentImages,
    classes: Memory<u32>,
    seed: u64,
}

/// A classifier in training.
pub(in crate::families::vae) struct CudaClassifier {
    // Dropped first: its recordings refer to what learns.
    judging: Option<Judging<Batch>>,
    steps: Steps<State>,
}

/// A batch that is gathered as `rows` says.
struct Pass<'a> {
    state: &'a State,
    run: Run<'a>,
    batch: &'a Batch,
    rows: BatchRows,
}

impl State {
    fn pass<'a>(&'a self, batch: &'a Batch, rows: BatchRows, images: usize) -> Pass<'a> {
        assert!((1..=batch.capacity).contains(&images));
        Pass {
            state: self,
            run: Run {
                parameters: &self.parameters,
                images,
                cut_for: batch.capacity,
            },
            batch,
            rows,
        }
    }
}

impl Pass<'_> {
    fn stretches(&self) -> [Stretch<'_>; 2] {
        let batch = self.batch;
        let under = batch.features.last();
        [
            Stretch {
                layers: self.state.parameters.part(Part::Features),
                buffers: &batch.features,
                input: batch.pictures.address(),
            },
            Stretch {
                layers: self.state.parameters.part(Part::Head),
                buffers: &batch.head,
                input: under.map_or(Address::NULL, |b| address(&b.output)),
            },
        ]
    }

    /// Some of the numbers of layer `i` of all, what it gave or derivatives by its sums, are left out; none of a dense layer.
    fn dropout(&self, i: usize, values: Address) -> Option<Launch> {
        let network = &self.state.model.network;
        let rate = self.state.model.config.perceptual.dropout as f32;
        let convolutions = network.features.0.len() + 1;
        let layer = network.features.0.iter().chain(&network.head.0).nth(i)?;
        if i >= convolutions || rate == 0.0 {
            return None;
        }
        let (pixels, channels) = (
            layer.output.height * layer.output.width,
            layer.output.channels,
        );
        let dropout = Dropout {
            rows: self.rows,
            values,
            pixels: (self.run.images * pixels) as u64,
            channels,
            channels_up: channels.next_multiple_of(COPIED),
            layer: i,
            rate,
            seed: self.state.seed,
        };
        Some(dropout.launch())
    }

    /// Gather, layers, cross entropy; `trains`: numbers are left out, and derivatives by the odds are wanted.
    fn forward(&self, trains: bool) -> Result<Vec<Launch>, DeviceError> {
        let batch = self.batch;
        let gather = Gather {
            resident: self.state.data.addresses(),
            rows: self.rows,
            images: self.run.images,
            pixels: self.state.model.pixels(),
            told: 0,
            input: Address::NULL,
            channels: COPIED,
            lonely: batch.pictures.address(),
            target: Address::NULL,
            code: Address::NULL,
            latents: 0,
            code_pitch: 0,
        };
        let mut launches = vec![gather.launch()];
        let mut number = 0;
        for stretch in self.stretches() {
            for i in 0..stretch.layers.len() {
                launches.extend(self.run.forward(stretch.one(i))?);
                if trains {
                    launches.extend(self.dropout(number, address(&stretch.buffers[i].output)));
                }
                number += 1;
            }
        }
        let last = batch.head.last();
        let of_last = |of: fn(&LayerBuffers) -> Address| last.map_or(Address::NULL, of);
        let loss = CrossEntropy {
            rows: self.rows,
            images: self.run.images,
            classes: self.state.classes.address(),
            odds: of_last(|b| address(&b.numbers)),
            cost: batch.costs.address(),
            right: batch.right.address(),
            delta: match trains {
                true => of_last(|b| address(&b.delta)),
                false => Address::NULL,
            },
        };
        launches.push(loss.launch());
        Ok(launches)
    }

    fn backward(&self) -> Result<Vec<Launch>, DeviceError> {
        let [features, head] = self.stretches();
        // Both as one: the head's first layer is asked for derivatives by the sums of the last of the features.
        let mut launches = Vec::new();
        for i in (0..head.layers.len()).rev() {
            let launch = match i {
                0 => self.run.back_over(features, head)?,
                _ => self.run.back(head, i, false, Address::NULL)?,
            };
            launches.extend(launch);
            let (number, below) = match i.checked_sub(1) {
                Some(below) => (features.layers.len() + below, &head.buffers[below]),
                None => (
                    features.layers.len() - 1,
                    &features.buffers[features.layers.len() - 1],
                ),
            };
            launches.extend(self.dropout(number, address(&below.delta)));
        }
        for i in (1..features.layers.len()).rev() {
            launches.extend(self.run.back(features, i, false, Address::NULL)?);
            launches.extend(self.dropout(i - 1, address(&features.buffers[i - 1].delta)));
        }
        Ok(launches)
    }
}

// SAFETY: the images are the model's, each has a class, and its rows are checked; buffers are as large as the layers that launches are made of,
// and no batch is larger than its capacity; memory is the batch's, the chunk's and its own, which it never replaces.
unsafe impl Learner for State {
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
        let pass = self.pass(batch, BatchRows::of(chunk), images);
        let mut launches = pass.forward(true)?;
        launches.extend(pass.backward()?);
        let update = self.parameters.update(Goal::Step, chunk);
        let partial = address(&batch.partial);
        launches.extend(pass.run.weights(&pass.stretches(), partial, update)?);
        let finish = FinishStep {
            nll: batch.costs.address(),
            parts: 1,
            images,
            image_nll: Address::NULL,
            losses: chunk.losses.address(),
            cursor: chunk.cursor.address(),
        };
        launches.push(finish.launch());
        Ok(Plan::new(launches, None))
    }
}

impl CudaClassifier {
    /// Set up for the classifier of `model`, `classes` being those of the images of `data`.
    pub fn new(
        device: &Arc<dyn Device>,
        model: &Vae,
        (data, classes): (&ConditionedImages, &[bool]),
        seed: u64,
    ) -> Result<Self, EngineError> {
        check_images(model, data)?;
        if classes.len() != data.images.len() {
            return Err(EngineError::Mismatch(
                "there is not one class an image".into(),
            ));
        }
        let bytes = ResidentImages::bytes(data) + 4 * classes.len() as u64;
        check_room(
            device,
            &[
                (bytes, format!("{} images", data.images.len())),
                (
                    Parameters::bytes(model, &CLASSIFIER),
                    "the classifier's parameters".into(),
                ),
                (Chunk::bytes(1), "the order of images".into()),
            ],
            "train on fewer images, on another card or with --device cpu",
        )?;
        let classes: Vec<u32> = classes.iter().map(|class| u32::from(*class)).collect();
        let state = State {
            device: Arc::clone(device),
            model: model.clone(),
            parameters: Parameters::new(device, model, &CLASSIFIER)?,
            data: ResidentImages::new(device, model, data)?,
            classes: Memory::from(device, &classes)?,
            seed,
        };
        Ok(Self {
            judging: None,
            steps: Steps::new(device, state)?,
        })
    }
}

impl Learning for CudaClassifier {
    fn steps(&mut self, rows: &[u32], batch: usize, rates: Rates) -> Result<(), EngineError> {
        self.steps.steps(rows, batch, rates).map(drop)
    }

    fn judge(&mut self, rows: &[u32]) -> Result<Judged, EngineError> {
        let state = self.steps.learner();
        state.data.check_rows(rows)?;
        let (device, model) = (&state.device, &state.model);
        let judging = match &mut self.judging {
            Some(judging) => judging,
            none => none.insert(Judging::new(
                device,
                |images| Batch::bytes(model, images),
                |images| Batch::new(device, model, images, None),
            )?),
        };
        let mut all = Judged::default();
        let plan = |batch: &Batch, rows: &Memory<u32>, images: usize| {
            let pass = state.pass(batch, BatchRows::judged(rows), images);
            Ok(Plan::new(pass.forward(false)?, None))
        };
        let read = |batch: &Batch, images: usize| {
            let mut read = [vec![0.0f32; images], vec![0.0f32; images]];
            batch.costs.read(0, &mut read[0])?;
            batch.right.read(0, &mut read[1])?;
            let [loss, right] = read.map(|values| values.into_iter().map(f64::from).sum::<f64>());
            all = all.with(Judged {
                images,
                loss,
                right: right as usize,
            });
            Ok(())
        };
        // SAFETY: launches are of the batch, the rows and the learner's memory, which it never replaces; rows were checked above.
        unsafe { judging.judge(device, rows, plan, read)? };
        Ok(all)
    }

    fn parameters(&self, tensors: &mut [Vec<f32>]) -> Result<(), EngineError> {
        Ok(self.steps.learner().parameters.values(tensors)?)
    }
}
