//! A card: sampling at the paper's sizes, and what bounds it.

use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use super::drawing::{DrawingRate, Folder, SEED, largest, measure};
use super::paper::{PaperConfig, Work, unmasked_weights};
use super::{BenchError, CardReport};
use crate::data::SparseImages;
use crate::engine::cuda::device::{Device, Properties};
use crate::engine::cuda::driver::Energy;
use crate::engine::{Engine, EngineError, Sampler, SamplingPlan};
use crate::model::{Model, StageShape};

/// What bounds sampling on a card, in images a second.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct SamplingBounds {
    /// Weights at the measured rate of the second-level cache: every tile of images reads all that are not masked,
    /// those of a pixel's value where a gate of the tile opens.
    pub weights: f64,
    /// Multiply-adds on the same weights, image by image, at the measured bf16 matrix rate.
    pub matrix: f64,
    /// As many images as all multiprocessors hold at once, in the time that one image alone takes on the card.
    pub latency: f64,
}

impl SamplingBounds {
    /// The lowest.
    pub fn lowest(&self) -> f64 {
        self.weights.min(self.matrix).min(self.latency)
    }
}

/// Sampling on one configuration on a card.
#[derive(Debug, Clone, Serialize)]
pub struct CardSamplingResult {
    /// `jets-dc` ..
    pub config: String,
    /// The paper's figure on 4 TITAN X, images a second.
    pub paper_images_per_second: f64,
    /// Fraction of nonzero pixels drawn.
    pub occupancy: f64,
    /// On the card alone, by its own clock: nothing is copied to the host.
    pub on_card: Vec<DrawingRate>,
    /// Into the host's memory, by the host's clock.
    pub into_memory: Vec<DrawingRate>,
    /// Into a file in the sparse layout, with the journal that a run resumes from, by the host's clock, until the
    /// file is complete.
    pub onto_disk: Vec<DrawingRate>,
    /// Bytes a second of the largest of those files.
    pub disk_bytes_per_second: f64,
    /// Median milliseconds until one image alone is in the host's memory.
    pub one_image_milliseconds: f64,
    /// Images in an hour into the host's memory, a million in one go.
    pub events_per_gpu_hour: f64,
    /// Images for a joule of the whole card, into the host's memory; none where NVML does not count it.
    pub images_per_joule: Option<f64>,
    /// Watts of the whole card meanwhile.
    pub watts: Option<f64>,
    /// What bounds the rate on the card.
    pub bounds: SamplingBounds,
    /// Rate on the card, a million images in one go, over the lowest bound.
    pub fraction_of_bound: f64,
}

/// How images lie on a card while they are drawn.
struct Tiling {
    /// Images of a tile, which read each weight together.
    images: u64,
    /// Tiles on a multiprocessor at once.
    tiles: u64,
    /// Bytes of weights that a tile reads.
    weight_bytes: f64,
}

impl Tiling {
    /// For `model` with `occupancy` of its pixels nonzero: as many images a tile as shared memory holds the activations
    /// and inputs of, bf16, by eights; one tile a multiprocessor; weights in bf16.
    fn of(model: &Model, properties: &Properties, occupancy: f64) -> Self {
        let bytes =
            |s: &StageShape| 2 * (s.units() * (s.layers + 1) + s.conditions + s.earlier + s.pixels);
        let largest = model.stages.iter().map(bytes).max().unwrap_or(1);
        let fit = properties.shared_per_block as usize / largest;
        let images = (fit / 8 * 8).clamp(8, 32);
        let [always, values] = unmasked_weights(model);
        let opens = 1.0 - (1.0 - occupancy).powi(images as i32);
        Self {
            images: images as u64,
            tiles: 1,
            // D+D's small map stays on the multiprocessor.
            weight_bytes: 2.0 * (always + opens * values),
        }
    }

    /// Images on the whole card at once.
    fn resident(&self, properties: &Properties) -> f64 {
        (u64::from(properties.multiprocessors) * self.tiles * self.images) as f64
    }
}

/// Seconds that drawing takes on the card alone.
fn device_seconds(
    card: &dyn Device,
    sampler: &mut dyn Sampler,
    first: u64,
    count: usize,
) -> Result<f64, EngineError> {
    card.synchronise()?;
    let begun = Instant::now();
    sampler.announce(first, count)?;
    card.synchronise()?;
    Ok(begun.elapsed().as_secs_f64())
}

