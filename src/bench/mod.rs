//! The speed of this machine for the papers' configurations, compared with the papers' figures.

mod card;
mod card_sampling;
mod cpu;
mod drawing;
mod paper;
mod vae;

pub use card_sampling::{CardSamplingResult, SamplingBounds};
pub use cpu::gemm_gflops;
pub use drawing::DrawingRate;
pub use paper::{MultiplyAdds, PAPER, PaperConfig};

use std::path::PathBuf;
use std::time::Instant;

use serde::Serialize;

use crate::device::DeviceChoice;
use crate::family::ConfigError;
use crate::family::EngineError;
use crate::run::generate::GenerateError;

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
    /// By the time that the process had on processors, all threads together: other work on the machine disturbs it least.
    pub images_per_cpu_second: f64,
    /// What the measured GEMM rate allows for the multiply-adds of one forward pass without the values of zero pixels. Inputs that
    /// are 0 are counted, though the sampler leaves out those that are 0 in all lanes.
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
    /// By the time that the process had on processors, all threads together.
    pub images_per_cpu_second: f64,
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
    /// Images per step.
    pub batch: usize,
    /// Median of the repeats, by the host's clock, thousands of steps ahead.
    pub images_per_second: f64,
    /// Microseconds that a step takes, by the host's clock.
    pub step_microseconds: f64,
    /// The same by the card's own clock, median of single steps.
    pub step_microseconds_on_card: f64,
    /// Operations of an image on unmasked weights, forward and backward, a multiply-add counting two.
    pub operations_per_image: f64,
    /// The same in 10^12 operations a second, as measured.
    pub teraflops: f64,
    /// Bytes of parameters and moments that a step cannot avoid to read or write in device memory.
    pub bytes_per_step: f64,
    /// What the measured matrix and copy rates allow for those: the larger of the two times.
    pub bound_images_per_second: f64,
}

/// What a card does.
#[derive(Debug, Clone, Serialize)]
pub struct CardReport {
    /// Engine's own description.
    pub device: String,
    /// bf16 matrix products out of registers (`mma.m16n8k16`), 10^12 operations a second.
    pub matrix_teraflops: f64,
    /// Copying in device memory, 10^9 bytes read and written a second.
    pub copy_gigabytes: f64,
    /// Reading the same weights on all multiprocessors out of the second-level cache, 10^9 bytes a second of all
    /// together.
    pub stream_gigabytes: f64,
    /// Training.
    pub training: Vec<CardTrainingResult>,
    /// Sampling.
    pub sampling: Vec<CardSamplingResult>,
    /// Why the energy was not counted, where it was not.
    pub without_energy: Option<String>,
}

/// Everything `sarm bench` measures.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Where.
    pub machine: Machine,
    /// f32 matrix rate in 10^9 operations a second, a multiply-add counting two; the `gemm` crate, 1024^3.
    /// None where the CPU was not measured.
    pub gemm_gflops: Option<f64>,
    /// Samplers.
    pub sampling: Vec<SamplingResult>,
    /// Training.
    pub training: Vec<TrainingResult>,
    /// The card, where one was measured.
    pub card: Option<CardReport>,
    /// Version of the program.
    pub version: &'static str,
}

/// What to measure, and how long.
#[derive(Debug, Clone)]
pub struct Options {
    /// What to measure: the CPU, a card, or (`auto`) the CPU and the card that there is.
    pub device: DeviceChoice,
    /// Threads; 0: one per core.
    pub threads: usize,
    /// Configurations; empty: all.
    pub configs: Vec<String>,
    /// Seconds to spend on each figure, about.
    pub seconds: f64,
    /// Leave the naive sampler out.
    pub skip_naive: bool,
    /// Small networks and batches, to see that everything runs: the figures say nothing.
    pub tiny: bool,
    /// Directory for the images that a card draws onto disk; none: the temporary directory.
    pub dir: Option<PathBuf>,
}

/// Why a measurement could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// An unknown configuration.
    #[error(
        "there is no configuration '{0}' (the papers' are jets-dc, jets-dd, muons-dc, muons-dd, jets-vae; ours is jets-sparse-vae)"
    )]
    Unknown(String),
    /// A configuration that does not parse.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Images could not be drawn onto disk.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// Where they were to go.
    #[error("cannot measure drawing onto disk at '{path}' ({source}); choose another directory with --dir", path = path.display())]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Images a second.
#[derive(Debug, Clone, Copy)]
struct Rate {
    /// By the clock: median of the repeats.
    second: f64,
    /// By the time that the process had on processors.
    cpu_second: f64,
}

/// At least three timings of `f`, repeated until `seconds` are spent.
fn rate(
    seconds: f64,
    images: usize,
    mut f: impl FnMut() -> Result<(), EngineError>,
) -> Result<Rate, EngineError> {
    f()?;
    let (start, on_processors) = (Instant::now(), processors_time());
    let mut times = Vec::new();
    while times.len() < 3 || start.elapsed().as_secs_f64() < seconds {
        let one = Instant::now();
        f()?;
        times.push(one.elapsed().as_secs_f64());
    }
    let all = (images * times.len()) as f64;
    let cpu_second = all / (processors_time() - on_processors);
    Ok(Rate {
        second: images as f64 / middle(times),
        cpu_second,
    })
}

/// Seconds that this process has had on processors so far, all threads together.
#[cfg(unix)]
fn processors_time() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Not known here.
#[cfg(not(unix))]
fn processors_time() -> f64 {
    f64::NAN
}

/// Median of `times`, of which there is at least one.
fn middle(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
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

impl Options {
    fn wants(&self, name: &str) -> bool {
        self.configs.is_empty() || self.configs.iter().any(|n| n == name)
    }

    fn chosen(&self) -> impl Iterator<Item = PaperConfig> {
        let wanted = PAPER.iter().filter(|p| self.wants(p.name));
        wanted.map(|p| if self.tiny { p.small() } else { p.clone() })
    }

    fn chosen_vaes(&self) -> impl Iterator<Item = &'static (&'static str, &'static str)> {
        vae::CONFIGS.iter().filter(|(name, _)| self.wants(name))
    }
}

/// Measure; `progress` is called with the name of each measurement.
///
/// # Errors
/// A configuration of neither paper, a device that is not there or has too little memory, work of it that failed.
pub fn run(options: &Options, progress: &dyn Fn(&str)) -> Result<Report, BenchError> {
    let of_vaes = || vae::CONFIGS.iter().map(|(name, _)| *name);
    let known = |name: &String| {
        of_vaes()
            .chain(PAPER.iter().map(|p| p.name))
            .any(|n| n == name)
    };
    if let Some(name) = options.configs.iter().find(|n| !known(n)) {
        return Err(BenchError::Unknown(name.clone()));
    }
    let card = match card::open(&options.device, progress)? {
        None => None,
        Some(card) => Some(card::run(options, &card, progress)?),
    };
    let mut report = Report {
        machine: Machine {
            processor: processor(),
            threads: 0,
            engine: card.as_ref().map_or(String::new(), |c| c.device.clone()),
        },
        gemm_gflops: None,
        sampling: Vec::new(),
        training: Vec::new(),
        card,
        version: env!("CARGO_PKG_VERSION"),
    };
    if !matches!(options.device, DeviceChoice::Cuda(_)) {
        cpu::run(options, &mut report, progress)?;
    }
    Ok(report)
}
