//! Speed of this machine on the paper's four configurations, beside the paper's figures.

mod card;

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use crate::engine::cpu::CpuEngine;
use crate::engine::{
    ConditionedImages, Conditions, DeviceChoice, Engine, EngineError, SamplingPlan,
};
use crate::model::config::{ImageSize, LikelihoodConfig};
use crate::model::{Config, ConfigError, Model};
use crate::numeric::LANES;
use crate::synthetic;

/// One of the paper's networks, with what the paper measured on it.
pub struct PaperConfig {
    /// Name, as of the file in configs/.
    pub name: &'static str,
    toml: &'static str,
    size: ImageSize,
    /// Fraction of nonzero pixels in the paper's images.
    pub occupancy: f64,
    /// images/s of the paper's SARM-2 on 4 TITAN X (tables 2 and 4).
    pub paper_images_per_second: f64,
}

const JETS: ImageSize = ImageSize {
    height: 25,
    width: 25,
};
const MUONS: ImageSize = ImageSize {
    height: 32,
    width: 32,
};

/// Tables 2 (jets) and 4 (muons) of Lu et al., arXiv:2009.14017.
pub const PAPER: [PaperConfig; 4] = [
    PaperConfig {
        name: "jets-dc",
        toml: include_str!("../configs/jets-dc.toml"),
        size: JETS,
        occupancy: 0.1,
        paper_images_per_second: 2480.0,
    },
    PaperConfig {
        name: "jets-dd",
        toml: include_str!("../configs/jets-dd.toml"),
        size: JETS,
        occupancy: 0.1,
        paper_images_per_second: 1612.0,
    },
    PaperConfig {
        name: "muons-dc",
        toml: include_str!("../configs/muons-dc.toml"),
        size: MUONS,
        occupancy: 0.02,
        paper_images_per_second: 1136.0,
    },
    PaperConfig {
        name: "muons-dd",
        toml: include_str!("../configs/muons-dd.toml"),
        size: MUONS,
        occupancy: 0.02,
        paper_images_per_second: 625.0,
    },
];

impl PaperConfig {
    /// The model with random weights of the paper's sparsity.
    pub fn model(&self) -> Result<Model, ConfigError> {
        let mut config = Config::parse(self.toml)?.resolve(self.size)?;
        if let LikelihoodConfig::Dd { maximum, .. } = &mut config.likelihood {
            maximum.get_or_insert(285.0);
        }
        let mut model = Model::new(config)?;
        synthetic::randomise(&mut model, 1, self.occupancy);
        Ok(model)
    }
}

/// Multiply-adds of one image, drawn incrementally.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Work {
    /// Unmasked weights of the hidden layers and gates: needed for every image.
    pub always: f64,
    /// Those of the values (and D+D's shared map), times the nonzero pixels.
    pub where_nonzero: f64,
}

impl Work {
    /// For a model whose images have `occupancy` of their pixels nonzero.
    pub fn of(model: &Model, occupancy: f64) -> Self {
        let (mut always, mut where_nonzero) = (0.0, 0.0);
        for t in model.tensors.iter().filter(|t| t.is_weight()) {
            if t.name.contains(".value.") {
                where_nonzero += occupancy * t.unmasked() as f64;
            } else if !t.name.contains(".levels.") {
                always += t.unmasked() as f64;
            }
        }
        for stage in &model.stages {
            where_nonzero += occupancy * (stage.pixels * stage.levels * stage.values) as f64;
        }
        Self {
            always,
            where_nonzero,
        }
    }

    /// Multiply-adds of one image drawn naively: all weights of a stage, masked ones too, once for each of its pixels.
    pub fn naive(model: &Model) -> f64 {
        let weights = model.tensors.iter().filter(|t| t.is_weight());
        weights
            .filter(|t| !t.name.contains(".levels."))
            .map(|t| t.stage.pixels as f64 * t.size() as f64)
            .sum()
    }

    /// Multiply-adds in all.
    pub fn total(&self) -> f64 {
        self.always + self.where_nonzero
    }
}

/// What was run where.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Processor's name.
    pub processor: String,
    /// Threads used.
    pub threads: usize,
    /// Engine's own description.
    pub engine: String,
}

/// One sampler on one configuration.
#[derive(Debug, Clone, Serialize)]
pub struct SamplingResult {
    /// `jets-dc` ..
    pub config: String,
    /// `incremental` or `naive`.
    pub sampler: &'static str,
    /// Engine's own description.
    pub device: String,
    /// Images per call.
    pub batch: usize,
    /// Median of the repeats.
    pub images_per_second: f64,
    /// images_per_second * 3600 / threads.
    pub images_per_core_hour: f64,
    /// What the measured GEMM rate allows for the multiply-adds that this sampler cannot avoid.
    pub bound_images_per_second: f64,
    /// The paper's figure on 4 TITAN X.
    pub paper_images_per_second: f64,
    /// Fraction of nonzero pixels drawn.
    pub occupancy: f64,
}

