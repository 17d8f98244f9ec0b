//! The autoregressive property by perturbation: a pixel changes nothing at its place or before, and
//! something after it.

use std::sync::Arc;

use crate::support::common::{conditions, model, small_toml};
use proptest::prelude::*;
use sarm::conditions::{ConditionedImages, Conditions};
use sarm::data::SparseImages;
use sarm::families::sarm::Engine;
use sarm::families::sarm::Sarm;
use sarm::families::sarm::cpu::CpuEngine;
use sarm::families::sarm::reference;
use sarm::families::sarm::reference::StageOutput;
use sarm::random::{Purpose, unit, words};

/// All numbers the network gives for each place of the drawing order.
fn by_place(outputs: &[StageOutput]) -> Vec<Vec<f64>> {
    outputs
        .iter()
        .flat_map(|stage| {
            stage.gates.iter().zip(&stage.values).map(|(gate, values)| {
                let mut numbers = vec![*gate];
                numbers.extend(values);
                numbers
            })
        })
        .collect()
}

/// Log-likelihood of `image` by the engine.
fn score(engine: &CpuEngine, model: &Sarm, image: &[f32], condition: &Conditions) -> f64 {
    let size = model.config.image;
    let mut images = SparseImages::new(size.height, size.width).unwrap();
    images.push_dense(image);
    let data = Arc::new(ConditionedImages {
        images,
        conditions: condition.clone(),
    });
    engine.score(model, data).unwrap()[0]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_pixel_speaks_to_later_ones_alone(
        height in 2usize..7, width in 2usize..7, centre in 0usize..4, units in 1usize..3,
        layers in 0usize..3, dd in any::<bool>(), order in 0usize..5, seed in any::<u64>(),
        at in 0.0f64..1.0, conditioned in any::<bool>(),
    ) {
        // Small pixels: a large one can drive a lone unit so far down GELU's tail that nothing is left of it. So D+D's
        // levels, to which pixels are moved, must be small too.
        let toml = small_toml([height, width], centre, units, layers, dd, order, conditioned)
            .replace("levels = 20", "levels = 20\nmaximum = 1.0");
        let model = model(&toml, height, width, seed, 0.4);
        let condition = conditions(&model, 1, seed);
        let pixels = height * width;
        let image: Vec<f32> = (0..pixels)
            .map(|p| {
                let w = words(seed, Purpose::Synthetic, p as u64, 9);
                if unit(w[0]) < 0.5 { 0.0 } else { unit(w[1]) }
            })
            .collect();
        let place = (at * pixels as f64) as usize;
        let pixel = model.order.concat()[place] as usize;
        let mut changed = image.clone();
        changed[pixel] = if image[pixel] > 0.0 { 0.0 } else { 0.7 };

        let before = by_place(&reference::forward(&model, &image, condition.row(0)).unwrap());
        let after = by_place(&reference::forward(&model, &changed, condition.row(0)).unwrap());
        prop_assert!(before[..=place] == after[..=place], "place {place} speaks to itself or before");
        if place + 1 < pixels {
            prop_assert!(before[place + 1..] != after[place + 1..], "no later place hears {place}");
        }
        if conditioned {
            // Here, too, a lone unit may sit so far down GELU's tail that a small step is lost.
            let heard = [-8.0, -1.0, 1.0, 8.0].into_iter().any(|step| {
                let other = reference::forward(&model, &image, &[condition.row(0)[0] + step]).unwrap();
                before[0] != by_place(&other)[0]
            });
            prop_assert!(heard, "the first place is deaf to the condition");
        }

        // The engine's likelihood moves by what the reference's moves.
        let engine = CpuEngine::new(1).unwrap();
        let want = reference::nll(&model, &changed, condition.row(0)).unwrap()
            - reference::nll(&model, &image, condition.row(0)).unwrap();
        let got = score(&engine, &model, &image, &condition) - score(&engine, &model, &changed, &condition);
        prop_assert!((want - got).abs() < 1e-3 * (1.0 + want.abs()), "{want} {got}");
    }
}
