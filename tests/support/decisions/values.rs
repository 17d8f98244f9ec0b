//! Whether a positive pixel is the one that its random numbers give.

use sarm::conditions::Budget;
use sarm::families::sarm::{Sarm, StageTensor, Values};
use sarm::likelihood::{Grid, Mixture, Rest, Space};

use super::MARGIN;
use super::network::{Uncertain, linear};
use crate::support::rounded::Network;

const EPSILON: f64 = f32::EPSILON as f64;

/// What is said of a value.
pub struct Admitted {
    /// Another component or level would be right too.
    pub several: bool,
    /// Distance from the nearest value that is right, in tolerances; at most 1 where it is right.
    pub distance: f64,
}

/// Is `x`, in GeV, what the pixel's `numbers` give for the quantiles `[pick, place]`, out of what is left?
pub fn admit(
    model: &Sarm,
    stage: usize,
    numbers: &[Uncertain],
    [pick, place]: [f64; 2],
    budget: Option<Budget>,
    x: f32,
) -> Admitted {
    match model.values() {
        Values::Mixture(mixture) => of_mixture(&mixture.within(budget), numbers, pick, place, x),
        Values::Levels(grid) => {
            let network = Network { model, stage };
            let (weight, bias) = (StageTensor::LevelsWeight, StageTensor::LevelsBias);
            of_levels(&grid, &linear(&network, weight, bias, numbers), pick, x)
        }
    }
}

/// The upper edge of each choice's share of (0, 1), with the tolerance of each.
fn edges(logits: &[Uncertain]) -> Vec<(f64, f64)> {
    let largest = logits.iter().fold(f64::NEG_INFINITY, |m, l| m.max(l.value));
    let masses: Vec<f64> = logits.iter().map(|l| (l.value - largest).exp()).collect();
    let total: f64 = masses.iter().sum();
    let moved = |i: usize| masses[i] / total * logits[i].spread;
    let all_moved: f64 = (0..logits.len()).map(moved).sum();
    let (mut edge, mut before) = (0.0, 0.0);
    // One sum in f32 of as many terms, at the worst.
    let rounding = EPSILON * (4.0 + logits.len() as f64 / 2.0);
    (0..logits.len())
        .map(|i| {
            edge += masses[i] / total;
            before += moved(i);
            // d edge / d logit is m (1 - edge) up to the edge and -m edge behind it. As the logits come from the
            // same few numbers, they may all move together.
            let spread = before * (1.0 - edge) + (all_moved - before) * edge;
            (edge, MARGIN * spread.abs() + rounding)
        })
        .collect()
}

/// How far `pick` lies outside choice `i`'s share in tolerances, 0 inside, and whether a neighbour's is near.
fn share(edges: &[(f64, f64)], i: usize, pick: f64) -> (f64, bool) {
    let low = match i {
        0 => (0.0, 0.0),
        _ => edges[i - 1],
    };
    let outside = |by: f64, tolerance: f64| if by > 0.0 { by / tolerance } else { 0.0 };
    let distance = outside(low.0 - pick, low.1);
    let above = match i + 1 == edges.len() {
        true => 0.0,
        false => outside(pick - edges[i].0, edges[i].1),
    };
    let near = (i > 0 && (pick - low.0).abs() < low.1)
        || (i + 1 < edges.len() && (pick - edges[i].0).abs() < edges[i].1);
    (distance.max(above), near)
}

fn of_levels(grid: &Grid, logits: &[Uncertain], pick: f64, x: f32) -> Admitted {
    let level = grid.level(x).filter(|level| grid.value(*level) == x);
    let (distance, several) = match level {
        Some(level) => share(&edges(logits), level, pick),
        // Between two levels.
        None => (f64::INFINITY, false),
    };
    Admitted { several, distance }
}

