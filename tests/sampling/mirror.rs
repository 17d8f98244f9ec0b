//! Images and their mirror images as one (`[symmetry] mirror`): what is drawn, scored and learnt.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::support::common::model;
use sarm::conditions::{ConditionedImages, Conditions};
use sarm::data::SparseImages;
use sarm::device::Devices;
use sarm::families::sarm::{Sarm, Values};
use sarm::family::{Model, SamplingPlan};
use sarm::nn::adam::Rates;

const LEVELS: usize = 3;

/// A model of 2 x 2 images of few levels, a mirror model or not.
fn small(mirror: bool) -> Sarm {
    let toml = format!(
        "stage = [{{layers = 1, units_per_pixel = 4}}]\n[likelihood]\nkind = 'dd'\nlatents = 3\nlevels = {LEVELS}\nmaximum = 9.0\n[symmetry]\nmirror = {mirror}"
    );
    model(&toml, 2, 2, 21, 0.6)
}

fn images(dense: &[[f32; 4]]) -> SparseImages {
    let mut images = SparseImages::new(2, 2).unwrap();
    dense.iter().for_each(|image| images.push_dense(image));
    images
}

fn conditioned(images: SparseImages) -> Arc<ConditionedImages> {
    let conditions = Conditions::none();
    Arc::new(ConditionedImages { images, conditions })
}

fn score(model: &Sarm, images: SparseImages) -> Vec<f64> {
    let devices = Devices::cpu(1).unwrap();
    (model.scorer().unwrap().score(&devices, conditioned(images))).unwrap()
}

fn mirrored([a, b, c, d]: [f32; 4]) -> [f32; 4] {
    [b, a, d, c]
}

/// All images, with the width of a pixel's cell for the mass of each.
fn every_image(model: &Sarm) -> Vec<([f32; 4], f64)> {
    let Values::Levels(grid) = model.values() else {
        panic!("a D+D model")
    };
    let value = |level: usize| match level {
        0 => (0.0, 0.0),
        _ => (grid.value(level - 1), grid.log_width(level - 1)),
    };
    (0..(LEVELS + 1).pow(4))
        .map(|n| {
            let pixels = [0, 1, 2, 3].map(|p| value(n / (LEVELS + 1).pow(p) % (LEVELS + 1)));
            (pixels.map(|p| p.0), pixels.iter().map(|p| p.1).sum())
        })
        .collect()
}

#[test]
fn an_image_has_the_density_of_both_and_is_drawn_as_often() {
    const DRAWN: usize = 200_000;
    let (plain, mirror) = (small(false), small(true));
    let every = every_image(&mirror);
    let dense: Vec<[f32; 4]> = every.iter().map(|(image, _)| *image).collect();
    let one_way = score(&plain, images(&dense));
    let other_way: Vec<[f32; 4]> = dense.iter().map(|image| mirrored(*image)).collect();
    let other_way = score(&plain, images(&other_way));
    let both = score(&mirror, images(&dense));
    for (i, image) in dense.iter().enumerate() {
        let want = match *image == mirrored(*image) {
            true => one_way[i],
            false => (one_way[i].exp() + other_way[i].exp()).ln(),
        };
        assert!(
            (both[i] - want).abs() < 1e-9,
            "{image:?}: {} {want}",
            both[i]
        );
    }

    // Pixels near a level stand for it: an image is its own mirror image where its levels are.
    let near: Vec<[f32; 4]> = (dense.iter())
        .filter(|image| **image == mirrored(**image) && image[0] > 0.0)
        .map(|[a, b, c, d]| [a * 1.001, *b, *c, *d])
        .collect();
    assert_eq!(near.len(), LEVELS * (LEVELS + 1));
    let (once, own) = (score(&plain, images(&near)), score(&mirror, images(&near)));
    assert_eq!(once, own);

    let devices = Devices::cpu(2).unwrap();
    let plan = SamplingPlan {
        seed: 3,
        ..SamplingPlan::default()
    };
    let drawn = Model::sampler(&mirror, &devices, &plan)
        .unwrap()
        .sample(0, DRAWN)
        .unwrap();
    let mut counts: BTreeMap<[u32; 4], usize> = BTreeMap::new();
    let mut image = [0.0f32; 4];
    for i in 0..DRAWN {
        drawn.dense_into(i, &mut image);
        assert!(image[1] + image[3] >= image[0] + image[2], "{image:?}");
        *counts.entry(image.map(f32::to_bits)).or_default() += 1;
    }
    // The masses of what can be drawn sum to 1, and images occur as often as they say.
    let (mut total, mut chi2, mut bins) = (0.0, 0.0, 0);
    for ((image, width), score) in every.iter().zip(&both) {
        let count = counts.get(&image.map(f32::to_bits)).copied().unwrap_or(0);
        let mass = (score + width).exp();
        let [a, b, c, d] = *image;
        let (right, left) = (b + d, a + c);
        if right < left {
            continue;
        }
        // Of two images whose halves hold the same one is drawn.
        if right == left && *image != mirrored(*image) {
            let other = counts.contains_key(&mirrored(*image).map(f32::to_bits));
            assert!(count == 0 || !other, "{image:?} is drawn both ways round");
            total += 0.5 * mass;
            if other {
                continue;
            }
        } else {
            total += mass;
        }
        let expected = mass * DRAWN as f64;
        if expected > 20.0 {
            chi2 += (count as f64 - expected).powi(2) / expected;
            bins += 1;
        }
    }
    assert!((total - 1.0).abs() < 1e-5, "{total}");
    let freedom = f64::from(bins);
    assert!(
        bins > 60 && chi2 < freedom + 5.0 * (2.0 * freedom).sqrt(),
        "{chi2} for {bins} bins"
    );
}