/// Training on one configuration.
#[derive(Debug, Clone, Serialize)]
pub struct TrainingResult {
    /// `jets-dc` ..
    pub config: String,
    /// Engine's own description.
    pub device: String,
    /// Images per step.
    pub batch: usize,
    /// Median of the repeats.
    pub images_per_second: f64,
    /// What the measured GEMM rate allows for forward, backward and weight gradients.
    pub bound_images_per_second: f64,
    /// The paper's figure: it gives none.
    pub paper_images_per_second: Option<f64>,
}

/// Training on one configuration with one size of batch on a card.
#[derive(Debug, Clone, Serialize)]
pub struct CardTrainingResult {
    /// `jets-dc` ..
    pub config: String,
    /// Engine's own description.
    pub device: String,
    /// Images per step.
    pub batch: usize,
    /// Median of the repeats.
    pub images_per_second: f64,
    /// Microseconds that a step takes.
    pub step_microseconds: f64,
    /// Operations of an image on unmasked weights, forward and backward, a multiply-add counting two.
    pub operations_per_image: f64,
    /// The same in 10^12 operations a second, as measured.
    pub teraflops: f64,
    /// Bytes of parameters and moments that a step cannot avoid to read or write in device memory.
    pub bytes_per_step: f64,
}

/// Everything `sarm bench` measures.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Where.
    pub machine: Machine,
    /// f32 matrix rate in 10^9 operations a second, a multiply-add counting two; the `gemm` crate, 1024^3. None where the CPU was
    /// not measured.
    pub gemm_gflops: Option<f64>,
    /// Samplers.
    pub sampling: Vec<SamplingResult>,
    /// Training.
    pub training: Vec<TrainingResult>,
    /// Training on a card.
    pub training_on_card: Vec<CardTrainingResult>,
    /// Version of the program.
    pub version: &'static str,
}

/// What to measure, and how long.
#[derive(Debug, Clone)]
pub struct Options {
    /// Threads; 0: one per core.
    pub threads: usize,
    /// Configurations; empty: all.
    pub configs: Vec<String>,
    /// Seconds to spend on each figure, about.
    pub seconds: f64,
    /// Leave the naive sampler out.
    pub skip_naive: bool,
    /// What to measure: the CPU, a card, or (`auto`) the CPU and the card that there is.
    pub device: DeviceChoice,
}

/// Why a measurement could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// An unknown configuration.
    #[error(
        "there is no configuration '{0}' (the paper's are jets-dc, jets-dd, muons-dc, muons-dd)"
    )]
    Unknown(String),
    /// A configuration that does not parse.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Median of at least three timings of `f`, repeated until `seconds` are spent; images per second.
