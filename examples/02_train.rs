//! Two epochs on the shipped jets, into `runs/example`. Run it in a checkout: it reads its data.
//!
//!     cargo run --release --example 02_train

use std::error::Error;
use std::path::Path;

use sarm::data::{self, ReadOptions};
use sarm::device::Devices;
use sarm::families;
use sarm::run::train::{Silent, TrainPlan, train};

fn main() -> Result<(), Box<dyn Error>> {
    let mut config = families::configuration(&std::fs::read_to_string("configs/demo.toml")?)?;
    config.training_mut().epochs = 2;
    let options = ReadOptions {
        selections: vec!["row=0..7999".parse()?],
        columns: config.conditions().read().cloned().collect(),
        total: config.conditions().total.clone(),
        ..ReadOptions::default()
    };
    let dataset = data::read(Path::new("data/jets-sample.h5"), &options)?;
    let mut plan = TrainPlan::new(config, dataset, "runs/example");
    plan.force = true; // over what an earlier run of this example left
    let summary = train(&Devices::cpu(0)?, plan, &mut Silent)?;
    for epoch in &summary.history {
        println!("epoch {}: {:.2} nats", epoch.epoch, epoch.train_nll);
    }
    println!("{}", summary.model.display());
    Ok(())
}
