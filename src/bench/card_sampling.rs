//! A card: sampling at the paper's sizes, and what bounds it.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::drawing::{DrawingRate, Folder, Measured, SEED, largest, measure};
use super::paper::{MultiplyAdds, PaperConfig, unmasked_weights};
use super::{BenchError, CardReport, vae};
use crate::data::ImageSize;
use crate::device::cuda::device::Device;
use crate::device::cuda::driver::Energy;
use crate::families::sarm::Sarm;
use crate::families::sarm::cuda::CudaEngine;
use crate::families::vae::cuda::drawing::Drawing;
use crate::family::cuda::CudaSampler;
use crate::family::{Sampler, SamplingPlan};

/// What bounds sampling on a card, in images a second.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct SamplingBounds {
    /// Weights at the measured rate of the second-level cache: every tile of images must read all that are not masked,
    /// those of a pixel's value where a gate of the tile opens. (The kernel reads those of every pixel, ahead.) Of a VAE's
    /// decoder what lies between its layers, written and read once.
    pub weights: f64,
    /// Multiply-adds on the same weights, image by image, at the measured bf16 matrix rate.
    pub matrix: f64,
    /// As many images as all multiprocessors hold at once, in the time that one image alone takes on the card: what
    /// would be if nothing on a multiprocessor waited for anything else. Loose, as nine steps in ten of one image draw
    /// a zero, and few steps of a tile do.
    pub latency: f64,
}

impl SamplingBounds {
    /// The lowest.
    pub fn lowest(&self) -> f64 {
        self.weights.min(self.matrix).min(self.latency)
    }

    /// `rate`, in images a second, over each.
    fn fractions(&self, rate: f64) -> Self {
        Self {
            weights: rate / self.weights,
            matrix: rate / self.matrix,
            latency: rate / self.latency,
        }
    }
}

/// Sampling on one configuration on a card.
#[derive(Debug, Clone, Serialize)]
pub struct CardSamplingResult {
    /// `jets-dc` ..
    pub config: String,
    /// The paper's figure, images a second: on 4 TITAN X, of a VAE on a K80.
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
    /// Rate on the card, a million images in one go, over each bound.
    pub fractions_of_bounds: SamplingBounds,
    /// The same over the lowest.
    pub fraction_of_bound: f64,
}

/// Bytes of unmasked bf16 weights that a tile of `images` images reads, with `occupancy` of its pixels nonzero: those of a
/// pixel's values only where the gate of one of the images opens. D+D's small map stays on the multiprocessor.
fn weight_bytes(model: &Sarm, images: usize, occupancy: f64) -> f64 {
    let [always, values] = unmasked_weights(model);
    let opens = 1.0 - (1.0 - occupancy).powf(images as f64);
    2.0 * (always + opens * values)
}

/// Where, how long and beside what drawing is measured.
pub struct Setting<'a> {
    /// The card's energy, where it is counted.
    pub energy: Option<&'a Energy>,
    /// Seconds of a figure, about.
    pub seconds: f64,
    /// Where files are written; the temporary directory unless given.
    pub folder: Option<&'a Path>,
    /// Small networks, and few images, to see that it runs.
    pub tiny: bool,
}

/// Measure sampling on `paper`'s configuration, beside the rates of the card in `report`.
pub fn run(
    setting: &Setting,
    engine: &CudaEngine,
    paper: &PaperConfig,
    report: &CardReport,
) -> Result<CardSamplingResult, BenchError> {
    let model = paper.model()?;
    let plan = SamplingPlan {
        seed: SEED,
        ..SamplingPlan::default()
    };
    let mut sampler = engine.cuda_sampler(&model, &plan)?;
    let measured = setting.measure(&mut sampler, model.config.image)?;
    let (tile, wave) = sampler.tile_and_wave();
    let streamed = weight_bytes(&model, tile, measured.occupancy) / tile as f64;
    let operations = 2.0 * MultiplyAdds::of(&model, measured.occupancy).total();
    let needed = Needed {
        streamed,
        operations,
        wave,
    };
    let paper = (paper.name, paper.paper_images_per_second);
    Ok(result(paper, measured, &needed, report))
}

/// Measure drawing from the VAE configuration `name`, whose text is `text`, on `device`.
pub fn run_vae(
    setting: &Setting,
    device: &Arc<dyn Device>,
    (name, text): (&str, &str),
    report: &CardReport,
) -> Result<CardSamplingResult, BenchError> {
    let (model, plan) = vae::model(text, setting.tiny)?;
    let drawing = Drawing::new(device, &model, &plan)?;
    let mut sampler = CudaSampler::new(device, drawing, model.config.image, None)?;
    let measured = setting.measure(&mut sampler, model.config.image)?;
    let [decoder, _] = model.multiply_adds();
    let needed = Needed {
        streamed: model.bytes_between_layers_on_card() as f64,
        operations: 2.0 * decoder,
        wave: sampler.tile_and_wave().1,
    };
    let paper = (name, vae::PAPER_IMAGES_PER_SECOND);
    Ok(result(paper, measured, &needed, report))
}

impl Setting<'_> {
    fn measure<D: crate::family::cuda::Drawing>(
        &self,
        sampler: &mut CudaSampler<D>,
        size: ImageSize,
    ) -> Result<Measured, BenchError> {
        let folder = Folder::new(self.folder)?;
        let on_card = CudaSampler::draw_only;
        let first = if self.tiny {
            1
        } else {
            sampler.preferred_count()
        };
        let how = (self.seconds, first);
        measure(sampler, size, on_card, self.energy, how, &folder.0)
    }
}

/// What drawing an image takes at the least.
struct Needed {
    /// Bytes out of the second-level cache.
    streamed: f64,
    /// Of the tensor cores.
    operations: f64,
    /// Images that the card draws at a time.
    wave: usize,
}

fn result(
    (config, paper_images_per_second): (&str, f64),
    measured: Measured,
    needed: &Needed,
    report: &CardReport,
) -> CardSamplingResult {
    let alone = measured
        .on_card
        .first()
        .map_or(0.0, |r| r.images_per_second);
    let bounds = SamplingBounds {
        weights: 1e9 * report.stream_gigabytes / needed.streamed,
        matrix: 1e12 * report.matrix_teraflops / needed.operations,
        latency: needed.wave as f64 * alone,
    };
    let memory = largest(&measured.into_memory);
    CardSamplingResult {
        config: config.into(),
        paper_images_per_second,
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
        fractions_of_bounds: bounds.fractions(largest(&measured.on_card)),
        fraction_of_bound: largest(&measured.on_card) / bounds.lowest(),
        bounds,
        on_card: measured.on_card,
        into_memory: measured.into_memory,
        onto_disk: measured.onto_disk,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tile_reads_the_weights_that_it_needs() {
        let bytes = |name: &str, images| {
            let paper = crate::bench::PAPER.iter().find(|p| p.name == name);
            let paper = paper.unwrap();
            weight_bytes(&paper.model().unwrap(), images, paper.occupancy)
        };
        // 4.2 M unmasked weights of two bytes, 8 % of the values' not needed by 24 images, and 90 % by one.
        let tile = bytes("jets-dc", 24);
        assert!((7.5e6..8.4e6).contains(&tile), "{tile}");
        let alone = bytes("jets-dc", 1);
        assert!((3.0e6..3.6e6).contains(&alone), "{alone}");
        // D+D reads ten outputs a pixel instead of fifteen, and its map once and for all.
        let share = bytes("jets-dd", 24) / tile;
        assert!((0.7..0.85).contains(&share), "{share}");
    }
}
