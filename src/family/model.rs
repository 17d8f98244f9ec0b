//! The traits of a family, its configuration and its models.

use std::any::Any;
use std::sync::Arc;

use super::{Bounded, Encoder, EngineError};
use super::{ConfigError, Document, Sampler, SamplingPlan, TrainConfig, Trainer};
use crate::checkpoint::CheckpointError;
use crate::checkpoint::tensors::{Named, Tensors};
use crate::conditions::{ConditionConfig, ConditionedImages};
use crate::data::{ImageSize, SparseImages};
use crate::device::{DeviceChoice, Devices, Opened, Task, open};

/// A kind of models.
pub trait Family: Sync {
    /// What configurations and checkpoints call it: `sarm`.
    fn name(&self) -> &'static str;

    /// The configuration in `document`, every value checked.
    ///
    /// # Errors
    /// The mistakes, named with their keys or lines.
    fn configuration(&self, document: &Document) -> Result<Box<dyn Configuration>, ConfigError>;

    /// The model whose configuration, as [`Model::config_json`] wrote it, is in `file`; its parameters are not read yet.
    ///
    /// # Errors
    /// [`CheckpointError::Damaged`] where it does not make sense, or asks for more than the file can hold.
    fn model(&self, config: &str, file: &Tensors) -> Result<Box<dyn Model>, CheckpointError>;
}

/// A whole configuration file of a family: the model to be, and how to train it.
pub trait Configuration {
    /// Size of the images, where the configuration says it.
    fn image(&self) -> Option<ImageSize>;

    /// What the model is conditioned on; means and scales may be missing.
    fn conditions(&self) -> &ConditionConfig;

    /// How to train.
    fn training(&self) -> &TrainConfig;

    /// How to train, to change it.
    fn training_mut(&mut self) -> &mut TrainConfig;

    /// As TOML, every setting filled in.
    fn to_toml(&self) -> String;

    /// As JSON for a reader, every setting filled in.
    fn to_json(&self) -> String;

    /// What training on images of `size` takes of the memory of the host, by the shape of the network alone; `on_card`: a
    /// card trains. `None` where the family cannot say, or the configuration does not go with such images.
    fn demand(&self, _size: ImageSize, _on_card: bool) -> Option<Demand> {
        None
    }

    /// What to lower so that [`demand`](Self::demand) is `bytes` at the most.
    fn lower(&self, _size: ImageSize, _on_card: bool, _bytes: u64) -> Lower {
        Lower::Unknown
    }

    /// The model that it describes, for these images: what the data say is filled in, all parameters are 0.
    ///
    /// `conditions` are [those of the configuration](Self::conditions) with means and scales.
    ///
    /// # Errors
    /// A value that does not go with the images.
    fn complete(
        &self,
        images: &SparseImages,
        conditions: ConditionConfig,
    ) -> Result<Box<dyn Model>, ConfigError>;

    /// That its units are far from the images, where they are, and which would do; `mean_sum` is the mean over the images
    /// of the sum of their pixels, `mean_pixel` the mean nonzero pixel, both in the data's unit.
    fn far_from(&self, _mean_sum: f64, _mean_pixel: f64) -> Option<String> {
        None
    }
}

/// What a network takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// Its parameters, masked ones included.
    pub parameters: u64,
    /// Bytes of memory.
    pub bytes: u64,
}

/// Which settings of a configuration are to be lower where memory is short, in words with their values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lower {
    /// With these it fits: `units_per_pixel (3 -> 2)`.
    Fits(String),
    /// Even with these, the lowest, it takes so many bytes.
    Least(String, u64),
    /// The family cannot say.
    Unknown,
}

/// What training makes small, an image's share of it: what people call it and its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Objective {
    /// `NLL`
    pub name: &'static str,
    /// `nats/image`
    pub unit: &'static str,
}

impl Objective {
    /// A negative log-likelihood.
    pub const NLL: Self = Self {
        name: "NLL",
        unit: "nats/image",
    };
    /// As the title of an axis.
    pub fn title(self) -> &'static str {
        match self == Self::NLL {
            true => "NLL per image [nats]",
            false => "loss per image",
        }
    }

    /// A loss that is no likelihood.
    pub const LOSS: Self = Self {
        name: "loss",
        unit: "an image",
    };
}

/// A tensor of a model, for lists.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct TensorInfo {
    /// Its name in a checkpoint.
    pub name: String,
    /// Its shape, row-major.
    pub shape: Vec<usize>,
    /// How many of its numbers are not masked.
    pub unmasked: usize,
}

impl TensorInfo {
    /// How many numbers it has.
    pub fn size(&self) -> usize {
        self.shape.iter().product()
    }
}

/// A model of any family: configuration and parameters.
pub trait Model: Any + Send + Sync + std::fmt::Debug {
    /// Name of its family.
    fn family(&self) -> &'static str;

    /// What it is called in a sentence: `SARM-2`.
    fn title(&self) -> String;

    /// What training makes small: the numbers of [`Trainer::nll`] and of the epochs.
    fn objective(&self) -> Objective {
        Objective::NLL
    }

    /// Size of its images.
    fn image(&self) -> ImageSize;

    /// What it is conditioned on, with means and scales.
    fn conditions(&self) -> &ConditionConfig;

    /// Its configuration as checkpoints hold it: JSON, complete, without `[train]`.
    fn config_json(&self) -> String;

    /// The same as TOML, for a person.
    fn config_toml(&self) -> String;

    /// Its tensors, in the order of [`parameters`](Self::parameters).
    fn tensors(&self) -> Vec<TensorInfo>;

    /// Its parameters, one flat row-major tensor each.
    fn parameters(&self) -> &[Vec<f32>];

