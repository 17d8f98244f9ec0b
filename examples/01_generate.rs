//! Jets of W bosons from the model that comes with the crate, in memory.
//!
//!     cargo run --release --example 01_generate

use std::error::Error;
use std::path::Path;

use sarm::run::generate::{Job, Request};
use sarm::run::pretrained;

fn main() -> Result<(), Box<dyn Error>> {
    let name = Path::new("jets-w");
    let checkpoint = pretrained::open(name)?;
    // 1000 images of random seed 7: W bosons, as the model's name says; pT, mass and total are drawn.
    let mut request = Request::new(1000, 7);
    request.conditions = pretrained::conditions(name);
    let drawn = Job::new(&checkpoint, &request)?.draw()?;

    let (height, width) = (drawn.images.height(), drawn.images.width());
    let mut image = vec![0.0f32; height * width]; // row-major, GeV
    drawn.images.dense_into(0, &mut image);
    let nonzero = image.iter().filter(|x| **x > 0.0).count();
    println!("image 0: {nonzero} of {} pixels nonzero", image.len());
    for (condition, values) in &drawn.conditions {
        println!("image 0: {condition} = {}", values[0]);
    }
    Ok(())
}
