//! Two sparse, dependent pixels whose joint distribution is known: is it learnt?
//!
//! In the spirit of the two-dimensional toy of the SARM paper (appendix 8.1), with a joint of our own
//! whose every number can be written down. An image is 1 x 2 pixels:
//!
//! - `a` is zero with chance 0.4, else Gamma(2) of scale 1.5 GeV;
//! - `b` is zero with chance 0.85 where `a` is zero, else with chance 0.1 + 0.7 e^(-a/3);
//!   where it is not zero it is Gamma(4) of mean 1 + a GeV.
//!
//! So there is a point mass at (0, 0), mass on both axes, and both the zeros and the values of `b`
//! follow `a`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::support::common::read_model;
use sarm::conditions::{ConditionedImages, Conditions};
use sarm::data::{Dataset, SparseImages};
use sarm::device::Devices;
use sarm::evaluate::w1;
use sarm::families::sarm::Engine;
use sarm::families::sarm::cpu::CpuEngine;
use sarm::families::sarm::{Config, Sarm, Values};
use sarm::family::SamplingPlan;
use sarm::likelihood::Grid;
use sarm::random::{Purpose, unit_f64, words};
use sarm::run::train::{Silent, TrainPlan, train};

const ZERO_A: f64 = 0.4;
const SCALE_A: f64 = 1.5;

fn zero_b(a: f64) -> f64 {
    if a == 0.0 {
        0.85
    } else {
        0.1 + 0.7 * (-a / 3.0).exp()
    }
}

fn scale_b(a: f64) -> f64 {
    (1.0 + a) / 4.0
}

/// Density per GeV of Gamma(2).
fn gamma_2(x: f64, scale: f64) -> f64 {
    x / scale.powi(2) * (-x / scale).exp()
}

/// Density per GeV of Gamma(4).
fn gamma_4(x: f64, scale: f64) -> f64 {
    x.powi(3) / (6.0 * scale.powi(4)) * (-x / scale).exp()
}

fn density_a(a: f64) -> f64 {
    if a == 0.0 {
        ZERO_A
    } else {
        (1.0 - ZERO_A) * gamma_2(a, SCALE_A)
    }
}

fn density_b_given(a: f64, b: f64) -> f64 {
    if b == 0.0 {
        zero_b(a)
    } else {
        (1.0 - zero_b(a)) * gamma_4(b, scale_b(a))
    }
}

/// Expectation over `a` of `f(a)`: its zero, and Simpson's rule over its values.
fn over_a(f: impl Fn(f64) -> f64) -> f64 {
    const N: usize = 800;
    let step = 40.0 / N as f64;
    let sum: f64 = (1..=N)
        .map(|i| {
            let weight = if i == N {
                1.0
            } else {
                (2 + 2 * (i % 2)) as f64
            };
            let a = i as f64 * step;
            weight * density_a(a) * f(a)
        })
        .sum();
    ZERO_A * f(0.0) + sum * step / 3.0
}

/// Entropy in nats of a coin and of Gamma(2), Gamma(4): k + ln(scale (k-1)!) + (1 - k) psi(k).
fn coin_entropy(p: f64) -> f64 {
    -p * p.ln() - (1.0 - p) * (1.0 - p).ln()
}
fn gamma_entropy(k: i32, scale: f64) -> f64 {
    let psi = -0.577_215_664_901_532_9 + (1..k).map(|i| 1.0 / f64::from(i)).sum::<f64>();
    let factorial: f64 = (1..k).map(f64::from).product();
    f64::from(k) + (scale * factorial).ln() + f64::from(1 - k) * psi
}

/// Exact entropy of the joint in nats; a density per GeV counts for values, a mass for zeros.
fn entropy() -> f64 {
    let a = coin_entropy(ZERO_A) + (1.0 - ZERO_A) * gamma_entropy(2, SCALE_A);
    let b = |a| coin_entropy(zero_b(a)) + (1.0 - zero_b(a)) * gamma_entropy(4, scale_b(a));
    a + over_a(b)
}

/// Image `n` of the truth, counted from 0.
fn truth(first: u64, count: usize) -> Vec<[f32; 2]> {
    (first..first + count as u64)
        .map(|n| {
            let uniform = |item: u32| {
                let w = words(2009, Purpose::Synthetic, n, item);
                unit_f64(w[0], w[1])
            };
            let gamma = |scale: f64, items: std::ops::Range<u32>| {
                -scale * items.map(|i| uniform(i).ln()).sum::<f64>()
            };
            let a = if uniform(0) < ZERO_A {
                0.0
            } else {
                gamma(SCALE_A, 2..4)
            };
            let zero = uniform(1) < zero_b(a);
            let b = if zero { 0.0 } else { gamma(scale_b(a), 4..8) };
            [a as f32, b as f32]
        })
        .collect()
}

