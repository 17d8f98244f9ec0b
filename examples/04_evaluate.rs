//! Generated jets against the shipped ones: distances, and a page of plots in `runs/example-report`.
//!
//!     cargo run --release --example 04_evaluate

use std::error::Error;
use std::path::Path;

use sarm::data::{self, Dataset, ReadOptions};
use sarm::evaluate::report::{Extras, write_report};
use sarm::evaluate::{Options, evaluate};
use sarm::run::generate::{Job, Request};
use sarm::run::pretrained;

fn main() -> Result<(), Box<dyn Error>> {
    let truth = data::read(Path::new("data/jets-sample.h5"), &ReadOptions::default())?;
    // Both classes, as often as in training: nothing is given.
    let checkpoint = pretrained::open(Path::new("jets-w"))?;
    let drawn = Job::new(&checkpoint, &Request::new(20_000, 7))?.draw()?;
    let generated = Dataset {
        rows: (0..drawn.images.len() as u64).collect(),
        images: drawn.images,
        columns: drawn.conditions,
    };
    let evaluation = evaluate(&truth, &generated, &Options::default())?;
    for found in &evaluation.classes[0].observables {
        let metrics = &found.metrics;
        if let (Some(w1), Some(floor)) = (metrics.w1, metrics.w1_floor) {
            println!("{:14} W1 {w1:.4}, floor {floor:.4}", found.observable.name);
        }
    }
    let report = Path::new("runs/example-report");
    std::fs::create_dir_all(report)?;
    write_report(&evaluation, &Extras::default(), report, true)?;
    Ok(())
}
