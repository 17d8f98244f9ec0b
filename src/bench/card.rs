//! A card: its matrix, stream and copy rates, training, and sampling (`card_sampling.rs`).

use std::sync::Arc;

use super::card_sampling;
use super::card_sampling::Setting;
use super::paper::MultiplyAdds;
use super::{BenchError, CardReport, CardTrainingResult, Options, middle, rate, vae};
use crate::device::cuda::device::{Device, Launch, Memory};
use crate::device::cuda::driver;
use crate::device::cuda::driver::Energy;
use crate::device::cuda::ops::rates::{
    OPERANDS, STREAM_STEP, copy_rate, matrix_operations, matrix_rate, matrix_sums, stream_rate,
    stream_sums,
};
use crate::device::{Card, DeviceChoice};
use crate::families;
use crate::families::sarm::Sarm;
use crate::families::sarm::cuda::CudaEngine;
use crate::families::sarm::cuda::ops::linear::ADAM_BYTES;
use crate::family::EngineError;
use crate::family::Trainer;
use crate::random::{Purpose, words};

/// Batches: the paper's, which a card finds small; and one that fills it.
const BATCHES: [usize; 3] = [128, 1024, 8192];
/// Images on the card.
const IMAGES: usize = 1 << 16;
/// Repeats of a figure by the card's own clock.
const REPEATS: usize = 21;

/// A card, behind its number as the driver counts.
type Numbered = (usize, Arc<dyn Device>);

/// The card that `choice` asks for; none for the CPU, nor if `auto` finds none, which `progress` reports.
pub fn open(
    choice: &DeviceChoice,
    progress: &dyn Fn(&str),
) -> Result<Option<Numbered>, EngineError> {
    match choice {
        DeviceChoice::Cpu => Ok(None),
        DeviceChoice::Cuda(cards) => {
            let number = cards.one("sarm bench")?;
            Ok(Some((number, driver::open(number)?)))
        }
        DeviceChoice::Auto => match driver::open(0) {
            Ok(card) => Ok(Some((0, card))),
            Err(problem) => {
                if driver::BUILT {
                    progress(&format!("the CPU alone: {problem}"));
                }
                Ok(None)
            }
        },
    }
}

/// Median seconds of `launch` by the card's clock, warm.
fn median(card: &Arc<dyn Device>, launch: Launch) -> Result<f64, EngineError> {
    // SAFETY: the caller's memory is as large as the launchers below state, and outlives this call.
    let recording = unsafe { card.record(&[launch])? };
    // While the first runs, the host hands in the second, so that its clock starts with its kernel.
    let times = (0..REPEATS)
        .map(|_| {
            recording.replay()?;
            card.time(recording.as_ref())
        })
        .collect::<Result<Vec<f64>, _>>()?;
    Ok(middle(times))
}

/// bf16 matrix products out of registers, operations a second.
fn matrix(card: &Arc<dyn Device>) -> Result<f64, EngineError> {
    const ROUNDS: u32 = 1 << 14;
    // Exponents around 1, random signs and mantissas.
    let operands: Vec<u32> = (0..OPERANDS as u64)
        .map(|i| words(1, Purpose::Synthetic, i, 0)[0] & 0x80FF_80FF | 0x3F00_3F00)
        .collect();
    let properties = card.properties();
    let operands = Memory::from(card, &operands)?;
    let sums = Memory::<f32>::zeros(card, matrix_sums(properties))?;
    let launch = matrix_rate(properties, operands.address(), sums.address(), ROUNDS);
    Ok(matrix_operations(properties, ROUNDS) / median(card, launch)?)
}

/// Copying what no cache holds, bytes read and written a second.
fn copying(card: &Arc<dyn Device>) -> Result<f64, EngineError> {
    let bytes = (8 * card.properties().l2).clamp(1 << 24, 1 << 30) / 16 * 16;
    let numbers: Vec<u32> = (0..bytes / 4)
        .map(|i| (i as u32).wrapping_mul(0x9E37_79B9))
        .collect();
    let from = Memory::from(card, &numbers)?;
    let to = Memory::<u32>::zeros(card, numbers.len())?;
    let launch = copy_rate(card.properties(), from.address(), to.address(), bytes / 16);
    Ok(2.0 * bytes as f64 / median(card, launch)?)
}

/// Reading what all multiprocessors read, as weights are streamed, bytes a second of all together.
fn streaming(card: &Arc<dyn Device>) -> Result<f64, EngineError> {
    const ROUNDS: u32 = 16;
    let properties = card.properties();
    // What a second-level cache holds beside other things, and no multiprocessor's own cache does.
    let words = (properties.l2 / 4).clamp(1 << 20, 8 << 20) as u32 / 16;
    let words = words / STREAM_STEP * STREAM_STEP;
    let numbers: Vec<[u32; 4]> = (0..words)
        .map(|i| [0, 1, 2, 3].map(|j| (4 * i + j).wrapping_mul(0x9E37_79B9)))
        .collect();
    let from = Memory::from(card, &numbers)?;
    let sums = Memory::<u32>::zeros(card, stream_sums(properties))?;
    let launch = stream_rate(properties, from.address(), sums.address(), words, ROUNDS);
    let bytes = 16.0 * f64::from(words) * f64::from(ROUNDS) * f64::from(properties.multiprocessors);
    Ok(bytes / median(card, launch)?)
}