fn images(pairs: &[[f32; 2]]) -> SparseImages {
    let mut images = SparseImages::new(1, 2).unwrap();
    pairs.iter().for_each(|pair| images.push_dense(pair));
    images
}

/// `[mean of -ln p(model), mean of -ln p(truth), mean of -ln of the exact marginals]` over fresh truth.
fn costs(model: &Sarm, pairs: &[[f32; 2]]) -> [f64; 3] {
    let data = Arc::new(ConditionedImages {
        images: images(pairs),
        conditions: Conditions::none(),
    });
    let n = pairs.len() as f64;
    let scores = CpuEngine::new(2).unwrap().score(model, data).unwrap();
    let learnt = -scores.iter().sum::<f64>() / n;
    let (mut joint, mut apart) = (0.0, 0.0);
    for [a, b] in pairs {
        let (a, b) = (f64::from(*a), f64::from(*b));
        joint -= density_a(a).ln() + density_b_given(a, b).ln();
        apart -= density_a(a).ln() + over_a(|a| density_b_given(a, b)).ln();
    }
    [learnt, joint / n, apart / n]
}

fn trained(likelihood: &str, learning_rate: f64, epochs: usize, out: &Path) -> Sarm {
    let config = Config::parse(&format!(
        "order = {{kind = 'rows'}}\nstage = [{{units_per_pixel = 24, layers = 2}}]\n[input]\ntransform = 'log1p'\n[likelihood]\n{likelihood}\n[train]\nbatch = 256\nlearning_rate = {learning_rate}\nhalve_every = {}\nepochs = {epochs}\nvalidation = 0.1",
        epochs.div_ceil(4)
    ))
    .unwrap();
    let pairs = truth(0, 30_000);
    let plan = TrainPlan {
        config: Box::new(config),
        dataset: Dataset {
            images: images(&pairs),
            columns: BTreeMap::new(),
            rows: (0..pairs.len() as u64).collect(),
            ..Dataset::default()
        },
        data: "toy".into(),
        select: Vec::new(),
        file: Default::default(),
        out: out.to_path_buf(),
        resume: false,
        force: false,
        checkpoint_every: Duration::from_secs(600),
    };
    let summary = train(&Devices::cpu(2).unwrap(), plan, &mut Silent).unwrap();
    read_model(&summary.model)
}

fn drawn(model: &Sarm, count: usize) -> Vec<[f32; 2]> {
    let plan = SamplingPlan {
        seed: 3,
        ..SamplingPlan::default()
    };
    let engine = CpuEngine::new(2).unwrap();
    let images = engine
        .sampler(model, &plan)
        .unwrap()
        .sample(0, count)
        .unwrap();
    (0..count)
        .map(|i| {
            let mut pair = [0.0; 2];
            images.dense_into(i, &mut pair);
            pair
        })
        .collect()
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0usize), |(s, n), v| (s + v, n + 1));
    sum / n as f64
}

fn correlation(pairs: &[[f32; 2]]) -> f64 {
    let column = |i: usize| pairs.iter().map(move |p| f64::from(p[i]));
    let (ma, mb) = (mean(column(0)), mean(column(1)));
    let product = |i: usize, mi: f64, j: usize, mj: f64| {
        mean(
            pairs
                .iter()
                .map(|p| (f64::from(p[i]) - mi) * (f64::from(p[j]) - mj)),
        )
    };
    product(0, ma, 1, mb) / (product(0, ma, 0, ma) * product(1, mb, 1, mb)).sqrt()
}

/// How far generated pairs are from the known joint.
#[derive(Debug)]
struct Distances {
    /// Largest error of the chances of (0,0), (0,+), (+,0), (+,+).
    cells: f64,
    /// Largest error of P(b = 0 | a in a range), and largest relative one of E(b | b > 0, a in a range).
    zero_given: f64,
    mean_given: f64,
    correlation: f64,
    /// W1 of each pixel, GeV.
    w1: [f64; 2],
}

