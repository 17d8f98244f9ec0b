//! The log-likelihood of ten shipped W jets under the model of W jets. Run it in a checkout: it reads its data.
//!
//!     cargo run --release --example 03_score

use std::error::Error;
use std::path::Path;

use sarm::device::Devices;
use sarm::run::pretrained;
use sarm::run::score::{Request, score};

fn main() -> Result<(), Box<dyn Error>> {
    let name = Path::new("jets-w");
    let checkpoint = pretrained::open(name)?;
    let request = Request {
        data: vec!["data/jets-sample.h5".into()],
        select: vec!["signal=1".parse()?],
        limit: Some(10),
        ..Request::default()
    };
    let scores = score(&checkpoint, &Devices::cpu(0)?, &request)?;
    let prior = scores
        .log_prior
        .ok_or("the model does not know its conditions")?;
    for ((row, image), conditions) in scores.rows.iter().zip(&scores.log_likelihood).zip(prior) {
        println!("row {row}: ln p = {image:.2} of the image, {conditions:.2} of its conditions");
    }
    Ok(())
}
