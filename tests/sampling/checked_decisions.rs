//! The checker of drawn images (`decisions`) on images that are right, and on images that are not.

use crate::support::common::conditions;
use crate::support::decisions::entropy::{Balance, of_mixture};
use crate::support::decisions::models::{MODELS, model};
use crate::support::decisions::naive::{self, Defect};
use crate::support::decisions::network::Uncertain;
use crate::support::decisions::{Drawn, Report, check};
use sarm::conditions::Conditions;
use sarm::data::SparseImages;
use sarm::families::sarm::reference;
use sarm::families::sarm::{Sarm, StageTensor, Values};
use sarm::likelihood::{Mixture, Rest, Space, Support};

const SEED: u64 = 11;
/// Beyond 32 bits, so that both halves of an image's number count.
const FIRST: u64 = (5 << 32) - 40;
/// Rows of conditions, fewer than images.
const ROWS: usize = 7;

struct Case {
    model: Sarm,
    conditions: Conditions,
    images: SparseImages,
}

fn drawn(i: usize, count: usize, defect: Defect) -> Case {
    let model = model(i);
    let conditions = conditions(&model, ROWS, 3);
    let images = naive::draw(&model, SEED, &conditions, FIRST, count, defect);
    Case {
        model,
        conditions,
        images,
    }
}

impl Case {
    fn check(&self, images: &SparseImages) -> Report {
        check(&Drawn {
            model: &self.model,
            seed: SEED,
            conditions: &self.conditions,
            first: FIRST,
            images,
        })
    }
}

#[test]
fn images_of_a_sampler_that_is_right_pass() {
    for (i, (toml, ..)) in MODELS.iter().enumerate() {
        for defect in [Defect::None, Defect::Backwards] {
            let case = drawn(i, 300, defect);
            case.check(&case.images).assert_right(toml);
        }
    }
}

/// How many of some damaged copies of the images are found to be wrong.
fn found(case: &Case, damage: impl Fn(usize, &mut Vec<Vec<f32>>) -> bool) -> (usize, usize) {
    let (mut found, mut all) = (0, 0);
    for which in 0..case.images.len() - 1 {
        let mut dense = vec![vec![0.0; case.model.pixels()]; case.images.len()];
        for (i, image) in dense.iter_mut().enumerate() {
            case.images.dense_into(i, image);
        }
        if !damage(which, &mut dense) {
            continue;
        }
        let mut damaged = SparseImages::new(case.images.height(), case.images.width()).unwrap();
        dense.iter().for_each(|image| damaged.push_dense(image));
        all += 1;
        found += usize::from(!case.check(&damaged).wrong.is_empty());
    }
    (found, all)
}

#[test]
fn one_pixel_one_level_or_a_swap_is_found() {
    for (i, (toml, ..)) in MODELS.iter().enumerate() {
        let case = drawn(i, 40, Defect::None);
        let assert_found = |what: &str, (found, all): (usize, usize)| {
            println!("{found} of {all} {what}: {toml}");
            assert!(
                all > 25 && found * 20 >= all * 19,
                "{toml}: {found} of {all} {what}"
            );
        };
        // The last pixel but `which`, so that little that follows from it could show instead.
        let last = |which: usize| {
            let order: Vec<usize> = case
                .model
                .order
                .iter()
                .flatten()
                .map(|p| (*p).into())
                .collect();
            order[order.len() - 1 - which % 5]
        };
        let closed = found(&case, |which, images| {
            let x = &mut images[which][last(which)];
            let was = std::mem::replace(x, if *x > 0.0 { 0.0 } else { 3.0 });
            was != *x
        });
        assert_found("pixels opened or closed", closed);
        let moved = found(&case, |which, images| {
            let mut nonzero = images[which].iter_mut().filter(|x| **x > 0.0);
            let Some(x) = nonzero.nth(which % 3) else {
                return false;
            };
            *x = match case.model.values() {
                Values::Mixture(_) => *x * 1.01 + 0.01,
                Values::Levels(grid) => {
                    let level = grid.level(*x).unwrap();
                    grid.value(if level == 0 { 1 } else { level - 1 })
                }
            };
            true
        });
        assert_found("values moved by a percent or a level", moved);
        let swapped = found(&case, |which, images| {
            images.swap(which, which + 1);
            images[which] != images[which + 1]
        });
        assert_found("swapped images", swapped);
    }
}