/// Against the exact numbers where there are some, else against as many images of truth; `grid`:
/// truth is put on the model's levels first.
fn distances(pairs: &[[f32; 2]], grid: Option<&Grid>) -> Distances {
    let n = pairs.len() as f64;
    let mut reference = truth(5_000_000, pairs.len());
    if let Some(grid) = grid {
        for x in reference.iter_mut().flatten().filter(|x| **x > 0.0) {
            *x = grid.value(grid.level(*x).unwrap());
        }
    }
    let positive_b = 1.0 - over_a(zero_b);
    let both = positive_b - ZERO_A * (1.0 - zero_b(0.0));
    let exact = [
        ZERO_A * zero_b(0.0),
        ZERO_A * (1.0 - zero_b(0.0)),
        1.0 - ZERO_A - both,
        both,
    ];
    let share = |a: bool, b: bool| {
        let hits = pairs.iter().filter(|p| (p[0] > 0.0, p[1] > 0.0) == (a, b));
        hits.count() as f64 / n
    };
    let found = [
        share(false, false),
        share(false, true),
        share(true, false),
        share(true, true),
    ];
    let (mut zero_given, mut mean_given) = (0.0f64, 0.0f64);
    for (low, high) in [(0.0, 0.0), (0.0, 1.0), (1.0, 2.0), (2.0, 4.0), (4.0, 8.0)] {
        let inside = |p: &&[f32; 2]| (low == high && p[0] == 0.0) || (p[0] > low && p[0] <= high);
        let given = |pairs: &[[f32; 2]]| {
            let b: Vec<f64> = pairs
                .iter()
                .filter(inside)
                .map(|p| f64::from(p[1]))
                .collect();
            let zeros = mean(b.iter().map(|b| f64::from(u8::from(*b == 0.0))));
            (zeros, mean(b.into_iter().filter(|b| *b > 0.0)))
        };
        let (got, want) = (given(pairs), given(&reference));
        zero_given = zero_given.max((got.0 - want.0).abs());
        mean_given = mean_given.max((got.1 / want.1 - 1.0).abs());
    }
    let column = |pairs: &[[f32; 2]], i: usize| pairs.iter().map(|p| p[i]).collect::<Vec<_>>();
    Distances {
        cells: (exact.iter().zip(&found)).fold(0.0, |m, (e, f)| m.max((e - f).abs())),
        zero_given,
        mean_given,
        correlation: correlation(pairs) - correlation(&reference),
        w1: [0, 1].map(|i| w1(&column(pairs, i), &column(&reference, i)).unwrap()),
    }
}

const DC: &str = "kind = 'dc'";
const DD: &str = "kind = 'dd'\nlatents = 12\nlevels = 80\npower = 2.0\nmaximum = 100.0";

#[test]
fn the_truth_is_what_it_says() {
    let pairs = truth(9_000_000, 200_000);
    let costs: Vec<f64> = (pairs.iter())
        .map(|[a, b]| {
            let (a, b) = (f64::from(*a), f64::from(*b));
            -density_a(a).ln() - density_b_given(a, b).ln()
        })
        .collect();
    let sampled = mean(costs.iter().copied());
    let spread = mean(costs.iter().map(|c| (c - sampled).powi(2))).sqrt();
    let sigmas = (sampled - entropy()) / (spread / (costs.len() as f64).sqrt());
    assert!(sigmas.abs() < 5.0, "{sampled} sampled, {} exact", entropy());
    assert!((over_a(|_| 1.0) - 1.0).abs() < 1e-6);
    let same = distances(&pairs[..100_000], None);
    assert!(same.cells < 0.006 && same.w1[1] < 0.05, "{same:?}");
}

#[test]
fn both_likelihoods_learn_the_joint() {
    let fresh = truth(1_000_000, 20_000);
    for (likelihood, excess) in [(DC, 0.01), (DD, 0.02)] {
        let directory = tempfile::tempdir().unwrap();
        let model = trained(likelihood, 3e-3, 24, directory.path());
        let [learnt, joint, apart] = costs(&model, &fresh);
        let grid = match model.values() {
            Values::Levels(grid) => Some(grid),
            Values::Mixture(_) => None,
        };
        let found = distances(&drawn(&model, 100_000), grid.as_ref());
        println!("{likelihood}: {learnt} learnt, {joint} exact, {apart} independent\n{found:?}");
        // No model of independent pixels costs less than the exact marginals.
        assert!(apart - joint > 0.15, "the toy must be worth learning");
        assert!(learnt - joint < excess, "{learnt} learnt, {joint} exact");
        assert!(found.cells < 0.01, "{found:?}");
        assert!(found.zero_given < 0.04, "{found:?}");
        assert!(found.mean_given < 0.06, "{found:?}");
        assert!(found.correlation.abs() < 0.03, "{found:?}");
        assert!(found.w1[0] < 0.06 && found.w1[1] < 0.08, "{found:?}");
    }
}

/// The measures above do tell: a model that has not been trained starts as independent pixels.
#[test]
fn an_independent_model_fails() {
    let directory = tempfile::tempdir().unwrap();
    let model = trained(DC, 1e-9, 1, directory.path());
    let fresh = truth(1_000_000, 20_000);
    let [fixed, joint, apart] = costs(&model, &fresh);
    assert!(
        fixed > apart && fixed - joint > 0.15,
        "{fixed} {joint} {apart}"
    );
    let found = distances(&drawn(&model, 100_000), None);
    println!("{fixed} {joint} {apart} {found:?}");
    assert!(
        found.zero_given > 0.2 && found.mean_given > 0.3,
        "{found:?}"
    );
    assert!(found.correlation.abs() > 0.2, "{found:?}");
    assert!(found.cells > 0.05, "{found:?}");
}
