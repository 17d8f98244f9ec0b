//! The engine's likelihood and gradients against the float64 reference and finite differences.

use std::sync::Arc;

use crate::support::common::{CONFIGS, data, model};
use sarm::conditions::{ConditionedImages, Conditions};
use sarm::data::SparseImages;
use sarm::families::sarm::Sarm;
use sarm::families::sarm::cpu::CpuEngine;
use sarm::families::sarm::{Engine, reference};
use sarm::family::Trainer;
use sarm::numeric::Isa;

fn reference_mean(model: &Sarm, data: &ConditionedImages) -> f64 {
    let mut image = vec![0.0; model.pixels()];
    let n = data.images.len();
    let sum: f64 = (0..n)
        .map(|i| {
            data.images.dense_into(i, &mut image);
            reference::nll(model, &image, data.conditions.row(i as u64)).unwrap()
        })
        .sum();
    sum / n as f64
}

#[test]
fn likelihood_is_the_reference() {
    for (i, (toml, h, w)) in CONFIGS.iter().enumerate() {
        let model = model(toml, *h, *w, i as u64, 0.3);
        let data = data(&model, 70, 5, 0.3);
        for isa in Isa::available() {
            let engine = CpuEngine::with_isa(2, isa).unwrap();
            let scores = engine.score(&model, Arc::clone(&data)).unwrap();
            let mut image = vec![0.0; model.pixels()];
            for (row, score) in scores.iter().enumerate() {
                data.images.dense_into(row, &mut image);
                let condition = data.conditions.row(row as u64);
                let want = -reference::nll(&model, &image, condition).unwrap();
                assert!(
                    (score - want).abs() < 2e-5 * want.abs().max(10.0),
                    "{toml} {isa:?} {row}: {score} {want}"
                );
            }
        }
    }
}

/// Central differences of the float64 reference, for every unmasked parameter of small models and a
/// spread of those of larger ones. The engine works in f32: its gradients carry a relative error of
/// some 1e-5 of the tensor's largest.
#[test]
fn gradients_are_derivatives() {
    for (i, (toml, h, w)) in CONFIGS.iter().enumerate() {
        let model = model(toml, *h, *w, i as u64, 0.3);
        let data = data(&model, 19, 6, 0.3);
        let rows: Vec<u32> = (0..19).collect();
        let engine = CpuEngine::new(2).unwrap();
        let (nll, gradients) = engine
            .cpu_trainer(&model, Arc::clone(&data))
            .gradients(&rows)
            .unwrap();
        assert!((nll - reference_mean(&model, &data)).abs() < 1e-5 * nll.abs());
        for (t, spec) in model.tensors.iter().enumerate() {
            let largest = gradients[t].iter().fold(0.0f32, |m, g| m.max(g.abs()));
            let columns = spec.columns();
            let step = (spec.size() / 23).max(1);
            let mut checked = 0;
            for place in (0..spec.size()).filter(|p| p % step == 0 || spec.size() < 40) {
                let (row, column) = (place / columns, place % columns);
                if column >= spec.read(row) {
                    assert_eq!(gradients[t][place], 0.0, "{} is masked", spec.name);
                    continue;
                }
                let at = |d: f32| {
                    let mut shifted = model.clone();
                    shifted.parameters[t][place] += d;
                    let moved = f64::from(shifted.parameters[t][place]);
                    (reference_mean(&shifted, &data), moved)
                };
                let (high, low) = (at(5e-4), at(-5e-4));
                let want = (high.0 - low.0) / (high.1 - low.1);
                let got = f64::from(gradients[t][place]);
                assert!(
                    (got - want).abs() < 2e-4 * f64::from(largest) + 2e-6,
                    "{toml}\n{} [{row}, {column}]: {got}, not {want}",
                    spec.name
                );
                checked += 1;
            }
            assert!(
                checked > 0 || spec.unmasked() < 5,
                "{} unchecked",
                spec.name
            );
        }
    }
}

