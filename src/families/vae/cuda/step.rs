//! The launches that a step is made of: gather, forward, loss, backward, update.

use std::sync::Arc;

use super::batch::{Batch, LayerBuffers, parts};
use super::dataset::ResidentImages;
use super::ops::BatchRows;
use super::ops::features::Features;
use super::ops::gather::Gather;
use super::ops::latent::{Latent, LatentDelta};
use super::ops::loss::{Bernoulli, BernoulliDelta, MixtureLoss};
use super::parameters::{LayerPlace, Parameters};
use crate::device::DeviceError;
use crate::device::cuda::device::{Address, Device, Launch, Memory};
use crate::device::cuda::ops::convolution::Convolution;
use crate::device::cuda::ops::convolution_update::{Update, UpdateLayer, update};
use crate::device::cuda::ops::convolution_weights::ConvolutionWeights;
use crate::device::cuda::ops::step::FinishStep;
use crate::families::vae::Vae;
use crate::family::EngineError;
use crate::family::cuda::{Chunk, Plan};

/// What every batch reads besides its own buffers.
pub(super) struct Around<'a> {
    pub device: &'a Arc<dyn Device>,
    pub model: &'a Vae,
    pub parameters: &'a Parameters,
    pub data: &'a ResidentImages,
}

/// What becomes of a gradient.
#[derive(Debug, Clone, Copy)]
pub(super) enum Goal {
    /// A step of Adam.
    Step,
    /// The gradient is stored in an arena like the parameters'.
    Gradient(Address),
}

fn address<T: bytemuck::Pod>(memory: &Option<Memory<T>>) -> Address {
    memory.as_ref().map_or(Address::NULL, Memory::address)
}

/// A batch of `images` images that are gathered as `rows` says. `cut_for`: images that the cuts of layers are chosen for.
struct Pass<'a> {
    around: &'a Around<'a>,
    batch: &'a Batch,
    rows: BatchRows,
    images: usize,
    cut_for: usize,
}

/// Where what a layer gives goes: for the next layer, as numbers, or both.
#[derive(Clone, Copy)]
struct To {
    output: Address,
    numbers: Address,
}

impl LayerBuffers {
    fn to(&self) -> To {
        To {
            output: address(&self.output),
            numbers: address(&self.numbers),
        }
    }
}

impl Batch {
    /// Forward alone: the costs of the resident images number `rows`, u32 `[images]`, always by the same noise.
    pub fn judging(
        &self,
        around: &Around,
        rows: &Memory<u32>,
        images: usize,
    ) -> Result<Plan, EngineError> {
        let rows = BatchRows {
            rows: rows.address(),
            cursor: Address::NULL,
            before: Address::NULL,
        };
        let pass = Pass {
            around,
            batch: self,
            rows,
            images,
            // An image's bits do not depend on its company.
            cut_for: self.capacity,
        };
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
        let rows = BatchRows {
            rows: chunk.rows.address(),
            cursor: chunk.cursor.address(),
            before: chunk.before.address(),
        };
        let pass = Pass {
            around,
            batch: self,
            rows,
            images,
            cut_for: images,
        };
        let mut launches = pass.forward(true)?;
        launches.extend(pass.backward()?);
        let goal = match goal {
            Goal::Step => around.parameters.adam(chunk),
            Goal::Gradient(arena) => Update::Store(arena),
        };
        let (weights, scratch) = pass.weights(goal)?;
        launches.extend(weights);
        let finish = FinishStep {
            nll: self.costs.address(),
            parts: parts(around.model),
            images,
            image_nll: Address::NULL,
            losses: chunk.losses.address(),
            cursor: chunk.cursor.address(),
        };
        launches.push(finish.launch());
        Ok(Plan::new(launches, Some(scratch)))
    }
}

