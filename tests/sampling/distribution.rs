//! What is drawn follows the likelihood that is computed: sampler, network, gates and values in one.
//!
//! Two independent routes to every number: the engine draws in f32 with its incremental solve, the
//! float64 reference evaluates one image at a time from the definitions. All seeds are fixed.

use std::sync::Arc;

use crate::support::common::{conditions, model};
use sarm::conditions::total::{is_spent, spend};
use sarm::conditions::{ConditionedImages, Conditions};
use sarm::data::SparseImages;
use sarm::families::sarm::cpu::CpuEngine;
use sarm::families::sarm::{Engine, reference};
use sarm::families::sarm::{Sarm, Values};
use sarm::family::SamplingPlan;

/// `count` images of `model`, drawn under `conditions`.
fn draw(model: &Sarm, seed: u64, count: usize, conditions: &Conditions) -> SparseImages {
    let plan = SamplingPlan {
        seed,
        conditions: conditions.clone(),
        ..SamplingPlan::default()
    };
    let engine = CpuEngine::new(2).unwrap();
    let mut sampler = engine.sampler(model, &plan).unwrap();
    sampler.sample(0, count).unwrap()
}

/// Networks without and with earlier stages, orders that mix rows, both likelihoods.
const MODELS: [(&str, usize, usize); 4] = [
    ("stage = [{units_per_pixel = 2, layers = 2}]", 4, 4),
    (
        "stage = [{square = 2, units_per_pixel = 4, layers = 2}, {layers = 2, units_per_pixel = 2}]\n[condition]\nnames = ['signal']",
        4,
        5,
    ),
    (
        "order = {kind = 'random', seed = 8}\nstage = [{units_per_pixel = 2, layers = 1}]\n[likelihood]\nkind = 'dd'\nlatents = 4\nlevels = 12\npower = 2.0\n[input]\ntransform = 'sqrt'",
        4,
        4,
    ),
    (
        "order = {kind = 'reverse-spiral'}\nstage = [{square = 1, units_per_pixel = 4, layers = 1}, {square = 3, layers = 1}, {layers = 2}]\n[likelihood]\nkind = 'dc'\ncomponents = 2\nupper = 20.0\n[input]\ntransform = 'log1p'\n[condition]\nnames = ['signal', 'jet_pt']",
        5,
        4,
    ),
];

/// Logistics of the logarithm; pixels that are shown what is left of a total; both.
const LEFT: [(&str, usize, usize); 3] = [
    (
        "stage = [{units_per_pixel = 2, layers = 1}]\n[likelihood]\nkind = 'dc'\ncomponents = 2\nspace = 'log'\nlower = 0.05\nupper = 50.0",
        4,
        4,
    ),
    (
        "stage = [{square = 2, units_per_pixel = 4, layers = 1}, {layers = 1}]\n[likelihood]\nkind = 'dc'\ncomponents = 3\nunit = 4.0\n[input]\nunit = 20.0\nleft = 3\n[condition]\nnames = ['signal', 'all']\ntotal = 'all'",
        4,
        5,
    ),
    (
        "order = {kind = 'random', seed = 8}\nstage = [{square = 2, units_per_pixel = 3, layers = 1}, {layers = 1}]\n[likelihood]\nkind = 'dc'\ncomponents = 3\nspace = 'log'\nlower = 0.5\nunit = 4.0\nupper = 30.0\n[input]\nunit = 20.0\nleft = 5\n[condition]\nnames = ['all']\ntotal = 'all'",
        4,
        4,
    ),
];