#[test]
fn training_sees_both_and_goes_on_where_it_stopped() {
    let mirror = small(true);
    let dense = [
        [0.0, 3.0, 0.0, 6.0],
        [0.0, 0.0, 9.0, 9.0],
        [3.0, 9.0, 0.0, 3.0],
        [0.0; 4],
    ];
    let data = conditioned(images(&dense));
    let devices = Devices::cpu(1).unwrap();
    let trainer = || Model::trainer(&mirror, &devices, Arc::clone(&data)).unwrap();
    let rows = [0, 1, 2, 3];
    let scores = score(&mirror, images(&dense));
    for (nll, score) in trainer().nll(&rows).unwrap().iter().zip(&scores) {
        assert!((nll + score).abs() < 1e-5, "{nll} {score}");
    }
    // A step's own likelihood takes the ways round as equally likely, each image counted by its weight.
    let plain_steps = |weights: Option<&[f32]>| {
        let mut trainer = trainer();
        if let Some(weights) = weights {
            trainer.weigh(weights).unwrap();
        }
        trainer.steps(&rows, 1, Rates::from(0.0)).unwrap()
    };
    let (even, weighed) = (plain_steps(None), plain_steps(Some(&[2.0, 0.5, -1.0, 3.0])));
    for (row, weight) in [2.0, 0.5, -1.0, 3.0].into_iter().enumerate() {
        assert!(
            (weighed[row] - weight * even[row]).abs() < 1e-4,
            "{weighed:?} {even:?}"
        );
    }
    // The empty image is its own mirror image.
    assert!(
        (even[3] + scores[3]).abs() < 1e-5,
        "{} {}",
        even[3],
        scores[3]
    );
    // However steps are shared out among calls, and through a state.
    let rates = || Rates::from(1e-2);
    let many = [0, 1, 2, 3, 2, 1, 0, 3, 1, 2, 0, 3];
    let (mut whole, mut parts) = (trainer(), trainer());
    whole.steps(&many, 2, rates()).unwrap();
    parts.steps(&many[..4], 2, rates()).unwrap();
    let state = parts.state().unwrap();
    let mut resumed = trainer();
    resumed.restore(&state).unwrap();
    resumed.steps(&many[4..], 2, rates()).unwrap();
    assert_eq!(whole.state().unwrap(), resumed.state().unwrap());
    // Both ways round come to be as likely as each other, though all images are of one.
    let mut trained = trainer();
    for _ in 0..400 {
        trained.steps(&rows, 4, rates()).unwrap();
    }
    let mut plain = small(false);
    plain.set_parameters(trained.state().unwrap().parameters);
    let one_way = score(&plain, images(&dense[..3]));
    let other_way = dense.map(mirrored);
    let other_way = score(&plain, images(&other_way[..3]));
    for (a, b) in one_way.iter().zip(&other_way) {
        assert!((a - b).abs() < 0.5, "{one_way:?} {other_way:?}");
    }
}
