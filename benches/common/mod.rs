//! What the benches share: models, images, sizes. `cargo bench -- --test` runs each once, smaller.
#![allow(dead_code)]

use std::sync::Arc;
use std::time::Duration;

use criterion::Criterion;
use sarm::bench::PAPER;
use sarm::conditions::{ConditionedImages, Conditions};
use sarm::data::SparseImages;
use sarm::families::sarm::Sarm;
use sarm::synthetic;

/// Fraction of nonzero pixels in jet images.
pub const OCCUPANCY: f64 = 0.1;

/// Whether each bench runs only once, to see that it works.
pub fn testing() -> bool {
    std::env::args().any(|a| a == "--test")
}

/// `full`, or `small` under `--test`.
pub fn size(full: usize, small: usize) -> usize {
    if testing() { small } else { full }
}

/// Few samples and short ones: every bench is many images long.
pub fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args()
}

/// The paper's network `jets-dc` or `jets-dd` with random weights; on small images under `--test`.
pub fn jets(name: &str) -> Sarm {
    let paper = PAPER.iter().find(|p| p.name == name);
    let paper = paper.expect("a paper's configuration");
    let model = if testing() {
        paper.small().model()
    } else {
        paper.model()
    };
    model.unwrap()
}

/// Random images of a model's size.
pub fn images(model: &Sarm, count: usize) -> SparseImages {
    let size = model.config.image;
    synthetic::images(size.height, size.width, count, 3, OCCUPANCY).unwrap()
}

/// The same, to learn from.
pub fn data(model: &Sarm, count: usize) -> Arc<ConditionedImages> {
    Arc::new(ConditionedImages {
        images: images(model, count),
        conditions: Conditions::none(),
    })
}
