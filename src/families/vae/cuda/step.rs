//! The launches that a step is made of: gather, forward, loss, backward, update.

use super::batch::{Batch, parts};
use super::dataset::ResidentImages;
use super::layers::{Run, Stretch, address};
use super::ops::BatchRows;
use super::ops::features::Features;
use super::ops::gather::Gather;
use super::ops::latent::{Latent, LatentDelta};
use super::ops::loss::{Bernoulli, BernoulliDelta, MixtureLoss};
use super::parameters::{Goal, Parameters};
use crate::device::DeviceError;
use crate::device::cuda::device::{Address, Launch, Memory};
use crate::device::cuda::ops::step::FinishStep;
use crate::families::vae::Vae;
use crate::families::vae::network::Part;
use crate::family::EngineError;
use crate::family::cuda::{Chunk, Plan};

/// What every batch reads besides its own buffers.
pub(super) struct Around<'a> {
    pub model: &'a Vae,
    pub parameters: &'a Parameters,
    pub data: &'a ResidentImages,
}

/// A batch that is gathered as `rows` says.
struct Pass<'a> {
    around: &'a Around<'a>,
    run: Run<'a>,
    batch: &'a Batch,
    rows: BatchRows,
}

impl Batch {
    fn pass<'a>(&'a self, around: &'a Around<'a>, rows: BatchRows, images: usize) -> Pass<'a> {
        assert!((1..=self.capacity).contains(&images));
        Pass {
            around,
            run: Run {
                parameters: around.parameters,
                images,
                cut_for: self.capacity,
            },
            batch: self,
            rows,
        }
    }

    /// Forward alone: the costs of the resident images number `rows`, u32 `[images]`, always by the same noise.
    pub fn judging(
        &self,
        around: &Around,
        rows: &Memory<u32>,
        images: usize,
    ) -> Result<Plan, EngineError> {
        let pass = self.pass(around, BatchRows::judged(rows), images);
        Ok(Plan::new(pass.forward(false)?, None))
    }

    /// A whole step of the chunk on `images` images: forward, loss, backward, what `goal` asks for.
    pub fn step(
        &self,
        around: &Around,
        chunk: &Chunk,
        images: usize,
        goal: Goal,
    ) -> Result<Plan, EngineError> {
        let pass = self.pass(around, BatchRows::of(chunk), images);
        let mut launches = pass.forward(true)?;
        launches.extend(pass.backward()?);
        let learning = [pass.encoder(), pass.decoder()];
        let goal = around.parameters.update(goal, chunk);
        let partial = address(&self.partial);
        launches.extend(pass.run.weights(&learning, partial, goal)?);
        let finish = FinishStep {
            nll: self.costs.address(),
            parts: parts(around.model),
            images,
            image_nll: Address::NULL,
            losses: chunk.losses.address(),
            cursor: chunk.cursor.address(),
        };
        launches.push(finish.launch());
        Ok(Plan::new(launches, None))
    }
}

