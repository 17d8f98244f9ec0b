//! VAEs as a family of models: the traits of [`family`](crate::family).

use std::any::Any;
use std::sync::Arc;

use half::bf16;
use rayon::prelude::*;
use safetensors::tensor::Dtype;

use super::classifier::{Learning, Training, classes};
use super::cuda::drawing::Drawing;
use super::cuda::{CudaClassifier, CudaTrainer};
use super::gradients::AT_ONCE;
use super::network::Network;
use super::pass::TILE;
use super::sampler::VaeSampler;
use super::trainer::VaeTrainer;
use super::{Config, ModelConfig, Vae};
use crate::checkpoint::CheckpointError;
use crate::checkpoint::tensors::{Named, Numbers, Tensors};
use crate::conditions::{ConditionConfig, ConditionedImages};
use crate::data::{ImageSize, SparseImages};
use crate::device::{Card, Cpu, DeviceError, Devices};
use crate::family::cuda::{CudaSampler, on_cards};
use crate::family::{
    Beyond, Bounded, ConfigError, Configuration, Demand, Document, Encoder, EngineError, Model,
    Objective, Sampler, SamplingPlan, Scorer, TensorInfo, TrainConfig, Trainer, check_images,
};
use crate::likelihood::Values;

/// The family `vae`.
pub struct Family;

/// Its name.
pub const NAME: &str = "vae";

impl crate::family::Family for Family {
    fn name(&self) -> &'static str {
        NAME
    }

    fn configuration(&self, document: &Document) -> Result<Box<dyn Configuration>, ConfigError> {
        Ok(Box::new(Config::read(document)?))
    }

    fn model(&self, config: &str, file: &Tensors) -> Result<Box<dyn Model>, CheckpointError> {
        let config: ModelConfig = serde_json::from_str(config)
            .map_err(|e| file.damaged(format!("its configuration does not parse: {e}")))?;
        config
            .check()
            .map_err(|e| file.damaged(format!("its configuration: {e}")))?;
        let names = config.condition.names.len();
        if [&config.condition.mean, &config.condition.scale]
            .iter()
            .any(|list| list.len() != names)
        {
            return Err(file.damaged("its conditions lack means or scales"));
        }
        // The parameters of a hostile configuration may not fit in memory: ask the file first.
        let tensors = Network::new(&config).tensors();
        let expected: u64 = tensors.iter().map(|t| t.size() as u64).sum();
        let bytes = if file.packed()? { 2 } else { 4 };
        let most = file.bytes().len() as u64 / bytes;
        if expected > most {
            return Err(file.damaged(format!(
                "its configuration has {expected} parameters, more than the file can hold"
            )));
        }
        Ok(Box::new(Vae::new(config)))
    }
}

impl Configuration for Config {
    fn image(&self) -> Option<ImageSize> {
        self.image
    }

    fn conditions(&self) -> &ConditionConfig {
        &self.condition
    }

    fn training(&self) -> &TrainConfig {
        &self.train
    }

    fn training_mut(&mut self) -> &mut TrainConfig {
        &mut self.train
    }

    fn to_toml(&self) -> String {
        toml::to_string(&self.filled_in()).unwrap_or_default()
    }

    fn to_json(&self) -> String {
        serde_json::to_string_pretty(&self.filled_in()).unwrap_or_default()
    }

    fn demand(&self, size: ImageSize, on_card: bool) -> Option<Demand> {
        let config = self.resolve(size, self.condition.clone()).ok()?;
        config.check().ok()?;
        let network = Network::new(&config);
        let parameters = network.tensors().iter().map(|t| t.size() as u64).sum();
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
        let tiles = (self.train.batch.div_ceil(TILE) as u64).min(AT_ONCE as u64 * threads);
        // Values, moments, sums and derivatives of each tile; what an image is between the layers, twice.
        let of_tile = 2 * (TILE * network.numbers()) as u64;
        let numbers = match on_card {
            // Parameters, moments, and the state that is written.
            true => 7 * parameters,
            // And the parameters in the order of their products, forwards and backwards.
            false => parameters * (6 + tiles) + of_tile * threads.min(tiles),
        };
        Some(Demand {
            parameters,
            bytes: 4 * numbers,
        })
    }