/// A pixel opens with the chance its own network gives it, image by image.
///
/// Given the pixels before, a zero is a coin of chance g, so `zeros - sum g` is a martingale of
/// variance `sum g (1 - g)`.
#[test]
fn zeros_occur_as_often_as_the_gates_say() {
    let count = 100_000;
    for (i, (toml, height, width)) in MODELS.iter().chain(&LEFT).enumerate() {
        let model = model(toml, *height, *width, 40 + i as u64, 0.4);
        let conditions = conditions(&model, 7, 3);
        let images = draw(&model, 5, count, &conditions);
        let (mut surplus, mut variance) = (vec![0.0; model.pixels()], vec![0.0; model.pixels()]);
        let mut spread = 0.0f64;
        let mut image = vec![0.0; model.pixels()];
        for n in 0..count {
            images.dense_into(n, &mut image);
            let outputs = reference::forward(&model, &image, conditions.row(n as u64)).unwrap();
            let mut budget = model.budget(conditions.row(n as u64));
            for (stage, (order, output)) in model.order.iter().zip(&outputs).enumerate() {
                for (place, pixel) in order.iter().enumerate() {
                    let pixel = *pixel as usize;
                    if is_spent(budget) {
                        assert_eq!(image[pixel], 0.0, "{toml}: nothing was left");
                        continue;
                    }
                    let shown = reference::shown_what_is_left;
                    let logit = shown(&model, stage, place, output, budget).0;
                    spend(&mut budget, image[pixel]);
                    let zero = 1.0 / (1.0 + (-logit).exp());
                    surplus[pixel] += f64::from(u8::from(image[pixel] == 0.0)) - zero;
                    variance[pixel] += zero * (1.0 - zero);
                    spread = spread.max((zero - 0.6).abs());
                }
            }
        }
        assert!(spread > 0.2, "{toml}: the gates hardly vary");
        for (pixel, (surplus, variance)) in surplus.iter().zip(&variance).enumerate() {
            let sigmas = surplus / f64::sqrt(*variance);
            assert!(sigmas.abs() < 5.0, "{toml}\npixel {pixel}: {sigmas} sigma");
        }
    }
}

/// The expected gradient of the log-likelihood is zero, for every parameter, over images that follow
/// it; over images of a slightly different model it is not.
///
/// Means over 100 batches of 500 images, each against their own spread.
#[test]
fn the_mean_gradient_vanishes_over_drawn_images() {
    const BATCHES: usize = 100;
    const BATCH: usize = 500;
    let worst = |model: &Sarm, from: &Sarm| {
        let conditions = conditions(model, BATCHES * BATCH, 3);
        let images = draw(from, 6, BATCHES * BATCH, &conditions);
        let data = Arc::new(ConditionedImages { images, conditions });
        let engine = CpuEngine::new(2).unwrap();
        let mut trainer = engine.cpu_trainer(model, data);
        let size: usize = model.tensors.iter().map(|t| t.size()).sum();
        let (mut sum, mut squares) = (vec![0.0f64; size], vec![0.0f64; size]);
        for batch in 0..BATCHES {
            let rows: Vec<u32> = (0..BATCH).map(|i| (batch * BATCH + i) as u32).collect();
            let gradient = trainer.gradients(&rows).unwrap().1;
            for (i, g) in gradient.iter().flatten().enumerate() {
                sum[i] += f64::from(*g);
                squares[i] += f64::from(*g).powi(2);
            }
        }
        let n = BATCHES as f64;
        (sum.iter().zip(&squares))
            .filter(|(_, square)| **square > 0.0)
            .map(|(sum, square)| {
                let variance = (square / n - (sum / n).powi(2)) / (n - 1.0);
                // The bias of a level too rare to be drawn once has a gradient of its tiny probability and
                // no spread: below a millionth nothing is asked.
                (sum / n).abs() / (variance + 1e-12).sqrt()
            })
            .fold(0.0, f64::max)
    };
    for (i, (toml, height, width)) in MODELS.iter().chain(&LEFT).enumerate() {
        let right = model(toml, *height, *width, 40 + i as u64, 0.4);
        let mut wrong = right.clone();
        for parameters in &mut wrong.parameters {
            parameters.iter_mut().for_each(|p| *p *= 1.1);
        }
        // Student's t of 99 degrees of freedom leaves 6 with a chance of 3e-8, a few thousand times.
        let (good, bad) = (worst(&right, &right), worst(&right, &wrong));
        assert!(good < 6.0, "{toml}: {good} sigma");
        assert!(bad > 12.0, "{toml}: {bad} sigma");
    }
}

