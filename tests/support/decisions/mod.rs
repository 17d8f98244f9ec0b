//! Whether drawn images are right, decision by decision, without a second sampler.
//!
//! Of an image *as it was drawn*, one full forward pass in float64 gives the numbers of every pixel, with exactly the
//! roundings to bf16 that a sampler on a card makes (`rounded`): each pixel depends on those before it alone. The
//! same random words then leave no choice: whether the pixel opens, which component or level it takes, where in it. What
//! is left between the two is the order of sums in f32, which may tip a rounding to bf16 and so move all that follows.
//! How far it can move each number is carried along with it (`network`): a decision whose random number lies within that
//! tolerance may go either way, any other must be the reference's.

mod values;

pub mod entropy;
pub mod models;
pub mod naive;
pub mod network;

use sarm::conditions::Conditions;
use sarm::conditions::total::{is_spent, spend};
use sarm::data::SparseImages;
use sarm::families::sarm::Sarm;
use sarm::family::End;
use sarm::random::{Purpose, unit, words};

use crate::support::rounded::representable;

/// Standard deviations within which a number may lie: of the several million that a run of the tests looks at, none
/// is expected beyond.
const MARGIN: f64 = 6.0;

/// Images and all that they depend on.
pub struct Drawn<'a> {
    pub model: &'a Sarm,
    pub seed: u64,
    pub conditions: &'a Conditions,
    /// Number of the first of `images`.
    pub first: u64,
    pub images: &'a SparseImages,
}

/// What was found of some images.
#[derive(Debug, Default)]
pub struct Report {
    /// Decisions whether a pixel is zero.
    pub gates: usize,
    /// Of these, with a random number so near to the chance of a zero that either is right.
    pub near: usize,
    /// Of these, other than the reference's.
    pub flipped: usize,
    /// Pixels that are not zero, though they might be.
    pub values: usize,
    /// Of these, with more than one component or level that is right.
    pub several: usize,
    /// Greatest distance of a wrong or flipped gate's random number from the chance, in tolerances.
    pub worst_gate: f64,
    /// Greatest distance of a value from the reference's, in tolerances.
    pub worst_value: f64,
    /// Sum of the gates' tolerances.
    pub tolerance: f64,
    /// What cannot be right.
    pub wrong: Vec<String>,
}

impl Report {
    /// Fail if anything is wrong, or where so much would pass that this says little.
    pub fn assert_right(&self, what: &str) {
        let part = |n: usize, of: usize| n as f64 / of.max(1) as f64;
        let (near, several) = (part(self.near, self.gates), part(self.several, self.values));
        println!(
            "{} gates ({near:.1e} near, {} flipped, worst {:.2}, mean tolerance {:.1e}), {} values ({several:.1e} with a choice, worst {:.2}): {what}",
            self.gates,
            self.flipped,
            self.worst_gate,
            self.tolerance / self.gates.max(1) as f64,
            self.values,
            self.worst_value,
        );
        assert!(
            self.wrong.is_empty(),
            "{what}: {} of {} gates and {} values are wrong, first\n{}",
            self.wrong.len(),
            self.gates,
            self.values,
            self.wrong[..self.wrong.len().min(10)].join("\n")
        );
        assert!(
            self.gates > 0 && self.values > self.gates / 20 && self.values < self.gates,
            "{what}: {} of {} pixels are nonzero, which tests little",
            self.values,
            self.gates
        );
        // Seen are 4e-4 and, of levels that share a chance of 1/300, 1e-2.
        assert!(
            near < 5e-3 && several < 0.05,
            "{what}: too little is decided"
        );
    }
}

/// Check every decision of some images.
pub fn check(drawn: &Drawn) -> Report {
    let mut report = Report::default();
    let model = representable(drawn.model.clone());
    let mut image = vec![0.0; model.pixels()];
    for index in 0..drawn.images.len() {
        drawn.images.dense_into(index, &mut image);
        let number = drawn.first.wrapping_add(index as u64);
        check_image(&model, drawn, number, &image, &mut report);
    }
    report
}

fn check_image(model: &Sarm, drawn: &Drawn, number: u64, image: &[f32], report: &mut Report) {
    let wrong = |pixel: u16, what: String| format!("image {number}, pixel {pixel}: {what}");
    let [lower, upper] = [End::Lower, End::Upper].map(|end| model.values().end(end));
    let inside = |x: f32| x > 0.0 && x >= lower as f32 && f64::from(x) <= upper;
    let beyond = |x: &f32| !(*x == 0.0 || inside(*x));
    if let Some(pixel) = image.iter().position(beyond) {
        let what = format!("{} GeV is beyond the range", image[pixel]);
        return report.wrong.push(wrong(pixel as u16, what));
    }
    let mut place = 0;
    let condition = drawn.conditions.row(number);
    let mut budget = model.budget(condition);
    for (stage, order) in model.order.iter().enumerate() {
        let numbers = network::numbers(model, stage, image, condition);
        for (at, pixel) in order.iter().enumerate() {
            let words = words(drawn.seed, Purpose::Draw, number, place);
            place += 1;
            let x = image[usize::from(*pixel)];
            if is_spent(budget) {
                if x > 0.0 {
                    let what = format!("{x} GeV, where nothing is left of the total");
                    report.wrong.push(wrong(*pixel, what));
                }
                continue;
            }

            let (gate, values) = numbers.of_pixel(model, stage, at, budget);
            let zero = 1.0 / (1.0 + (-gate.value).exp());
            // The last term: exponential and reciprocal in f32, by a card's own approximations.
            let tolerance =
                MARGIN * zero * (1.0 - zero) * gate.spread + f64::from(f32::EPSILON) * 4.0;
            let distance = f64::from(unit(words[0])) - zero;
            report.gates += 1;
            report.tolerance += tolerance;
            report.near += usize::from(distance.abs() <= tolerance);
            if (distance >= 0.0) != (x > 0.0) {
                report.flipped += 1;
                report.worst_gate = report.worst_gate.max(distance.abs() / tolerance);
                if distance.abs() > tolerance {
                    let what = format!(
                        "{x} GeV, with a chance of {zero} +- {tolerance:.1e} to be zero and the number {}",
                        unit(words[0])
                    );
                    report.wrong.push(wrong(*pixel, what));
                }
            }
            if x > 0.0 {
                let quantiles = [words[1], words[2]].map(|w| f64::from(unit(w)));
                let found = values::admit(model, stage, &values, quantiles, budget, x);
                spend(&mut budget, x);
                report.values += 1;
                report.several += usize::from(found.several);
                report.worst_value = report.worst_value.max(found.distance);
                if found.distance > 1.0 || found.distance.is_nan() {
                    let what = format!("{x} GeV, {:.1} tolerances off", found.distance);
                    report.wrong.push(wrong(*pixel, what));
                }
            }
        }
    }
}