    /// Replace them; the new ones have the same sizes.
    fn set_parameters(&mut self, parameters: Vec<Vec<f32>>);

    /// Read its tensors from `file`, where their names have `prefix` before them.
    ///
    /// # Errors
    /// A tensor that is missing, of another shape, not finite, or not zero where it is masked.
    fn read(&self, file: &Tensors, prefix: &str) -> Result<Vec<Vec<f32>>, CheckpointError>;

    /// Its tensors packed: small enough to ship, rounded.
    fn packed(&self) -> Vec<Named<'_>>;

    /// Pixels of `images` that it gives no probability to: those above its range, those below it. None where all are
    /// possible.
    fn beyond(&self, images: &SparseImages) -> Vec<Beyond>;

    /// What of `images`, which it was completed for, it cannot do as it is meant to, in a sentence.
    fn unsuited(&self, _images: &SparseImages) -> Option<String> {
        None
    }

    /// Whether it can be trained on the images `rows` of `data`, on any device.
    ///
    /// # Errors
    /// What its family needs and the data lack.
    fn check_training(&self, _data: &ConditionedImages, _rows: &[u32]) -> Result<(), EngineError> {
        Ok(())
    }

    /// `images` with each pixel at the value that the model would draw in its place; `None` where it draws any value.
    fn as_drawn(&self, _images: &SparseImages) -> Option<SparseImages> {
        None
    }

    /// Set the parameters that training on the images `rows` of `data` starts from; `say` is told how far that is where it takes
    /// long.
    ///
    /// # Errors
    /// What has to be learnt first, and cannot be.
    fn initialise(
        &mut self,
        devices: &Devices,
        data: &ConditionedImages,
        rows: &[u32],
        training: &TrainConfig,
        say: &mut dyn FnMut(&str),
    ) -> Result<(), EngineError>;

    /// Start training on `data`.
    ///
    /// # Errors
    /// Images or conditions that are not the model's, several devices, too little memory.
    fn trainer(
        &self,
        devices: &Devices,
        data: Arc<ConditionedImages>,
    ) -> Result<Box<dyn Trainer>, EngineError>;

    /// Prepare for drawing.
    ///
    /// # Errors
    /// Conditions that are not the model's, a model that a card cannot draw, too little memory.
    fn sampler(
        &self,
        devices: &Devices,
        plan: &SamplingPlan,
    ) -> Result<Box<dyn Sampler>, EngineError>;

    /// Its likelihood, where the family has one.
    fn scorer(&self) -> Option<&dyn Scorer>;

    /// The bound of its likelihood, where it has one and no exact likelihood.
    fn bounded(&self) -> Option<&dyn Bounded> {
        None
    }

    /// Its encoder, where the family has codes.
    fn encoder(&self) -> Option<&dyn Encoder> {
        None
    }

    /// As what it is, for whoever knows the family.
    fn as_any(&self) -> &dyn Any;
}

/// A model with an exact likelihood.
pub trait Scorer {
    /// Log-likelihood in nats of each image: a density per GeV for each nonzero pixel, a mass for each zero.
    ///
    /// # Errors
    /// Images or conditions that are not the model's, pixels beyond its range, several devices.
    fn score(
        &self,
        devices: &Devices,
        data: Arc<ConditionedImages>,
    ) -> Result<Vec<f64>, EngineError>;
}

/// An end of the range of pixels that a model gives a probability to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The smallest pixel.
    Lower,
    /// The largest.
    Upper,
}

/// Pixels that a model gives no probability to, beyond one end of its range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Beyond {
    /// How many.
    pub count: usize,
    /// In how many images.
    pub images: usize,
    /// Which end.
    pub side: End,
    /// Where it is, GeV.
    pub end: f64,
    /// What ends there, in words.
    pub what: &'static str,
    /// The key of the configuration that moves it.
    pub key: &'static str,
    /// The farthest of them, GeV: the smallest below the range, the largest above it.
    pub farthest: f32,
    /// Its image, counted from 0.
    pub image: usize,
    /// Its row-major place.
    pub pixel: usize,
}

impl End {
    /// Where `end` is, as users read and type it. The lower end is as small as the smallest pixel, to all its digits.
    pub fn written(self, end: f64) -> String {
        match self {
            End::Upper => format!("{end:.4}"),
            End::Lower => (end as f32).to_string(),
        }
    }

    /// What is beyond it lies there.
    pub fn beyond(self) -> &'static str {
        match self {
            End::Upper => "beyond",
            End::Lower => "below",
        }
    }

    /// What the farthest pixel beyond it is.
    pub fn farthest(self) -> &'static str {
        match self {
            End::Upper => "largest",
            End::Lower => "smallest",
        }
    }
}

/// The devices that `choice` names with a sampler of `model` on them.
///
/// Under `auto` a model that the card cannot draw is drawn on the CPU, unless `plan` limits the card's memory.
///
/// # Errors
/// As for [`open`] and [`Model::sampler`].
pub fn open_sampler(
    choice: &DeviceChoice,
    threads: usize,
    model: &dyn Model,
    plan: &SamplingPlan,
) -> Result<(Opened, Box<dyn Sampler>), EngineError> {
    let opened = open(choice, threads, Task::Sampling)?;
    let chosen_here = *choice == DeviceChoice::Auto && opened.devices.card_count() > 0;
    match model.sampler(&opened.devices, plan) {
        Err(problem @ EngineError::Device(_)) if chosen_here && plan.max_memory.is_none() => {
            let opened = Opened::cpu_instead(threads, &problem)?;
            let sampler = model.sampler(&opened.devices, plan)?;
            Ok((opened, sampler))
        }
        sampler => Ok((opened, sampler?)),
    }
}
