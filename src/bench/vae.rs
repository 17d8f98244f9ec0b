//! The jet VAE: its networks and data; on the CPU drawing and training.

use std::sync::Arc;

use super::{BenchError, Options, Report, SamplingResult, TrainingResult, rate};
use crate::conditions::{ConditionedImages, Conditions};
use crate::data::ImageSize;
use crate::device::{Cpu, Devices};
use crate::families::vae::{Config, Vae};
use crate::family::{EngineError, Model, SamplingPlan};
use crate::synthetic;

/// A configuration: its name and text.
pub const CONFIGS: [(&str, &str); 2] = [
    ("jets-vae", include_str!("../../configs/paper/vae.toml")),
    (
        "jets-sparse-vae",
        include_str!("../../configs/jets-sparse-vae.toml"),
    ),
];
/// images/s of the second paper's network on a K80 (arXiv:2009.04842, table 4).
pub const PAPER_IMAGES_PER_SECOND: f64 = 24_209.0;
/// Standardised conditions, of one image after the other.
const TOLD: [f32; 2] = [1.0, -1.0];
/// Images of a step, as in the paper.
const BATCH: usize = 100;

/// The network of a configuration, 25 x 25 pixels, untrained, and how to draw from it; `tiny`: 9 x 9 pixels and few filters, to see that it
/// runs.
pub fn model(text: &str, tiny: bool) -> Result<(Vae, SamplingPlan), BenchError> {
    let mut config = Config::parse(text)?;
    let side = if tiny { 9 } else { 25 };
    if tiny {
        config.network.filters = [4, 4, 8];
        config.perceptual.filters = [4, 4, 4];
        config.perceptual.units = [8, 4];
    }
    let size = ImageSize {
        height: side,
        width: side,
    };
    let model = Vae::untrained(&config, size, 1)?;
    let plan = SamplingPlan {
        seed: 7,
        conditions: Conditions::new(1, TOLD.to_vec()),
        ..SamplingPlan::default()
    };
    Ok((model, plan))
}

/// An even number of images to train `model` on.
pub fn data(model: &Vae, count: usize) -> Result<ConditionedImages, BenchError> {
    let size = model.config.image;
    let images = synthetic::images(size.height, size.width, count, 3, 0.1)
        .ok_or_else(|| EngineError::Mismatch("images of this size".into()))?;
    Ok(ConditionedImages {
        conditions: Conditions::new(1, TOLD.repeat(count / 2)),
        images,
    })
}

/// Measure the configuration `name`; `progress` is called with the name of each measurement.
pub fn run(
    cpu: &Cpu,
    (name, text): (&str, &str),
    options: &Options,
    report: &mut Report,
    progress: &dyn Fn(&str),
) -> Result<(), BenchError> {
    let (model, plan) = model(text, options.tiny)?;
    let [decoder, training] = model.multiply_adds();
    let devices = Devices::Cpu(cpu.clone());
    let gemm_gflops = report.gemm_gflops.unwrap_or(f64::NAN);
    let bound = |multiply_adds: f64| gemm_gflops * 1e9 / (2.0 * multiply_adds);

    progress(&format!("{name}: decoder"));
    let mut sampler = model.sampler(&devices, &plan)?;
    let batch = sampler.preferred_count();
    let mut drawn = sampler.sample(0, batch)?;
    let mut first = 0;
    let images = rate(options.seconds, batch, || {
        first += batch as u64;
        drawn = sampler.sample(first, batch)?;
        Ok(())
    })?;
    report.sampling.push(SamplingResult {
        config: name.into(),
        sampler: "decoder",
        device: cpu.describe(),
        batch,
        images_per_second: images.second,
        images_per_core_hour: images.second * 3600.0 / cpu.threads() as f64,
        images_per_cpu_second: images.cpu_second,
        bound_images_per_second: bound(decoder),
        paper_images_per_second: PAPER_IMAGES_PER_SECOND,
        occupancy: drawn.nonzeros() as f64 / (drawn.len() * drawn.pixels()) as f64,
    });

    progress(&format!("{name}: training"));
    let data = data(&model, 8 * BATCH)?;
    let mut trainer = model.trainer(&devices, Arc::new(data))?;
    let mut step = 0u32;
    let images = rate(options.seconds, BATCH, || {
        let start = step % 8 * BATCH as u32;
        step += 1;
        let rows: Vec<u32> = (start..start + BATCH as u32).collect();
        trainer.steps(&rows, BATCH, 1e-4.into()).map(drop)
    })?;
    report.training.push(TrainingResult {
        config: name.into(),
        device: cpu.describe(),
        batch: BATCH,
        images_per_second: images.second,
        images_per_cpu_second: images.cpu_second,
        bound_images_per_second: bound(training),
        paper_images_per_second: None,
    });
    Ok(())
}
