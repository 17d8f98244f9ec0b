//! What the benches share: models, images, sizes. `cargo bench -- --test` runs each once, smaller.
#![allow(dead_code)]

use std::sync::Arc;
use std::time::Duration;

use criterion::Criterion;
use sarm::bench::PAPER;
use sarm::conditions::{ConditionedImages, Conditions};
use sarm::data::ImageSize;
use sarm::data::SparseImages;
use sarm::families::sarm::config::LikelihoodConfig;
use sarm::families::sarm::{Config, Sarm};
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
    if !testing() {
        let paper = PAPER.iter().find(|p| p.name == name);
        return paper.expect("a paper's configuration").model().unwrap();
    }
    let text = match name {
        "jets-dc" => include_str!("../../configs/paper/jets-dc.toml"),
        _ => include_str!("../../configs/paper/jets-dd.toml"),
    };
    let size = ImageSize {
        height: 7,
        width: 7,
    };
    let mut config = Config::parse(text).unwrap().resolve(size).unwrap();
    if let LikelihoodConfig::Dd { maximum, .. } = &mut config.likelihood {
        maximum.get_or_insert(285.0);
    }
    let mut model = Sarm::new(config).unwrap();
    synthetic::randomise(&mut model, 1, OCCUPANCY);
    model
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