    fn complete(
        &self,
        images: &SparseImages,
        conditions: ConditionConfig,
    ) -> Result<Box<dyn Model>, ConfigError> {
        let mut config = self.resolve(images.size(), conditions)?;
        config.likelihood = config.likelihood.map(|likelihood| likelihood.of(images));
        config.check()?;
        Ok(Box::new(Vae::new(config)))
    }
}

/// The processor, which alone works out codes and bounds.
pub(super) fn cpu(devices: &Devices) -> Result<&Cpu, EngineError> {
    match devices {
        Devices::Cpu(cpu) => Ok(cpu),
        Devices::Cards(_) => Err(DeviceError::processor_alone(NAME).into()),
    }
}

/// The card that trains.
fn one_card(devices: &Devices) -> Result<&Card, EngineError> {
    match devices {
        Devices::Cards(cards) if cards.len() == 1 => Ok(&cards[0]),
        _ => Err(DeviceError::one_alone("training").into()),
    }
}

impl Vae {
    /// Number of the condition that the classifier tells, where there is a classifier.
    fn class(&self) -> Option<usize> {
        let names = &self.config.condition.names;
        let class = &self.config.perceptual.class;
        (self.config.compares_features())
            .then(|| names.iter().position(|name| name == class))
            .flatten()
    }
}

impl Encoder for Vae {
    fn latents(&self) -> usize {
        self.network.latents
    }

    fn encode(&self, devices: &Devices, data: &ConditionedImages) -> Result<Vec<f32>, EngineError> {
        let cpu = cpu(devices)?;
        check_images(self, data)?;
        let networks = self.ready(&self.parameters, false);
        let rows: Vec<u32> = (0..data.images.len() as u32).collect();
        let codes: Vec<Vec<f32>> = cpu.pool().install(|| {
            (rows.par_chunks(TILE))
                .map(|rows| self.codes(&networks, &self.tile(data, rows)).values)
                .collect()
        });
        Ok(codes.concat())
    }

    fn classify(
        &self,
        devices: &Devices,
        data: &ConditionedImages,
    ) -> Result<Option<Vec<f32>>, EngineError> {
        let cpu = cpu(devices)?;
        check_images(self, data)?;
        Ok((self.class()).map(|_| self.answers(cpu, &data.images)))
    }
}

