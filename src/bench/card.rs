//! Training speed of a card.

use std::sync::Arc;
use std::time::Instant;

use super::{BenchError, CardTrainingResult, PaperConfig, Work};
use crate::engine::{
    ConditionedImages, Conditions, DeviceChoice, Engine, EngineError, Work as For, open,
};
use crate::model::Model;
use crate::synthetic;

/// Batches: the paper's, which a card finds small; and one that fills it.
const BATCHES: [usize; 3] = [128, 1024, 8192];
/// Images in memory.
const IMAGES: usize = 4 * 8192;
/// Bytes that a step reads and writes for each parameter: the float32 master and Adam's two moments both
/// ways, the bfloat16 shadow once for each of forward, backward and the update.
const BYTES_PER_PARAMETER: f64 = 6.0 * 4.0 + 3.0 * 2.0;

/// The card that `choice` asks for; none for the CPU, nor where `auto` finds none.
pub fn open_card(choice: DeviceChoice) -> Result<Option<Box<dyn Engine>>, EngineError> {
    match choice {
        DeviceChoice::Cpu => Ok(None),
        DeviceChoice::Cuda(_) => Ok(Some(open(choice, 0, For::Training)?.engine)),
        DeviceChoice::Auto => Ok(open(DeviceChoice::Cuda(None), 0, For::Training)
            .ok()
            .map(|opened| opened.engine)),
    }
}

/// Operations on unmasked weights, forward and backward: every image goes through every output.
fn operations(model: &Model, occupancy: f64) -> f64 {
    let maps: usize = model
        .stages
        .iter()
        .map(|s| s.pixels * s.levels * s.values)
        .sum();
    let layers = Work::of(model, 1.0).total() - maps as f64;
    // D+D's map is needed where a pixel is not zero.
    6.0 * (layers + occupancy * maps as f64)
}

/// Train the network of `paper` on `engine`, for about `seconds` with each size of batch.
pub fn training(
    engine: &dyn Engine,
    paper: &PaperConfig,
    seconds: f64,
    progress: &dyn Fn(&str),
) -> Result<Vec<CardTrainingResult>, BenchError> {
    let model = paper.model()?;
    let size = paper.size;
    let images = synthetic::images(size.height, size.width, IMAGES, 3, paper.occupancy)
        .ok_or_else(|| EngineError::Device("image size".into()))?;
    let data = Arc::new(ConditionedImages {
        images,
        conditions: Conditions::none(),
    });
    let mut trainer = engine.trainer(&model, data)?;
    let parameters: usize = model.tensors.iter().map(|t| t.unmasked()).sum();
    let order: Vec<u32> = (0..IMAGES as u32).collect();
    let mut results = Vec::new();
    for batch in BATCHES {
        progress(&format!(
            "{}: training on the card, batch {batch}",
            paper.name
        ));
        // The first call loads, allocates and records; the second says how many images to ask for at once.
        trainer.steps(&order[..batch], batch, 1e-4)?;
        let one = Instant::now();
        trainer.steps(&order, batch, 1e-4)?;
        let passes = (0.2 / one.elapsed().as_secs_f64().max(1e-6)).clamp(1.0, 64.0) as usize;
        let rows = order.repeat(passes);
        let start = Instant::now();
        let mut times = Vec::new();
        while times.len() < 5 || start.elapsed().as_secs_f64() < seconds {
            let one = Instant::now();
            trainer.steps(&rows, batch, 1e-4)?;
            times.push(one.elapsed().as_secs_f64());
            // Five of a slow machine may take very long.
            if start.elapsed().as_secs_f64() > 10.0 * seconds {
                break;
            }
        }
        times.sort_by(f64::total_cmp);
        let rate = rows.len() as f64 / times[times.len() / 2];
        let operations = operations(&model, paper.occupancy);
        results.push(CardTrainingResult {
            config: paper.name.into(),
            device: engine.describe(),
            batch,
            images_per_second: rate,
            step_microseconds: 1e6 * batch as f64 / rate,
            operations_per_image: operations,
            teraflops: operations * rate / 1e12,
            bytes_per_step: BYTES_PER_PARAMETER * parameters as f64,
        });
    }
    Ok(results)
}