fn of_mixture(mixture: &Mixture, numbers: &[Uncertain], pick: f64, place: f64, x: f32) -> Admitted {
    let k = mixture.components;
    if let Rest::Certain(rest) = mixture.rest {
        return Admitted {
            several: false,
            distance: if x == rest.remaining {
                0.0
            } else {
                f64::INFINITY
            },
        };
    }
    let edges = edges(&numbers[..k]);
    let mut several = false;
    let mut distance = f64::INFINITY;
    for i in 0..k {
        let (of_pick, near) = share(&edges, i, pick);
        if of_pick > 1.0 {
            continue;
        }
        several |= near;
        if let (0, Rest::Offered(rest)) = (i, mixture.rest) {
            if x == rest.remaining {
                distance = 0.0;
            }
            continue;
        }
        let of_value = within(mixture, numbers[k + i], numbers[2 * k + i], place, x);
        distance = distance.min(of_value);
    }
    Admitted { several, distance }
}

/// How far `x` lies from the value that a component with this mean and logarithm of the scale exceeds with chance
/// `place`, in tolerances.
fn within(mixture: &Mixture, mean: Uncertain, log_scale: Uncertain, place: f64, x: f32) -> f64 {
    let support = mixture.support;
    let upper: f64 = support.end();
    let at = |mean: f64, log_scale: f64| {
        let scale = log_scale.clamp(-9.0, 9.0).exp();
        quantile(mean + support.origin(), scale, upper, place)
    };
    let (value, evaluation) = at(mean.value, log_scale.value);
    let (mut low, mut high) = (value, value);
    for m in [-MARGIN, MARGIN] {
        for s in [-MARGIN, MARGIN] {
            let moved = at(
                mean.value + m * mean.spread,
                log_scale.value + s * log_scale.spread,
            );
            low = low.min(moved.0);
            high = high.max(moved.0);
        }
    }
    // The smallest and the largest that are drawn; then the unit, or the exponential, in f32.
    let least = match support.space {
        Space::Linear => 1e-6,
        Space::Log { .. } => 0.0,
    };
    let held = |y: f64| support.pixel(y.max(least).min(upper));
    let places = match support.space {
        Space::Linear => 4.0,
        Space::Log { .. } => 8.0 + 2.0 * value.abs(),
    };
    let (value, x) = (held(value), f64::from(x));
    let last = places * EPSILON * value;
    let (low, high) = (
        held(low - evaluation) - last,
        held(high + evaluation) + last,
    );
    match x < value {
        true => (value - x) / (value - low),
        false => (x - value) / (high - value),
    }
}

/// The value in units that a logistic truncated to (0, upper) exceeds with chance `place`, and how far off an
/// evaluation in f32 may be.
pub fn quantile(mean: f64, scale: f64, upper: f64, place: f64) -> (f64, f64) {
    // From the end that the mean is nearer to, so that no chance is near 1.
    let mirrored = upper.is_finite() && mean > 0.5 * upper;
    let (mean, place) = match mirrored {
        true => (upper - mean, 1.0 - place),
        false => (mean, place),
    };
    let survival = |y: f64| 1.0 / (1.0 + ((y - mean) / scale).exp());
    let (y, above) = if mean < -30.0 * scale {
        // Nothing but an exponential tail is left, to e^-30.
        let rest = (-upper / scale).exp();
        let above = rest + place * (1.0 - rest);
        (-scale * above.ln(), above)
    } else {
        let end = survival(upper);
        let above = end + place * (survival(0.0) - end);
        (mean + scale * ((1.0 - above) / above).ln(), above)
    };
    // y = mean + scale ln((1 - S) / S): S is off by some places, 1 - S by as much; exponent and logarithm too.
    let places = 8.0 + 2.0 * (mean / scale).abs().min(30.0);
    let of_chance = scale * places * EPSILON / (1.0 - above).max(EPSILON / 4.0);
    let width = if upper.is_finite() { upper } else { 0.0 };
    let of_sums = 4.0 * EPSILON * (mean.abs() + 2.0 * (y - mean).abs() + width);
    (
        if mirrored { upper - y } else { y },
        of_chance
            + if mean < -30.0 * scale {
                4.0 * EPSILON * y
            } else {
                of_sums
            },
    )
}
