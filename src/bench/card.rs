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
use crate::device::{self, Card, DeviceChoice};
use crate::families;
use crate::families::sarm::Sarm;
use crate::families::sarm::cuda::CudaEngine;
use crate::families::sarm::cuda::ops::linear::ADAM_BYTES;
use crate::family::EngineError;
use crate::family::Trainer;
use crate::random::{Purpose, words};

/// How much work a figure takes.
struct Amount {
    /// Images of a step: the paper's, which a card finds small; more; and what fills it.
    batches: [usize; 3],
    /// Images on the card to train on.
    images: usize,
    /// Repeats of a figure by the card's own clock.
    repeats: usize,
    /// Products of a warp one after the other.
    products: u32,
    /// Bytes that are copied, at the most.
    copied: u64,
    /// Words of 16 bytes that all multiprocessors read, at the most, and how often.
    streamed: (u32, u32),
}

impl Amount {
    /// What measures a card.
    const FULL: Self = Self {
        batches: [128, 1024, 8192],
        images: 1 << 16,
        repeats: 21,
        products: 1 << 14,
        copied: 1 << 30,
        streamed: ((8 << 20) / 16, 16),
    };
    /// What shows that everything runs.
    const TINY: Self = Self {
        batches: [2, 4, 8],
        images: 8,
        repeats: 1,
        products: 4,
        copied: 1 << 16,
        streamed: (STREAM_STEP, 1),
    };
}