/// Where, how long and beside what drawing is measured.
pub struct Setting<'a> {
    /// The card.
    pub card: &'a dyn Device,
    /// Its energy, where it is counted.
    pub energy: Option<&'a Energy>,
    /// Seconds of a figure, about.
    pub seconds: f64,
    /// Where files are written; the temporary directory unless given.
    pub folder: Option<&'a Path>,
}

/// Measure sampling on `paper`'s configuration, beside the rates of the card in `report`.
pub fn run(
    setting: &Setting,
    engine: &dyn Engine,
    paper: &PaperConfig,
    report: &CardReport,
) -> Result<CardSamplingResult, BenchError> {
    let model = paper.model()?;
    let plan = SamplingPlan {
        seed: SEED,
        ..SamplingPlan::default()
    };
    let mut sampler = engine.sampler(&model, &plan)?;
    let folder = Folder::new(setting.folder)?;
    let measured = measure(
        &mut sampler,
        &model,
        |sampler, first, count| device_seconds(setting.card, sampler, first, count),
        setting.energy,
        setting.seconds,
        &folder.0,
    )?;
    let properties = setting.card.properties();
    let tiling = Tiling::of(&model, properties, measured.occupancy);
    let operations = 2.0 * Work::of(&model, measured.occupancy).total();
    let alone = measured
        .on_card
        .first()
        .map_or(0.0, |r| r.images_per_second);
    let bounds = SamplingBounds {
        weights: 1e9 * report.stream_gigabytes * tiling.images as f64 / tiling.weight_bytes,
        matrix: 1e12 * report.matrix_teraflops / operations,
        latency: tiling.resident(properties) * alone,
    };
    let memory = largest(&measured.into_memory);
    Ok(CardSamplingResult {
        config: paper.name.into(),
        paper_images_per_second: paper.paper_images_per_second,
        occupancy: measured.occupancy,
        disk_bytes_per_second: measured.disk_bytes_per_second,
        one_image_milliseconds: 1e3
            / measured
                .into_memory
                .first()
                .map_or(f64::NAN, |r| r.images_per_second),
        events_per_gpu_hour: 3600.0 * memory,
        images_per_joule: measured.energy.map(|e| e.0),
        watts: measured.energy.map(|e| e.1),
        fraction_of_bound: largest(&measured.on_card) / bounds.lowest(),
        bounds,
        on_card: measured.on_card,
        into_memory: measured.into_memory,
        onto_disk: measured.onto_disk,
    })
}

/// As it is, behind its box.
impl Sampler for Box<dyn Sampler> {
    fn announce(&mut self, first: u64, count: usize) -> Result<(), EngineError> {
        (**self).announce(first, count)
    }

    fn sample(&mut self, first: u64, count: usize) -> Result<SparseImages, EngineError> {
        (**self).sample(first, count)
    }

    fn preferred_count(&self) -> usize {
        (**self).preferred_count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card() -> Properties {
        Properties {
            name: "an H100".into(),
            capability: (9, 0),
            multiprocessors: 132,
            shared_per_block: 227 << 10,
            shared_per_multiprocessor: 228 << 10,
            l2: 50 << 20,
            memory: 80 << 30,
        }
    }

    #[test]
    fn tiles_are_those_of_the_notes() {
        let tiling = |name: &str| {
            let paper = super::super::PAPER.iter().find(|p| p.name == name).unwrap();
            Tiling::of(&paper.model().unwrap(), &card(), paper.occupancy)
        };
        let jets = tiling("jets-dc");
        assert_eq!(jets.images, 24);
        assert_eq!(jets.resident(&card()), 132.0 * 24.0);
        // 4.2 M unmasked weights of two bytes, 8 % of the values' not needed.
        assert!((7.5e6..8.4e6).contains(&jets.weight_bytes));
        assert_eq!(tiling("muons-dc").images, 16);
        // D+D reads ten numbers a pixel instead of fifteen, and its map once and for all.
        let share = tiling("jets-dd").weight_bytes / jets.weight_bytes;
        assert!((0.7..0.85).contains(&share), "{share}");
    }
}
