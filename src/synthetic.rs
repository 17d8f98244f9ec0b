//! Made-up weights and images with the look of real ones, for benches and tests.

use crate::data::SparseImages;
use crate::families::sarm::config::LikelihoodConfig;
use crate::families::sarm::{Sarm, StageTensor, Values};
use crate::random::{Purpose, normal, unit, words};

/// Fill `model` with random weights whose images have about `occupancy` nonzero pixels in one.
///
/// Weights are normal with the variance that keeps activations in scale; gates sit around the logit
/// of the occupancy, values around a few GeV.
pub fn randomise(model: &mut Sarm, seed: u64, occupancy: f64) {
    let gate_bias = ((1.0 - occupancy) / occupancy).ln() as f32;
    for t in 0..model.tensors.len() {
        let spec = model.tensors[t].clone();
        let columns = spec.columns();
        for row in 0..spec.rows() {
            let read = spec.read(row);
            let spread = if spec.is_weight() {
                (1.0 / read.max(1) as f64).sqrt()
            } else {
                0.1
            };
            for k in 0..read {
                let n = (row * columns + k) as u64;
                let z = normal(words(seed, Purpose::Synthetic, n, t as u32))[0];
                model.parameters[t][row * columns + k] = (spread * z) as f32;
            }
        }
    }
    for s in 0..model.stages.len() {
        let gate = model.index(s, StageTensor::GateBias);
        for b in &mut model.parameters[gate] {
            *b += gate_bias;
        }
        if let LikelihoodConfig::Dd { .. } = model.config.likelihood {
            let Values::Levels(grid) = model.values() else {
                continue;
            };
            let levels = model.index(s, StageTensor::LevelsBias);
            for (k, b) in model.parameters[levels].iter_mut().enumerate() {
                *b -= grid.value(k) / 3.0;
            }
        }
        if let LikelihoodConfig::Dc { components, .. } = model.config.likelihood {
            let value = model.index(s, StageTensor::ValueBias);
            for pixel in model.parameters[value].chunks_exact_mut(3 * components) {
                for (k, mean) in pixel[components..2 * components].iter_mut().enumerate() {
                    *mean += k as f32;
                }
            }
        }
    }
}

/// Random images: each pixel nonzero with chance `occupancy`, values exponential around 3 GeV.
///
/// `None` when the size is not allowed (see [`SparseImages::new`]).
pub fn images(
    height: usize,
    width: usize,
    count: usize,
    seed: u64,
    occupancy: f64,
) -> Option<SparseImages> {
    let mut images = SparseImages::new(height, width)?;
    for i in 0..count {
        images.push((0..height * width).filter_map(|p| {
            let w = words(seed, Purpose::Synthetic, i as u64, p as u32);
            (f64::from(unit(w[0])) < occupancy).then(|| (p as u16, -3.0 * unit(w[1]).ln()))
        }));
    }
    Some(images)
}