/// The card that `choice` asks for; none for the CPU, nor if `auto` finds none, which `progress` reports.
pub fn open(choice: &DeviceChoice, progress: &dyn Fn(&str)) -> Result<Option<Card>, EngineError> {
    match choice {
        DeviceChoice::Cpu => Ok(None),
        DeviceChoice::Cuda(cards) => Ok(Some(device::card(cards.one("sarm bench")?)?)),
        DeviceChoice::Auto => match device::first() {
            Ok(card) => Ok(Some(card)),
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
fn median(card: &Arc<dyn Device>, launch: Launch, repeats: usize) -> Result<f64, EngineError> {
    // SAFETY: the caller's memory is as large as the launchers below state, and outlives this call.
    let recording = unsafe { card.record(&[launch])? };
    // While the first runs, the host hands in the second, so that its clock starts with its kernel.
    let times = (0..repeats)
        .map(|_| {
            recording.replay()?;
            card.time(recording.as_ref())
        })
        .collect::<Result<Vec<f64>, _>>()?;
    Ok(middle(times))
}

/// bf16 matrix products out of registers, operations a second.
fn matrix(card: &Arc<dyn Device>, amount: &Amount) -> Result<f64, EngineError> {
    let rounds = amount.products;
    // Exponents around 1, random signs and mantissas.
    let operands: Vec<u32> = (0..OPERANDS as u64)
        .map(|i| words(1, Purpose::Synthetic, i, 0)[0] & 0x80FF_80FF | 0x3F00_3F00)
        .collect();
    let properties = card.properties();
    let operands = Memory::from(card, &operands)?;
    let sums = Memory::<f32>::zeros(card, matrix_sums(properties))?;
    let launch = matrix_rate(properties, operands.address(), sums.address(), rounds);
    Ok(matrix_operations(properties, rounds) / median(card, launch, amount.repeats)?)
}

/// Copying what no cache holds, bytes read and written a second.
fn copying(card: &Arc<dyn Device>, amount: &Amount) -> Result<f64, EngineError> {
    let bytes = (8 * card.properties().l2).max(1 << 24).min(amount.copied) / 16 * 16;
    let numbers: Vec<u32> = (0..bytes / 4)
        .map(|i| (i as u32).wrapping_mul(0x9E37_79B9))
        .collect();
    let from = Memory::from(card, &numbers)?;
    let to = Memory::<u32>::zeros(card, numbers.len())?;
    let launch = copy_rate(card.properties(), from.address(), to.address(), bytes / 16);
    Ok(2.0 * bytes as f64 / median(card, launch, amount.repeats)?)
}

/// Reading what all multiprocessors read, as weights are streamed, bytes a second of all together.
fn streaming(card: &Arc<dyn Device>, amount: &Amount) -> Result<f64, EngineError> {
    let (most, rounds) = amount.streamed;
    let properties = card.properties();
    // What a second-level cache holds beside other things, and no multiprocessor's own cache does.
    let words = (properties.l2 / 4 / 16).clamp(1 << 16, 1 << 19) as u32;
    let words = words.min(most) / STREAM_STEP * STREAM_STEP;
    let numbers: Vec<[u32; 4]> = (0..words)
        .map(|i| [0, 1, 2, 3].map(|j| (4 * i + j).wrapping_mul(0x9E37_79B9)))
        .collect();
    let from = Memory::from(card, &numbers)?;
    let sums = Memory::<u32>::zeros(card, stream_sums(properties))?;
    let launch = stream_rate(properties, from.address(), sums.address(), words, rounds);
    let bytes = 16.0 * f64::from(words) * f64::from(rounds) * f64::from(properties.multiprocessors);
    Ok(bytes / median(card, launch, amount.repeats)?)
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

/// Measure a card; `progress` is called with the name of each measurement.
pub fn run(
    options: &Options,
    measured: &Card,
    progress: &dyn Fn(&str),
) -> Result<CardReport, BenchError> {
    let card = &measured.device;
    let engine = CudaEngine::new(Arc::clone(card));
    let amount = match options.tiny {
        true => &Amount::TINY,
        false => &Amount::FULL,
    };
    progress("the card's matrix, stream and copy rates");
    let mut report = CardReport {
        device: measured.describe(),
        matrix_teraflops: matrix(card, amount)? / 1e12,
        copy_gigabytes: copying(card, amount)? / 1e9,
        stream_gigabytes: streaming(card, amount)? / 1e9,
        training: Vec::new(),
        sampling: Vec::new(),
        without_energy: None,
    };
    let energy = Energy::of(card.properties());
    let setting = Setting {
        energy: energy.as_ref().ok(),
        seconds: options.seconds,
        folder: options.dir.as_deref(),
        tiny: options.tiny,
    };
    for paper in options.chosen() {
        progress(&format!("{}: sampling on the card", paper.name));
        let sampling = card_sampling::run(&setting, &engine, &paper, &report)?;
        report.sampling.push(sampling);
        let model = paper.model()?;
        let measured = Measured {
            config: paper.name,
            parameters: model.tensors.iter().map(|t| t.unmasked()).sum(),
            operations: operations(&model, paper.occupancy),
        };
        let mut trainer = engine.cuda_trainer(&model, &paper.images(amount.images)?)?;
        let how = (options.seconds, amount);
        train(&mut trainer, &measured, how, &mut report, progress)?;
    }
    for config in options.chosen_vaes() {
        progress(&format!("{}: drawing on the card", config.0));
        let sampling = card_sampling::run_vae(&setting, card, *config, &report)?;
        report.sampling.push(sampling);
        let (model, _) = vae::model(config.1, options.tiny)?;
        let measured = Measured {
            config: config.0,
            parameters: model.learning(),
            operations: 2.0 * model.multiply_adds()[1],
        };
        let data = vae::data(&model, amount.images)?;
        let mut trainer = families::vae::cuda::CudaTrainer::new(card, &model, &data)?;
        let how = (options.seconds, amount);
        train(&mut trainer, &measured, how, &mut report, progress)?;
    }
    report.without_energy = energy.err();
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
    (seconds, amount): (f64, &Amount),
    report: &mut CardReport,
    progress: &dyn Fn(&str),
) -> Result<(), BenchError> {
    // What forward and backward read of the bf16 copy a cache may hold.
    let bytes = ADAM_BYTES * measured.parameters as f64;
    let operations = measured.operations;
    let rows: Vec<u32> = (0..amount.images as u32).collect();
    for batch in amount.batches {
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
        let on_card = middle(trainer.time_steps(&rows[..batch], amount.repeats)?);
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