impl Pass<'_> {
    fn cost(&self, part: usize) -> Address {
        self.batch.costs.at(part * self.run.images)
    }

    fn encoder(&self) -> Stretch<'_> {
        Stretch {
            layers: self.around.parameters.part(Part::Encoder),
            buffers: &self.batch.encoder,
            input: self.batch.input.address(),
        }
    }

    fn decoder(&self) -> Stretch<'_> {
        Stretch {
            layers: self.around.parameters.part(Part::Decoder),
            buffers: &self.batch.decoder,
            input: self.batch.code.address(),
        }
    }

    /// The classifier's first layers, of true images and of those that are made.
    fn features(&self) -> Option<[Stretch<'_>; 2]> {
        let [of_true, of_made] = self.batch.pictures.as_ref()?;
        let layers = self.around.parameters.part(Part::Features);
        let of = |buffers, input: &Memory<_>| Stretch {
            layers,
            buffers,
            input: input.address(),
        };
        Some([
            of(&self.batch.of_true[..], of_true),
            of(&self.batch.of_made[..], of_made),
        ])
    }

    fn latent(&self) -> Latent {
        let (batch, model) = (self.batch, self.around.model);
        let encoder = self.encoder();
        Latent {
            rows: self.rows,
            images: self.run.images,
            latents: model.network.latents,
            codes: batch
                .encoder
                .last()
                .map_or(Address::NULL, |b| address(&b.numbers)),
            pitch: encoder.layers.last().map_or(0, |l| l.sums.numbers()),
            input: batch.code.address(),
            input_pitch: batch.code.len() / batch.capacity,
            cost: self.cost(parts(model) - 2),
            weight: model.config.loss.divergence as f32,
        }
    }

    fn bernoulli(&self) -> Bernoulli {
        let (batch, model) = (self.batch, self.around.model);
        let features = self.features();
        Bernoulli {
            images: self.run.images,
            pixels: model.pixels(),
            output: batch
                .decoder
                .last()
                .map_or(Address::NULL, |b| address(&b.numbers)),
            target: batch.target.address(),
            weight: model.config.loss.bernoulli as f32,
            cost: self.cost(parts(model) - 1),
            picture: features.map_or(Address::NULL, |[_, of_made]| of_made.input),
        }
    }

    /// Gather, networks, losses; with derivatives by what the losses are taken of where they are wanted.
    fn forward(&self, trained: bool) -> Result<Vec<Launch>, DeviceError> {
        let (batch, model) = (self.batch, self.around.model);
        let pixels = model.pixels();
        let wanted = |delta| if trained { delta } else { Address::NULL };
        let features = self.features();
        let gather = Gather {
            resident: self.around.data.addresses(),
            rows: self.rows,
            images: self.run.images,
            pixels,
            told: model.network.conditions,
            input: batch.input.address(),
            channels: batch.input.len() / batch.capacity / pixels,
            lonely: features.map_or(Address::NULL, |[of_true, _]| of_true.input),
            target: batch.target.address(),
            code: batch.code.address(),
            latents: model.network.latents,
            code_pitch: batch.code.len() / batch.capacity,
        };
        let mut launches = vec![gather.launch()];
        launches.extend(self.run.forward(self.encoder())?);
        launches.push(self.latent().launch());
        launches.extend(self.run.forward(self.decoder())?);
        if let (Some(mixture), Some(last)) = (model.mixture, batch.decoder.last()) {
            let loss = MixtureLoss {
                rows: self.rows,
                images: self.run.images,
                pixels,
                mixture,
                is_told: model.total().is_some(),
                unit: model.config.loss.unit as f32,
                output: address(&last.numbers),
                pitch: (self.decoder().layers.last()).map_or(0, |l| l.sums.outputs()),
                target: batch.target.address(),
                cost: self.cost(parts(model) - 1),
                delta: wanted(address(&last.delta)),
            };
            launches.push(loss.launch());
            return Ok(launches);
        }
        launches.push(self.bernoulli().launch());
        let Some([of_true, of_made]) = features else {
            return Ok(launches);
        };
        launches.extend(self.run.forward(of_true)?);
        launches.extend(self.run.forward(of_made)?);
        for (i, layer) in of_made.layers.iter().enumerate() {
            let made = &of_made.buffers[i];
            let is_last = i + 1 == of_made.layers.len();
            let features = Features {
                images: self.run.images,
                numbers: layer.sums.numbers(),
                real: layer.layer.output.numbers(),
                of_true: address(&of_true.buffers[i].numbers),
                of_made: address(&made.numbers),
                weight: model.config.loss.perceptual as f32,
                cost: self.cost(i),
                delta: wanted(address(&made.delta)),
                // Of all but the last, more is to come from above.
                slope: if is_last { layer.sums.slope } else { 1.0 },
            };
            launches.push(features.launch());
        }
        Ok(launches)
    }

    /// From the losses down to the sums of the encoder's first layer.
    fn backward(&self) -> Result<Vec<Launch>, DeviceError> {
        let batch = self.batch;
        let mut launches = Vec::new();
        if self.around.model.mixture.is_none() {
            let by_features = address(&batch.by_picture);
            if let Some([_, of_made]) = self.features() {
                launches.extend(self.run.all_back(of_made, true, by_features)?);
            }
            let last = batch.decoder.last();
            let delta = BernoulliDelta {
                of: self.bernoulli(),
                by_features,
                delta: last.map_or(Address::NULL, |b| address(&b.delta)),
            };
            launches.push(delta.launch());
        }
        let by_code = batch.by_code.address();
        launches.extend(self.run.all_back(self.decoder(), false, by_code)?);
        let last = batch.encoder.last();
        let delta = LatentDelta {
            of: self.latent(),
            by_input: by_code,
            delta: last.map_or(Address::NULL, |b| address(&b.delta)),
        };
        launches.push(delta.launch());
        let encoder = self.encoder();
        launches.extend(self.run.all_back(encoder, false, Address::NULL)?);
        Ok(launches)
    }
}