fn rate(
    seconds: f64,
    images: usize,
    mut f: impl FnMut() -> Result<(), EngineError>,
) -> Result<f64, EngineError> {
    f()?;
    let start = Instant::now();
    let mut times = Vec::new();
    while times.len() < 3 || start.elapsed().as_secs_f64() < seconds {
        let one = Instant::now();
        f()?;
        times.push(one.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(images as f64 / times[times.len() / 2])
}

/// The machine's f32 matrix rate in GFLOP/s on `threads` threads: the `gemm` crate on 1024 x 1024.
pub fn gemm_gflops(threads: usize, seconds: f64) -> f64 {
    const N: usize = 1024;
    let number = |i: usize, item: u32| {
        let w = crate::random::words(1, crate::random::Purpose::Synthetic, i as u64, item);
        crate::random::unit(w[0]) - 0.5
    };
    let a: Vec<f32> = (0..N * N).map(|i| number(i, 0)).collect();
    let b: Vec<f32> = (0..N * N).map(|i| number(i, 1)).collect();
    let mut c = vec![0.0f32; N * N];
    let n = N as isize;
    let parallelism = gemm::Parallelism::Rayon(threads);
    let mut times = Vec::new();
    let start = Instant::now();
    while times.len() < 5 || start.elapsed().as_secs_f64() < seconds {
        let one = Instant::now();
        // SAFETY: the three matrices hold N * N numbers each, row-major with stride N, and `c` is borrowed alone.
        unsafe {
            gemm::gemm(
                N,
                N,
                N,
                c.as_mut_ptr(),
                1,
                n,
                false,
                a.as_ptr(),
                1,
                n,
                b.as_ptr(),
                1,
                n,
                0.0f32,
                1.0f32,
                false,
                false,
                false,
                parallelism,
            );
        }
        times.push(one.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    2.0 * (N * N * N) as f64 / times[times.len() / 2] / 1e9
}

/// Name of the processor.
fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    info.lines()
        .find_map(|l| l.strip_prefix("model name")?.split_once(':'))
        .map_or_else(
            || std::env::consts::ARCH.into(),
            |(_, name)| name.trim().into(),
        )
}

/// Measure; `progress` is told what is being measured.
pub fn run(options: &Options, progress: &dyn Fn(&str)) -> Result<Report, BenchError> {
    let known = |name: &String| PAPER.iter().any(|p| p.name == name);
    if let Some(name) = options.configs.iter().find(|n| !known(n)) {
        return Err(BenchError::Unknown(name.clone()));
    }
    let card = card::open_card(options.device)?;
    let engine = CpuEngine::new(options.threads)?;
    let device = engine.describe();
    let chosen = |p: &&PaperConfig| {
        options.configs.is_empty() || options.configs.iter().any(|n| n == p.name)
    };
    let mut training_on_card = Vec::new();
    if let Some(card) = &card {
        for paper in PAPER.iter().filter(chosen) {
            training_on_card.extend(card::training(
                card.as_ref(),
                paper,
                options.seconds,
                progress,
            )?);
        }
    }
    let on_cpu = !matches!(options.device, DeviceChoice::Cuda(_));
    let mut matrix_rate = 0.0;
    if on_cpu {
        progress("matrix rate");
        matrix_rate = gemm_gflops(engine.threads(), options.seconds.min(2.0));
    }
    let mut report = Report {
        machine: Machine {
            processor: processor(),
            threads: engine.threads(),
            engine: device.clone(),
        },
        gemm_gflops: on_cpu.then_some(matrix_rate),
        sampling: Vec::new(),
        training: Vec::new(),
        training_on_card,
        version: env!("CARGO_PKG_VERSION"),
    };
    for paper in PAPER.iter().filter(|p| on_cpu && chosen(p)) {
        let model = paper.model()?;
        for naive in [false, true] {
            if naive && options.skip_naive {
                continue;
            }
            let sampler_name = if naive { "naive" } else { "incremental" };
            progress(&format!("{}: {sampler_name} sampler", paper.name));
            let plan = SamplingPlan {
                seed: 7,
                naive,
                ..SamplingPlan::default()
            };
            let mut sampler = engine.sampler(&model, &plan)?;
            let batch = sampler.preferred_count();
            let mut first = 0;
            let mut drawn;
            // The naive sampler takes most of a minute for one batch: once, and cold, is enough.
            let images_per_second = if naive {
                let one = Instant::now();
                drawn = sampler.sample(0, batch)?;
                batch as f64 / one.elapsed().as_secs_f64()
            } else {
                drawn = sampler.sample(0, LANES)?;
                rate(options.seconds, batch, || {
                    first += batch as u64;
                    drawn = sampler.sample(first, batch)?;
                    Ok(())
                })?
            };
            let occupancy = drawn.nonzeros() as f64 / (drawn.len() * drawn.pixels()) as f64;
            let work = match naive {
                true => Work::naive(&model),
                false => Work::of(&model, occupancy).total(),
            };
            report.sampling.push(SamplingResult {
                config: paper.name.into(),
                sampler: sampler_name,
                device: device.clone(),
                batch,
                images_per_second,
                images_per_core_hour: images_per_second * 3600.0 / engine.threads() as f64,
                bound_images_per_second: matrix_rate * 1e9 / (2.0 * work),
                paper_images_per_second: paper.paper_images_per_second,
                occupancy,
            });
        }
        progress(&format!("{}: training", paper.name));
        let batch = 128;
        let size = paper.size;
        let images = synthetic::images(size.height, size.width, 8 * batch, 3, paper.occupancy)
            .ok_or_else(|| EngineError::Device("image size".into()))?;
        let data = Arc::new(ConditionedImages {
            images,
            conditions: Conditions::none(),
        });
        let mut trainer = engine.trainer(&model, data)?;
        let mut step = 0u32;
        let images_per_second = rate(options.seconds, batch, || {
            let start = step % 8 * batch as u32;
            step += 1;
            let rows: Vec<u32> = (start..start + batch as u32).collect();
            trainer.step(&rows, 1e-4).map(drop)
        })?;
        let work = Work::of(&model, paper.occupancy);
        report.training.push(TrainingResult {
            config: paper.name.into(),
            device: device.clone(),
            batch,
            images_per_second,
            bound_images_per_second: matrix_rate * 1e9 / (6.0 * work.total()),
            paper_images_per_second: None,
        });
    }
    Ok(report)
}
