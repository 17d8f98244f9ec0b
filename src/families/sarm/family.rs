//! SARM as a family of models: the traits of [`family`](crate::family).

use std::any::Any;
use std::sync::Arc;

use super::cpu::CpuEngine;
use super::cuda::CudaEngine;
use super::mirror::{self, MirrorSampler, MirrorTrainer};
use super::{Config, Engine, Sarm, Statistics};
use crate::checkpoint::CheckpointError;
use crate::checkpoint::tensors::{Named, Tensors};
use crate::conditions::{ConditionConfig, ConditionedImages};
use crate::data::{ImageSize, SparseImages};
use crate::device::{Card, DeviceError, Devices};
use crate::family::EngineError;
use crate::family::cuda::on_cards;
use crate::family::{
    Beyond, ConfigError, Configuration, Demand, Document, Lower, Model, Sampler, SamplingPlan,
    Scorer, TensorInfo, TrainConfig, Trainer,
};

/// The family `sarm`.
pub struct Family;

/// Its name.
pub const NAME: &str = "sarm";

impl crate::family::Family for Family {
    fn name(&self) -> &'static str {
        NAME
    }

    fn configuration(&self, document: &Document) -> Result<Box<dyn Configuration>, ConfigError> {
        Ok(Box::new(Config::read(document)?))
    }

    fn model(&self, config: &str, file: &Tensors) -> Result<Box<dyn Model>, CheckpointError> {
        Ok(Box::new(Sarm::from_config(config, file)?))
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
        super::demand::of_training(self, size, on_card)
    }

    fn lower(&self, size: ImageSize, on_card: bool, bytes: u64) -> Lower {
        super::demand::lower(self, size, on_card, bytes)
    }

    fn complete(
        &self,
        images: &SparseImages,
        conditions: ConditionConfig,
    ) -> Result<Box<dyn Model>, ConfigError> {
        Ok(Box::new(self.model(images, conditions)?))
    }

    fn far_from(&self, mean_sum: f64, mean_pixel: f64) -> Option<String> {
        self.units_far_from(mean_sum, mean_pixel)
    }
}

impl Sarm {
    /// The SARM that `model` is, if it is one.
    pub fn of(model: &dyn Model) -> Option<&Self> {
        model.as_any().downcast_ref()
    }
}

/// What trains and scores a SARM on `devices`, which must be one.
fn engine(devices: &Devices, work: &str) -> Result<Box<dyn Engine>, EngineError> {
    match devices {
        Devices::Cpu(cpu) => Ok(Box::new(CpuEngine::on(cpu.clone()))),
        Devices::Cards(cards) => match &cards[..] {
            [card] => Ok(Box::new(on_card(card))),
            _ => Err(DeviceError::one_alone(work).into()),
        },
    }
}

fn on_card(card: &Card) -> CudaEngine {
    CudaEngine::new(Arc::clone(&card.device))
}

impl Sarm {
    fn own_mirror_images(&self, both: &SparseImages) -> Vec<bool> {
        let drawn = self.values().on_levels(both);
        mirror::own_mirror_images(drawn.as_ref().unwrap_or(both))
    }
}

impl Model for Sarm {
    fn family(&self) -> &'static str {
        NAME
    }

    fn title(&self) -> String {
        format!("SARM-{}", self.stages.len())
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
        (self.tensors.iter())
            .map(|spec| TensorInfo {
                name: spec.name.clone(),
                shape: spec.shape.clone(),
                unmasked: spec.unmasked(),
            })
            .collect()
    }

    fn parameters(&self) -> &[Vec<f32>] {
        &self.parameters
    }

    fn set_parameters(&mut self, parameters: Vec<Vec<f32>>) {
        self.parameters = parameters;
    }

    fn read(&self, file: &Tensors, prefix: &str) -> Result<Vec<Vec<f32>>, CheckpointError> {
        self.tensors_of(file, prefix)
    }

    fn packed(&self) -> Vec<Named<'_>> {
        self.packed_tensors()
    }

    fn beyond(&self, images: &SparseImages) -> Vec<Beyond> {
        self.values().beyond(images)
    }

    fn unsuited(&self, images: &SparseImages) -> Option<String> {
        let nothing = self.pixels_that_count_as_nothing(images);
        let mirrored = self
            .config
            .symmetry
            .mirror
            .then(|| mirror::wrong_way_round(images));
        let mirrored = mirrored.flatten();
        match (nothing, mirrored) {
            (Some(a), Some(b)) => Some(format!("{a}. Also, {b}")),
            (a, b) => a.or(b),
        }
    }

    fn as_drawn(&self, images: &SparseImages) -> Option<SparseImages> {
        self.values().on_levels(images)
    }

    fn initialise(
        &mut self,
        _devices: &Devices,
        data: &ConditionedImages,
        rows: &[u32],
        training: &TrainConfig,
        _say: &mut dyn FnMut(&str),
    ) -> Result<(), EngineError> {
        let (both, both_rows);
        let (data, rows) = match self.config.symmetry.mirror {
            true => {
                both = mirror::both(data);
                both_rows = mirror::both_rows(rows, data.images.len());
                (&both, &both_rows[..])
            }
            false => (data, rows),
        };
        let mut statistics =
            Statistics::of(&data.images, rows).with_endings(self, &data.images, rows);
        // Only training that starts from the sums needs to know what they come to.
        if training.running_sums > 0.0 {
            let condition = |row| data.conditions.row(u64::from(row));
            statistics = statistics.with_ends(self, &data.images, rows, &condition);
        }
        Sarm::initialise(self, training.seed, &statistics, training.running_sums);
        Ok(())
    }

    fn trainer(
        &self,
        devices: &Devices,
        data: Arc<ConditionedImages>,
    ) -> Result<Box<dyn Trainer>, EngineError> {
        let engine = engine(devices, "training")?;
        if !self.config.symmetry.mirror {
            return engine.trainer(self, data);
        }
        let data = Arc::new(mirror::both(&data));
        let inner = engine.trainer(self, Arc::clone(&data))?;
        Ok(Box::new(MirrorTrainer::new(
            inner,
            self.own_mirror_images(&data.images),
        )))
    }

    fn sampler(
        &self,
        devices: &Devices,
        plan: &SamplingPlan,
    ) -> Result<Box<dyn Sampler>, EngineError> {
        let inner: Box<dyn Sampler> = match devices {
            Devices::Cards(cards) => on_cards(cards, |card| on_card(card).sampler(self, plan))?,
            Devices::Cpu(cpu) => CpuEngine::on(cpu.clone()).sampler(self, plan)?,
        };
        Ok(match self.config.symmetry.mirror {
            true => Box::new(MirrorSampler(inner)),
            false => inner,
        })
    }

    fn scorer(&self) -> Option<&dyn Scorer> {
        Some(self)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Scorer for Sarm {
    fn score(
        &self,
        devices: &Devices,
        data: Arc<ConditionedImages>,
    ) -> Result<Vec<f64>, EngineError> {
        let engine = engine(devices, "scoring")?;
        if !self.config.symmetry.mirror {
            return engine.score(self, data);
        }
        let both = Arc::new(mirror::both(&data));
        let scores = engine.score(self, Arc::clone(&both))?;
        Ok(mirror::scores(
            &self.own_mirror_images(&both.images),
            &scores,
        ))
    }
}