impl Pass<'_> {
    fn cost(&self, part: usize) -> Address {
        self.batch.costs.at(part * self.images)
    }

    fn convolution(&self, convolution: &Convolution) -> Result<Launch, DeviceError> {
        let cut = convolution.sums.cut(self.cut_for as u32);
        convolution.launch(cut, self.images as u32)
    }

    /// The layers of a chain, one after another, from `input` on.
    fn chain(
        &self,
        layers: &[LayerPlace],
        buffers: &[LayerBuffers],
        mut input: Address,
    ) -> Result<Vec<Launch>, DeviceError> {
        let mut launches = Vec::with_capacity(layers.len());
        for (layer, buffers) in layers.iter().zip(buffers) {
            let To { output, numbers } = buffers.to();
            launches.push(self.convolution(&Convolution {
                sums: layer.sums.over(&layer.phases),
                input,
                bias: self.around.parameters.bias(layer),
                addend: Address::NULL,
                seen: Address::NULL,
                output,
                numbers,
                slope: layer.sums.slope,
            })?);
            input = output;
        }
        Ok(launches)
    }

    fn latent(&self) -> Latent {
        let (batch, model) = (self.batch, self.around.model);
        let latents = model.network.latents;
        Latent {
            rows: self.rows,
            images: self.images,
            latents,
            codes: batch
                .encoder
                .last()
                .map_or(Address::NULL, |b| b.to().numbers),
            pitch: (self.around.parameters.encoder.last()).map_or(0, |l| l.sums.numbers()),
            input: batch.code.address(),
            input_pitch: batch.code.len() / batch.capacity,
            cost: self.cost(parts(model) - 2),
            weight: model.config.loss.divergence as f32,
        }
    }

    fn bernoulli(&self) -> Bernoulli {
        let (batch, model) = (self.batch, self.around.model);
        Bernoulli {
            images: self.images,
            pixels: model.pixels(),
            output: batch
                .decoder
                .last()
                .map_or(Address::NULL, |b| b.to().numbers),
            target: batch.target.address(),
            weight: model.config.loss.bernoulli as f32,
            cost: self.cost(parts(model) - 1),
            picture: (batch.pictures.as_ref())
                .map_or(Address::NULL, |pictures| pictures[1].address()),
        }
    }

    /// Gather, networks, losses; with derivatives by what the losses are taken of where they are wanted.
    fn forward(&self, trained: bool) -> Result<Vec<Launch>, DeviceError> {
        let (batch, model, parameters) = (self.batch, self.around.model, self.around.parameters);
        assert!((1..=batch.capacity).contains(&self.images));
        let pixels = model.pixels();
        let gather = Gather {
            resident: self.around.data.addresses(),
            rows: self.rows,
            images: self.images,
            pixels,
            told: model.network.conditions,
            input: batch.input.address(),
            channels: batch.input.len() / batch.capacity / pixels,
            lonely: (batch.pictures.as_ref())
                .map_or(Address::NULL, |pictures| pictures[0].address()),
            target: batch.target.address(),
            code: batch.code.address(),
            latents: model.network.latents,
            code_pitch: batch.code.len() / batch.capacity,
        };
        let mut launches = vec![gather.launch()];
        launches.extend(self.chain(&parameters.encoder, &batch.encoder, batch.input.address())?);
        launches.push(self.latent().launch());
        launches.extend(self.chain(&parameters.decoder, &batch.decoder, batch.code.address())?);
        if let (Some(mixture), Some(last)) = (model.mixture, batch.decoder.last()) {
            let loss = MixtureLoss {
                rows: self.rows,
                images: self.images,
                pixels,
                mixture,
                is_told: model.total().is_some(),
                unit: model.config.loss.unit as f32,
                output: last.to().numbers,
                pitch: (parameters.decoder.last()).map_or(0, |l| l.sums.outputs()),
                target: batch.target.address(),
                cost: self.cost(parts(model) - 1),
                delta: if trained {
                    address(&last.delta)
                } else {
                    Address::NULL
                },
            };
            launches.push(loss.launch());
            return Ok(launches);
        }
        launches.push(self.bernoulli().launch());
        let Some([of_true, made]) = &batch.pictures else {
            return Ok(launches);
        };
        let layers = &parameters.features;
        launches.extend(self.chain(layers, &batch.of_true, of_true.address())?);
        launches.extend(self.chain(layers, &batch.of_made, made.address())?);
        for (i, layer) in layers.iter().enumerate() {
            let made = &batch.of_made[i];
            let features = Features {
                images: self.images,
                numbers: layer.sums.numbers(),
                real: layer.layer.output.numbers(),
                of_true: batch.of_true[i].to().numbers,
                of_made: made.to().numbers,
                weight: model.config.loss.perceptual as f32,
                cost: self.cost(i),
                delta: if trained {
                    address(&made.delta)
                } else {
                    Address::NULL
                },
                // Of all but the last, more is to come from above.
                slope: if i + 1 == layers.len() {
                    layer.sums.slope
                } else {
                    1.0
                },
            };
            launches.push(features.launch());
        }
        Ok(launches)
    }

    /// Derivatives by the sums of the layers under the last one of a chain, from those by its sums on; `to`: those by what the chain is
    /// given. `adds`: what is there already is added to.
    fn back(
        &self,
        (layers, buffers): (&[LayerPlace], &[LayerBuffers]),
        adds: bool,
        to: Address,
    ) -> Result<Vec<Launch>, DeviceError> {
        let mut launches = Vec::with_capacity(layers.len());
        for (i, layer) in layers.iter().enumerate().rev() {
            let Some((sums, phases)) = layer.back() else {
                continue;
            };
            let below = i.checked_sub(1).map(|i| (&layers[i], &buffers[i]));
            let null = Address::NULL;
            let delta = below.map_or(null, |(_, below)| address(&below.delta));
            launches.push(self.convolution(&Convolution {
                sums: sums.over(phases),
                input: address(&buffers[i].delta),
                bias: null,
                addend: if adds { delta } else { null },
                seen: below.map_or(null, |(_, below)| address(&below.output)),
                output: delta,
                numbers: if below.is_none() { to } else { null },
                slope: below.map_or(1.0, |(layer, _)| layer.sums.slope),
            })?);
        }
        Ok(launches)
    }

    /// From the losses down to the sums of the encoder's first layer.
    fn backward(&self) -> Result<Vec<Launch>, DeviceError> {
        let (batch, parameters) = (self.batch, self.around.parameters);
        let mut launches = Vec::new();
        if self.around.model.mixture.is_none() {
            let chain = (&parameters.features[..], &batch.of_made[..]);
            let by_features = address(&batch.by_picture);
            launches.extend(self.back(chain, true, by_features)?);
            let delta = BernoulliDelta {
                of: self.bernoulli(),
                by_features,
                delta: batch
                    .decoder
                    .last()
                    .map_or(Address::NULL, |b| address(&b.delta)),
            };
            launches.push(delta.launch());
        }
        let by_code = address(&batch.by_code);
        let chain = (&parameters.decoder[..], &batch.decoder[..]);
        launches.extend(self.back(chain, false, by_code)?);
        let delta = LatentDelta {
            of: self.latent(),
            by_input: by_code,
            delta: batch
                .encoder
                .last()
                .map_or(Address::NULL, |b| address(&b.delta)),
        };
        launches.push(delta.launch());
        let chain = (&parameters.encoder[..], &batch.encoder[..]);
        launches.extend(self.back(chain, false, Address::NULL)?);
        Ok(launches)
    }

    /// Derivatives by the weights, and what becomes of them; the memory in which slices leave theirs.
    fn weights(&self, goal: Update) -> Result<(Vec<Launch>, Memory<f32>), EngineError> {
        let (batch, parameters) = (self.batch, self.around.parameters);
        let chains = [
            (&parameters.encoder, &batch.encoder, batch.input.address()),
            (&parameters.decoder, &batch.decoder, batch.code.address()),
        ];
        let images = self.images as u32;
        let mut all = Vec::new();
        let mut size = 0;
        for (layers, buffers, mut input) in chains {
            for (layer, buffers) in layers.iter().zip(buffers) {
                let sums = layer.sums.over(&layer.phases);
                let share = sums.share(images);
                all.push((layer, buffers, input, share, size));
                size += share.slices as usize * sums.slice() as usize;
                input = buffers.to().output;
            }
        }
        let scratch = Memory::<f32>::zeros(self.around.device, size)?;
        let (mut launches, mut layers) = (Vec::new(), Vec::new());
        for (layer, buffers, input, share, first) in all {
            let sums = layer.sums.over(&layer.phases);
            let partial = scratch.at(first);
            let weights = ConvolutionWeights {
                sums,
                input,
                delta: address(&buffers.delta),
                partial,
            };
            launches.push(weights.launch(share, images)?);
            let [turned, turned_at] = parameters.turned(layer);
            layers.push(UpdateLayer {
                partial,
                slices: share.slices,
                first: layer.first as u64,
                weights: layer.weights as u32,
                biases: layer.sums.outputs() as u32,
                phases: layer.sums.phases() as u32,
                turned_at,
                turned,
            });
        }
        launches.push(update(&layers, goal)?);
        Ok((launches, scratch))
    }
}
