//! The log-likelihood of the first shipped jets under the model of W jets.
//!
//!     cargo run --release --example 03_score

use std::error::Error;
use std::path::Path;

use sarm::device::Devices;
use sarm::run::conditions::Given;
use sarm::run::pretrained;
use sarm::run::score::{Request, score};

fn main() -> Result<(), Box<dyn Error>> {
    let name = Path::new("jets-w");
    let checkpoint = pretrained::open(name)?;
    let request = Request {
        data: "data/jets-sample.h5".into(),
        given: Given::with_those_of(&[], pretrained::named(name))?,
        limit: Some(10),
        ..Request::default()
    };
    let scores = score(&checkpoint, &Devices::cpu(0)?, &request)?;
    let prior = scores.log_prior.unwrap_or_default();
    for ((row, image), conditions) in scores.rows.iter().zip(&scores.log_likelihood).zip(prior) {
        println!("row {row}: ln p = {image:.2} of the image, {conditions:.2} of its conditions");
    }
    Ok(())
}