/// An engine that is handed images without a look at their range names the first pixel beyond it.
#[test]
fn pixels_beyond_the_range_are_refused() {
    let log = "[likelihood]\nkind = 'dc'\nspace = 'log'\nlower = 0.01\nupper = 50.0";
    let dd = "[likelihood]\nkind = 'dd'\nlevels = 20\nmaximum = 40.0";
    for (toml, x, words) in [
        (log, 0.005f32, ["holds 0.005", "range begins at 0.01"]),
        (log, 51.0, ["holds 51", "range ends at 50.0000"]),
        (dd, 60.0, ["holds 60", "range ends at 41.0000"]),
    ] {
        let model = model(toml, 3, 3, 1, 0.3);
        let mut images = SparseImages::new(3, 3).unwrap();
        images.push([(4, 1.0)]);
        images.push([(2, 3.0), (5, x)]);
        let data = Arc::new(ConditionedImages {
            images,
            conditions: Conditions::none(),
        });
        let engine = CpuEngine::new(1).unwrap();
        let scored = engine.score(&model, Arc::clone(&data)).unwrap_err();
        let mut trainer = engine.trainer(&model, data).unwrap();
        let trained = trainer.step(&[0, 1], 1e-3.into()).unwrap_err();
        for error in [scored.to_string(), trained.to_string()] {
            for word in words.iter().chain(&["image 1, pixel (1, 2)"]) {
                assert!(error.contains(word), "{word}: {error}");
            }
        }
    }
}

/// A weighted batch is the sum of its images, each times its weight: against gradients of the images one by one.
#[test]
fn an_image_counts_by_its_weight() {
    for (i, (toml, h, w)) in CONFIGS.iter().enumerate() {
        let model = model(toml, *h, *w, i as u64, 0.3);
        let data = data(&model, 21, 6, 0.3);
        let rows: Vec<u32> = (0..21).rev().collect();
        let weights: Vec<f32> = (0..21).map(|i| [1.0, -0.5, 2.5, 0.0][i % 4]).collect();
        let engine = CpuEngine::new(2).unwrap();
        let weighted = |weights: Option<&[f32]>, rows: &[u32]| {
            let mut trainer = engine.cpu_trainer(&model, Arc::clone(&data));
            if let Some(weights) = weights {
                trainer.weigh(weights).unwrap();
            }
            trainer.gradients(rows).unwrap()
        };
        let (nll, gradients) = weighted(Some(&weights), &rows);
        let mut want: Vec<Vec<f64>> = gradients.iter().map(|g| vec![0.0; g.len()]).collect();
        let mut want_nll = 0.0;
        for row in &rows {
            let share = f64::from(weights[*row as usize]) / rows.len() as f64;
            let (nll, gradients) = weighted(None, &[*row]);
            want_nll += share * nll;
            for (sums, gradient) in want.iter_mut().zip(&gradients) {
                for (sum, g) in sums.iter_mut().zip(gradient) {
                    *sum += share * f64::from(*g);
                }
            }
        }
        assert!(
            (nll - want_nll).abs() < 1e-9 * want_nll.abs(),
            "{nll} {want_nll}"
        );
        for ((found, want), spec) in gradients.iter().zip(&want).zip(&model.tensors) {
            // Sums in single precision over 21 images.
            let largest = want.iter().fold(1e-3f64, |m, g| m.max(g.abs()));
            for (found, want) in found.iter().zip(want) {
                let off = (f64::from(*found) - want).abs();
                assert!(off < 1e-5 * largest, "{toml} {}: {found} {want}", spec.name);
            }
        }
        // Weights of 1 are no weights, bit for bit.
        assert!(weighted(Some(&[1.0; 21]), &rows) == weighted(None, &rows));
        let mut trainer = engine.cpu_trainer(&model, Arc::clone(&data));
        assert!(trainer.weigh(&[1.0; 20]).is_err());
    }
}

#[test]
fn steps_do_not_depend_on_threads_or_instruction_set() {
    for (i, (toml, h, w)) in CONFIGS.iter().enumerate() {
        let model = model(toml, *h, *w, i as u64, 0.3);
        let data = data(&model, 150, 7, 0.3);
        let rows: Vec<u32> = (0..150).rev().collect();
        let train = |threads, isa| {
            let engine = CpuEngine::with_isa(threads, isa).unwrap();
            let mut trainer = engine.trainer(&model, Arc::clone(&data)).unwrap();
            let losses: Vec<f64> = rows
                .chunks(64)
                .map(|r| trainer.step(r, 1e-3.into()).unwrap())
                .collect();
            (losses, trainer.state().unwrap())
        };
        let want = train(1, Isa::Portable);
        for isa in Isa::available() {
            for threads in [1, 2, 3, 5] {
                assert!(train(threads, isa) == want, "{toml} {isa:?} {threads}");
            }
        }
    }
}
