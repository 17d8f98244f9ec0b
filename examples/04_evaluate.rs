//! Generated jets against the shipped ones: distances, and a page of plots in `runs/example-report`. Run it in a checkout: it
//! reads its data. (The shipped jets were part of the training set: judge a model by others.)
//!
//!     cargo run --release --example 04_evaluate

use std::error::Error;
use std::path::Path;

use sarm::data::{self, Dataset, ReadOptions};
use sarm::evaluate::report::{Extras, Meta, write_report};
use sarm::evaluate::{Options, evaluate};
use sarm::run::generate::{Job, Request};
use sarm::run::pretrained;

fn main() -> Result<(), Box<dyn Error>> {
    let truth = data::read(Path::new("data/jets-sample.h5"), &ReadOptions::default())?;
    // jets-w and jets-qcd are one model: with nothing given it draws both classes, as often as in training.
    let checkpoint = pretrained::open(Path::new("jets-w"))?;
    let drawn = Job::new(&checkpoint, &Request::new(20_000, 7))?.draw()?;
    let generated = Dataset {
        rows: (0..drawn.images.len() as u64).collect(),
        images: drawn.images,
        columns: drawn.conditions,
        ..Dataset::default()
    };
    let evaluation = evaluate(&truth, &generated, &Options::default())?;
    for found in &evaluation.classes[0].observables {
        let metrics = &found.metrics;
        if let (Some(w1), Some(floor)) = (metrics.w1, metrics.w1_floor) {
            println!("{:14} W1 {w1:.4}, floor {floor:.4}", found.observable.name);
        }
    }
    let extras = Extras {
        meta: Meta::of(&evaluation),
        ..Extras::default()
    };
    std::fs::create_dir_all("runs")?;
    write_report(&evaluation, &extras, Path::new("runs/example-report"), true)?;
    Ok(())
}