/// Operations on unmasked weights, forward and backward: every image goes through every output.
fn operations(model: &Sarm, occupancy: f64) -> f64 {
    let maps: usize = model
        .stages
        .iter()
        .map(|s| s.pixels * s.levels * s.values)
        .sum();
    let layers = MultiplyAdds::of(model, 1.0).total() - maps as f64;
    // D+D's map is needed where a pixel is not zero.
    6.0 * (layers + occupancy * maps as f64)
}

/// Measure card number `number`; `progress` is called with the name of each measurement.
pub fn run(
    options: &Options,
    number: usize,
    card: &Arc<dyn Device>,
    progress: &dyn Fn(&str),
) -> Result<CardReport, BenchError> {
    let engine = CudaEngine::new(Arc::clone(card));
    let named = Card {
        name: format!("cuda:{number}"),
        device: Arc::clone(card),
    };
    progress("the card's matrix, stream and copy rates");
    let mut report = CardReport {
        device: named.describe(),
        matrix_teraflops: matrix(card)? / 1e12,
        copy_gigabytes: copying(card)? / 1e9,
        stream_gigabytes: streaming(card)? / 1e9,
        training: Vec::new(),
        sampling: Vec::new(),
    };
    let energy = Energy::of(number);
    let setting = Setting {
        energy: energy.as_ref(),
        seconds: options.seconds,
        folder: options.dir.as_deref(),
    };
    for paper in options.chosen() {
        progress(&format!("{}: sampling on the card", paper.name));
        let sampling = card_sampling::run(&setting, &engine, paper, &report)?;
        report.sampling.push(sampling);
        let model = paper.model()?;
        let measured = Measured {
            config: paper.name,
            parameters: model.tensors.iter().map(|t| t.unmasked()).sum(),
            operations: operations(&model, paper.occupancy),
        };
        let mut trainer = engine.cuda_trainer(&model, &paper.images(IMAGES)?)?;
        train(
            &mut trainer,
            &measured,
            options.seconds,
            &mut report,
            progress,
        )?;
    }
    for config in options.chosen_vaes() {
        progress(&format!("{}: drawing on the card", config.0));
        let sampling = card_sampling::run_vae(&setting, card, *config, &report)?;
        report.sampling.push(sampling);
        let (model, _) = vae::model(config.1)?;
        let measured = Measured {
            config: config.0,
            parameters: model.learning(),
            operations: 2.0 * model.multiply_adds()[1],
        };
        let data = vae::data(&model, IMAGES)?;
        let mut trainer = families::vae::cuda::CudaTrainer::new(card, &model, &data)?;
        train(
            &mut trainer,
            &measured,
            options.seconds,
            &mut report,
            progress,
        )?;
    }
    Ok(report)
}

/// What is trained.
struct Measured {
    config: &'static str,
    /// Parameters that learn.
    parameters: usize,
    /// Operations of an image, forward and backward.
    operations: f64,
}

/// A trainer on a card, whose clock can be asked.
trait Timed: Trainer {
    /// Seconds of a step on `rows`, so many times.
    fn time_steps(&mut self, rows: &[u32], repeats: usize) -> Result<Vec<f64>, EngineError>;
}

impl Timed for families::sarm::cuda::CudaTrainer {
    fn time_steps(&mut self, rows: &[u32], repeats: usize) -> Result<Vec<f64>, EngineError> {
        self.time_steps(rows, repeats)
    }
}

impl Timed for families::vae::cuda::CudaTrainer {
    fn time_steps(&mut self, rows: &[u32], repeats: usize) -> Result<Vec<f64>, EngineError> {
        self.time_steps(rows, repeats)
    }
}

fn train(
    trainer: &mut dyn Timed,
    measured: &Measured,
    seconds: f64,
    report: &mut CardReport,
    progress: &dyn Fn(&str),
) -> Result<(), BenchError> {
    // What forward and backward read of the bf16 copy a cache may hold.
    let bytes = ADAM_BYTES * measured.parameters as f64;
    let operations = measured.operations;
    let rows: Vec<u32> = (0..IMAGES as u32).collect();
    for batch in BATCHES {
        progress(&format!(
            "{}: training on the card, batch {batch}",
            measured.config
        ));
        // The first call allocates and records.
        trainer.steps(&rows[..batch], batch, 1e-4.into())?;
        let images_per_second = rate(seconds, rows.len(), || {
            trainer.steps(&rows, batch, 1e-4.into()).map(drop)
        })?
        .second;
        let on_card = middle(trainer.time_steps(&rows[..batch], REPEATS)?);
        let products = operations * batch as f64 / (1e12 * report.matrix_teraflops);
        let optimiser = bytes / (1e9 * report.copy_gigabytes);
        report.training.push(CardTrainingResult {
            config: measured.config.into(),
            batch,
            images_per_second,
            step_microseconds: 1e6 * batch as f64 / images_per_second,
            step_microseconds_on_card: 1e6 * on_card,
            operations_per_image: operations,
            teraflops: operations * images_per_second / 1e12,
            bytes_per_step: bytes,
            bound_images_per_second: batch as f64 / products.max(optimiser),
        });
    }
    Ok(())
}