impl Model for Vae {
    fn family(&self) -> &'static str {
        NAME
    }

    fn title(&self) -> String {
        format!("VAE with {} latents", self.network.latents)
    }

    fn objective(&self) -> Objective {
        Objective::LOSS
    }

    fn image(&self) -> ImageSize {
        self.config.image
    }

    fn conditions(&self) -> &ConditionConfig {
        &self.config.condition
    }

    fn config_json(&self) -> String {
        serde_json::to_string(&self.config).unwrap_or_default()
    }

    fn config_toml(&self) -> String {
        toml::to_string(&self.config).unwrap_or_default()
    }

    fn tensors(&self) -> Vec<TensorInfo> {
        self.network.tensors()
    }

    fn parameters(&self) -> &[Vec<f32>] {
        &self.parameters
    }

    fn set_parameters(&mut self, parameters: Vec<Vec<f32>>) {
        self.parameters = parameters;
    }

    fn read(&self, file: &Tensors, prefix: &str) -> Result<Vec<Vec<f32>>, CheckpointError> {
        let packed = file.packed()?;
        (self.network.tensors().iter())
            .map(|tensor| {
                let name = format!("{prefix}{}", tensor.name);
                if !packed || tensor.shape.len() == 1 {
                    return file.tensor(&name, &tensor.shape);
                }
                let bytes = file.numbers(&name, Dtype::BF16, &tensor.shape)?;
                let (pairs, _) = bytes.as_chunks::<2>();
                file.finite(
                    &name,
                    pairs
                        .iter()
                        .map(|b| bf16::from_le_bytes(*b).to_f32())
                        .collect(),
                )
            })
            .collect()
    }

    fn packed(&self) -> Vec<Named<'_>> {
        (self.network.tensors().into_iter().zip(&self.parameters))
            .map(|(tensor, values)| Named {
                values: match tensor.shape.len() {
                    1 => Numbers::F32(values),
                    _ => Numbers::Bf16(values.iter().map(|v| bf16::from_f32(*v)).collect()),
                },
                name: tensor.name,
                shape: tensor.shape,
            })
            .collect()
    }

    fn beyond(&self, images: &SparseImages) -> Vec<Beyond> {
        let values = self.config.likelihood.as_ref().map(Values::new);
        values.map_or_else(Vec::new, |values| values.beyond(images))
    }

    fn unsuited(&self, images: &SparseImages) -> Option<String> {
        if self.mixture.is_some() {
            return None;
        }
        let unit = self.config.loss.unit;
        let (_, _, values) = images.csr();
        let count = values.iter().filter(|x| f64::from(**x) > unit).count();
        (self.config.loss.bernoulli > 0.0 && count > 0).then(|| {
            format!(
                "{count} pixels are above loss.unit = {unit} and count as {unit} in the Bernoulli term; a larger loss.unit sees all of them"
            )
        })
    }

    fn check_training(&self, data: &ConditionedImages, rows: &[u32]) -> Result<(), EngineError> {
        match self.class().map(|class| classes(data, rows, class)) {
            Some(None) => Err(EngineError::Mismatch(format!(
                "the condition '{}' has not two values (the classifier that images are compared by tells two classes apart); give images of both or set loss.perceptual to 0",
                self.config.perceptual.class
            ))),
            _ => Ok(()),
        }
    }

    fn initialise(
        &mut self,
        devices: &Devices,
        data: &ConditionedImages,
        rows: &[u32],
        training: &TrainConfig,
        say: &mut dyn FnMut(&str),
    ) -> Result<(), EngineError> {
        self.parameters = self.network.initial(training.seed);
        self.start_from(&data.images, rows);
        let classes = self.class().and_then(|class| classes(data, rows, class));
        if let Some(classes) = classes {
            let seed = training.seed;
            let mut learning: Box<dyn Learning> = match devices {
                Devices::Cpu(cpu) => Box::new(Training::new(cpu, self, (data, &classes), seed)),
                Devices::Cards(_) => {
                    let device = &one_card(devices)?.device;
                    Box::new(CudaClassifier::new(device, self, (data, &classes), seed)?)
                }
            };
            let tensors = self.with_classifier(&mut *learning, rows, seed, say)?;
            drop(learning);
            self.parameters = tensors;
        }
        Ok(())
    }

    fn trainer(
        &self,
        devices: &Devices,
        data: Arc<ConditionedImages>,
    ) -> Result<Box<dyn Trainer>, EngineError> {
        check_images(self, &data)?;
        self.check_range(&data.images)?;
        self.check_totals(&data)?;
        Ok(match devices {
            Devices::Cpu(cpu) => Box::new(VaeTrainer::new(cpu.clone(), self, data)),
            Devices::Cards(_) => {
                Box::new(CudaTrainer::new(&one_card(devices)?.device, self, &data)?)
            }
        })
    }

    fn sampler(
        &self,
        devices: &Devices,
        plan: &SamplingPlan,
    ) -> Result<Box<dyn Sampler>, EngineError> {
        match devices {
            Devices::Cpu(cpu) => {
                if let Some(bytes) = plan.max_memory {
                    return Err(DeviceError::memory_of_a_card_alone(bytes).into());
                }
                Ok(Box::new(VaeSampler::new(cpu.clone(), self, plan)?))
            }
            Devices::Cards(cards) => on_cards(cards, |card| {
                let drawing = Drawing::new(&card.device, self, plan)?;
                let size = self.config.image;
                let sampler = CudaSampler::new(&card.device, drawing, size, plan.max_memory)?;
                Ok(Box::new(sampler))
            }),
        }
    }

    fn scorer(&self) -> Option<&dyn Scorer> {
        None
    }

    fn bounded(&self) -> Option<&dyn Bounded> {
        self.mixture.map(|_| self as &dyn Bounded)
    }

    fn encoder(&self) -> Option<&dyn Encoder> {
        Some(self)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