/// Every image a small D+D model can draw: the values of all levels and zero, in every pixel.
fn every_image(model: &Sarm) -> Vec<Vec<f32>> {
    let Values::Levels(grid) = model.values() else {
        panic!("a D+D model");
    };
    let mut images = vec![Vec::new()];
    for _ in 0..model.pixels() {
        images = (0..=grid.len())
            .flat_map(|level| {
                let value = level.checked_sub(1).map_or(0.0, |l| grid.value(l));
                images.iter().map(move |image| {
                    let mut image: Vec<f32> = image.clone();
                    image.push(value);
                    image
                })
            })
            .collect();
    }
    images
}

/// Mass of an image: its density times the widths of its pixels' cells.
fn mass(model: &Sarm, image: &[f32], condition: &[f32]) -> f64 {
    let Values::Levels(grid) = model.values() else {
        panic!("a D+D model");
    };
    let widths: f64 = (image.iter().filter(|x| **x > 0.0))
        .map(|x| grid.log_width(grid.level(*x).unwrap()))
        .sum();
    (widths - reference::nll(model, image, condition).unwrap()).exp()
}

/// The masses of all images sum to 1, and a million drawn images occur as often as they say.
#[test]
fn all_images_of_a_small_model_occur_as_often_as_they_should() {
    const DRAWN: usize = 1_000_000;
    let tail = "layers = 2, units_per_pixel = 4";
    let two = format!("{{square = 1, units_per_pixel = 6, layers = 1}}, {{{tail}}}");
    let dd = "[likelihood]\nkind = 'dd'\nlatents = 3\nlevels = 4\npower = 2.0\nmaximum = 9.0";
    for (order, stages, names, height, width) in [
        ("kind = 'spiral'", format!("{{{tail}}}"), "[]", 1, 3),
        ("kind = 'spiral'", two.clone(), "[]", 1, 3),
        (
            "kind = 'random', seed = 2",
            format!("{{{tail}}}"),
            "[]",
            1,
            3,
        ),
        ("kind = 'random', seed = 5", two.clone(), "[]", 1, 3),
        ("kind = 'reverse-spiral'", two, "['signal']", 2, 2),
    ] {
        let toml =
            format!("order = {{{order}}}\nstage = [{stages}]\n{dd}\n[condition]\nnames = {names}");
        let model = model(&toml, height, width, 21, 0.6);
        let conditions = conditions(&model, 1, 2);
        let every = every_image(&model);
        assert_eq!(every.len(), 5usize.pow((height * width) as u32));
        let masses: Vec<f64> = (every.iter())
            .map(|image| mass(&model, image, conditions.row(0)))
            .collect();
        let total: f64 = masses.iter().sum();
        assert!((total - 1.0).abs() < 1e-6, "{toml}: {total}");

        let mut counts = vec![0usize; every.len()];
        let images = draw(&model, 9, DRAWN, &conditions);
        let Values::Levels(grid) = model.values() else {
            panic!("the models of this test are D+D")
        };
        for (pixels, values) in images.iter() {
            let place = |pixel: u16, value: f32| {
                let level = grid.level(value).unwrap();
                assert_eq!(grid.value(level), value, "a drawn value is a level's");
                (level + 1) * 5usize.pow(u32::from(pixel))
            };
            let index: usize = pixels.iter().zip(values).map(|(p, v)| place(*p, *v)).sum();
            counts[index] += 1;
        }
        // Rare images share one bin: Pearson's statistic needs some events everywhere.
        let (mut chi2, mut bins, mut rare) = (0.0, 0usize, (0.0, 0usize));
        for (mass, count) in masses.iter().zip(&counts) {
            let expected = mass * DRAWN as f64;
            if expected < 20.0 {
                rare = (rare.0 + expected, rare.1 + count);
            } else {
                chi2 += (*count as f64 - expected).powi(2) / expected;
                bins += 1;
            }
        }
        if rare.0 > 0.0 {
            chi2 += (rare.1 as f64 - rare.0).powi(2) / rare.0.max(1.0);
        }
        let freedom = bins as f64;
        assert!(bins > every.len() / 2, "{toml}: {bins} bins");
        // Five standard deviations of chi-square.
        let limit = freedom + 5.0 * (2.0 * freedom).sqrt();
        assert!(
            chi2 < limit,
            "{toml}: {chi2} for {freedom} degrees of freedom"
        );
    }
}