#[test]
fn defects_of_a_sampler_are_found() {
    // Model, defect, images that show it.
    let cases = [
        (0, Defect::Number, 10),
        (1, Defect::Words, 10),
        (2, Defect::PlaceInImage, 10),
        (2, Defect::MissingColumn, 100),
        (4, Defect::PlaceInStage, 10),
        (4, Defect::Condition(0), 20),
        (4, Defect::Condition(1), 20),
        (6, Defect::Condition(2), 50),
        (8, Defect::Condition(1), 50),
        (2, Defect::Weights, 300),
        (8, Defect::Weights, 300),
        (4, Defect::Inputs, 300),
        (8, Defect::Inputs, 1000),
        (4, Defect::Activations, 300),
        (8, Defect::Activations, 1000),
        (1, Defect::Truncation, 300),
        (8, Defect::Truncation, 1000),
        (15, Defect::Left, 100),
        (16, Defect::Left, 100),
        (15, Defect::Words, 30),
    ];
    for (i, defect, count) in cases {
        let toml = MODELS[i].0;
        let case = drawn(i, count, defect);
        let report = case.check(&case.images);
        println!(
            "{defect:?}: {} of {} are wrong: {}",
            report.wrong.len(),
            report.gates,
            toml
        );
        assert!(!report.wrong.is_empty(), "{defect:?} passes: {}", toml);
        if defect == Defect::Number {
            let case = drawn(i, count, Defect::None);
            assert!(case.check(&case.images).wrong.is_empty());
        }
    }
}

/// The statistics that the sampler's own test holds to zero, of images of the model and of one that opens its gates more
/// often.
#[test]
fn costs_are_what_is_expected_of_the_models_own_images_alone() {
    for i in [1, 2, 8, 13, 15] {
        let toml = MODELS[i].0;
        let model = model(i);
        let conditions = conditions(&model, ROWS, 3);
        let mut other = model.clone();
        for stage in 0..other.stages.len() {
            let gates = other.index(stage, StageTensor::GateBias);
            other.parameters[gates].iter_mut().for_each(|b| *b -= 0.5);
        }
        let sigmas = [&model, &other].map(|from| {
            let images = naive::draw(from, SEED, &conditions, FIRST, 1000, Defect::None);
            let mut image = vec![0.0; model.pixels()];
            let mut balance = Balance::new(&model);
            for index in 0..images.len() {
                images.dense_into(index, &mut image);
                let condition = conditions.row(FIRST + index as u64);
                let cost = reference::nll(&model, &image, condition).unwrap();
                balance.add(&image, condition, cost);
            }
            [balance.costs.sigmas(), balance.all_zeros().sigmas()]
        });
        println!("{sigmas:.2?} sigma: {}", toml);
        let [own, others] = sigmas.map(|found| found.map(f64::abs));
        assert!(own.iter().all(|s| *s < 4.0), "{}: {own:?}", toml);
        // With a total an image of more open gates ends earlier, and may cost as much.
        let told_apart = match model.total() {
            Some(_) => &others[1..],
            None => &others[..],
        };
        assert!(told_apart.iter().all(|s| *s > 4.0), "{}: {others:?}", toml);
    }
}

#[test]
fn a_mixtures_entropy_is_its_integral() {
    // Means inside the range, and far outside it: only a tail of the logistic is left.
    let inside = [0.3, -0.8, -4.0, 2.0, 0.4, -1.2];
    let outside = [0.3, -0.8, -40.0, 30.0, 0.4, -1.2];
    let linear = [f64::INFINITY, 9.0].map(|upper| (inside, upper, Space::Linear));
    let log = Space::log(1.5, 0.05);
    let logarithmic = [inside, outside].map(|values| (values, 60.0, log));
    for (values, upper, space) in linear.into_iter().chain(logarithmic) {
        let numbers = values.map(|value| Uncertain { value, spread: 0.0 });
        let mixture = Mixture {
            components: 2,
            support: Support {
                unit: 1.5,
                upper,
                space,
            },
            rest: Rest::Free,
        };
        let steps = 400_000;
        let step = mixture.support.end::<f64>().min(80.0) / f64::from(steps);
        let integral: f64 = (0..steps)
            .map(|i| {
                let y = (f64::from(i) + 0.5) * step;
                let x = mixture.support.pixel(y);
                let slope = match space {
                    Space::Linear => 1.5,
                    Space::Log { .. } => 1.5 * -(-x / 1.5).exp_m1(),
                };
                let nll = mixture.nll(x, &values);
                nll * (-nll).exp() * slope * step
            })
            .sum();
        let found = of_mixture(&mixture, &numbers);
        assert!(
            (found - integral).abs() < 1e-3,
            "{space:?}: {found}, not {integral}"
        );
    }
}
