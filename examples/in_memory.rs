//! Draws jets of a model that comes with the crate, scores them, and trains a small model on them: all in memory, with
//! none of the crate's features.
//!
//!     cargo run --release --no-default-features --example in_memory

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use sarm::conditions::{ConditionedImages, Conditions};
use sarm::data::Dataset;
use sarm::device::Devices;
use sarm::families;
use sarm::run::generate::{Job, Request};
use sarm::run::{pretrained, score};

const COUNT: usize = 500;

/// A small model without conditions.
const CONFIG: &str = "
[[stage]]
layers = 1
[likelihood]
kind = 'dc'
components = 2
";

fn main() -> Result<(), Box<dyn Error>> {
    let name = Path::new("jets-w");
    let checkpoint = pretrained::open(name)?;
    let request = Request {
        conditions: pretrained::conditions(name),
        ..Request::new(COUNT as u64, 1)
    };
    let drawn = Job::new(&checkpoint, &request)?.draw()?;
    let pixels: usize = (0..COUNT).map(|i| drawn.images.image(i).0.len()).sum();
    println!(
        "{COUNT} jets of {} nonzero pixels on average",
        pixels / COUNT
    );

    let devices = Devices::cpu(0)?;
    let dataset = Dataset {
        images: drawn.images.clone(),
        columns: drawn.conditions,
        rows: (0..COUNT as u64).collect(),
        ..Dataset::default()
    };
    let scores = score::score_dataset(&checkpoint, &devices, dataset)?;
    let mean = scores.log_likelihood.iter().sum::<f64>() / COUNT as f64;
    println!("ln p of a jet by the model that drew it: {mean:.1} nats on average");

    let config = families::configuration(CONFIG)?;
    let mut model = config.complete(&drawn.images, config.conditions().clone())?;
    let data = Arc::new(ConditionedImages {
        images: drawn.images,
        conditions: Conditions::none(),
    });
    let rows: Vec<u32> = (0..COUNT as u32).collect();
    model.initialise(&devices, &data, &rows, config.training(), &mut |_| {})?;
    let mut trainer = model.trainer(&devices, data)?;
    for epoch in 1..=3 {
        let losses = trainer.steps(&rows, 50, 1e-3.into())?;
        let loss = losses.iter().sum::<f64>() / losses.len() as f64;
        println!(
            "ln p by a small model, in epoch {epoch} of its training: {:.1} nats",
            -loss
        );
    }
    Ok(())
}
