//! The CUDA engine's sampler: every decision against a float64 reference, the same images whatever is asked for and when,
//! the CPU engine's beside them, and statistics of many.
//!
//! On the emulation of a card, or with `SARM_TEST_DEVICE=cuda` and feature `cuda` on the card itself. With
//! `SARM_TEST_SAMPLER=naive` these tests try themselves on a plain sampler. What needs an emulation alone has "memory"
//! in its name.

mod faults;

use crate::emulation;
use crate::support::common::handed_out;
use crate::support::rounded;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::emulation::Emulation;
use crate::sampled::{FIRST, SEED, drawn, engine, kolmogorov_smirnov, on_card, plain, plan};
use crate::support::decisions::entropy::Balance;
use crate::support::decisions::models::{MODELS, model};
use crate::support::decisions::{Drawn, check};
use sarm::bench::PAPER;
use sarm::conditions::{ConditionedImages, Conditions};
use sarm::data::SparseImages;
use sarm::families::sarm::Engine;
use sarm::families::sarm::cpu::CpuEngine;
use sarm::families::sarm::cuda::CudaEngine;
use sarm::families::sarm::{Sarm, StageTensor, Values};
use sarm::family::{Sampler, SamplingPlan};
use sarm::prior::draw;

#[test]
fn every_decision_is_the_references() {
    for (i, (toml, ..)) in MODELS.iter().enumerate() {
        let drawn = drawn(i);
        check(&Drawn {
            model: &drawn.model,
            seed: drawn.plan.seed,
            conditions: &drawn.plan.conditions,
            first: FIRST,
            images: &drawn.images,
        })
        .assert_right(toml);
    }
}

/// Models for what does not depend on the model: D+C and D+D, one and more stages, conditions, what is left of a total.
const SOME: [usize; 5] = [1, 2, 4, 8, 15];

/// Images in each of the comparisons below.
const COUNT: usize = 70;

/// Images by the place of the first, and how many.
type Run = (usize, usize);

fn draw(sampler: &mut dyn Sampler, first: u64, count: usize) -> SparseImages {
    let images = sampler.sample(first, count).unwrap();
    assert_eq!(images.len(), count);
    images
}

fn sampler(model: &Sarm, plan: &SamplingPlan) -> Box<dyn Sampler> {
    engine().sampler(model, plan).unwrap()
}

#[test]
fn images_are_the_same_whatever_is_asked_for_and_when() {
    for i in SOME {
        let (model, plan) = (model(i), plan(&model(i)));
        let name = MODELS[i].0;
        let whole = draw(&mut *sampler(&model, &plan), FIRST, COUNT);
        let part = |from: usize, count: usize| whole.gather(from..from + count);

        // Any counts, in any order, none among them, on one sampler.
        let mut one = sampler(&model, &plan);
        for (from, count) in [(31, 39), (30, 1), (0, 30), (69, 1), (3, 0), (5, 33)] {
            let found = draw(&mut *one, FIRST + from as u64, count);
            assert!(found == part(from, count), "{name}: {count} from {from}");
            assert_eq!(
                (found.height(), found.width()),
                (whole.height(), whole.width())
            );
        }
        assert!(one.preferred_count() > 0);

        // Announced: as it comes, in part, more, twice, in vain.
        let announced: [(&[Run], Run); 7] = [
            (&[(0, 20)], (0, 20)),
            (&[(20, 9), (29, 20)], (20, 9)),
            (&[], (29, 20)),
            (&[(49, 21)], (49, 10)),
            (&[(1, 5), (1, 5)], (1, 5)),
            (&[(40, 8), (10, 3), (0, 0)], (33, 12)),
            (&[(0, 10)], (0, 70)),
        ];
        for (ahead, (from, count)) in announced {
            for (from, count) in ahead {
                one.announce(FIRST + *from as u64, *count).unwrap();
            }
            let found = draw(&mut *one, FIRST + from as u64, count);
            assert!(found == part(from, count), "{name}: {ahead:?} announced");
        }
        // And left alone in the end.
        one.announce(FIRST, 5).unwrap();
        drop(one);

        // How the plan would have it done.
        for block in [1, 5, 1000] {
            let plan = SamplingPlan {
                block: Some(block),
                ..plan.clone()
            };
            let found = draw(&mut *sampler(&model, &plan), FIRST, COUNT);
            assert!(found == whole, "{name}: blocks of {block}");
        }
    }
}

#[test]
fn images_depend_on_every_bit_of_number_and_seed() {
    let i = 4;
    let (model, plan) = (model(i), plan(&model(i)));
    let mut one = sampler(&model, &plan);
    let last = u64::MAX - COUNT as u64;
    // The first number of all, that of the conditions' next round, one above 2^32, and the last ones.
    let firsts = [0, 7, 1 << 32, last];
    let found = firsts.map(|first| draw(&mut *one, first, COUNT));
    for (first, images) in firsts.iter().zip(&found) {
        let drawn = Drawn {
            model: &model,
            seed: SEED,
            conditions: &plan.conditions,
            first: *first,
            images,
        };
        check(&drawn).assert_right(&format!("from number {first}"));
    }
    assert!(found[0] != found[2], "numbers beyond 2^32 are others");
    for bit in [0, 31, 32, 63] {
        let seed = SEED ^ (1 << bit);
        let plan = SamplingPlan {
            seed,
            ..plan.clone()
        };
        let images = draw(&mut *sampler(&model, &plan), 0, COUNT);
        let drawn = Drawn {
            model: &model,
            seed,
            conditions: &plan.conditions,
            first: 0,
            images: &images,
        };
        check(&drawn).assert_right(&format!("seed {seed:x}"));
    }
}

/// Conditions that are drawn reach each image as a table's do, in launches of all sizes.
#[test]
fn conditions_come_block_by_block() {
    if plain() {
        return;
    }
    for i in SOME {
        let (model, plan) = (model(i), plan(&model(i)));
        let blocks = handed_out(&plan);
        // Beyond what was once the last row of conditions, too.
        for first in [FIRST, (1 << 20) - 30, u64::MAX - COUNT as u64] {
            let whole = draw(&mut *sampler(&model, &plan), first, COUNT);
            let mut one = sampler(&model, &blocks);
            assert!(draw(&mut *one, first, COUNT) == whole, "{}", MODELS[i].0);
            one.announce(first, 11).unwrap();
            one.announce(first + 11, 50).unwrap();
            let mut shards = draw(&mut *one, first, 11);
            shards.extend(&draw(&mut *one, first + 11, 50));
            shards.extend(&draw(&mut *one, first + 61, COUNT - 61));
            assert!(shards == whole, "{}", MODELS[i].0);
        }
        // As many launches as a little memory makes of them.
        let device = || Emulation::late().device();
        let least = (8..34).find_map(|bits| {
            let plan = SamplingPlan {
                max_memory: Some(1 << bits),
                ..blocks.clone()
            };
            CudaEngine::new(device()).sampler(&model, &plan).ok()
        });
        let mut least = least.unwrap();
        assert!(least.preferred_count() < COUNT, "{}", MODELS[i].0);
        let whole = draw(&mut *sampler(&model, &plan), FIRST, COUNT);
        assert!(draw(&mut *least, FIRST, COUNT) == whole, "{}", MODELS[i].0);
    }
}

/// Devices that schedule threads in other ways, and one that does nothing before it is waited for.
#[test]
fn images_are_the_same_under_any_schedule_in_emulated_memory() {
    if plain() {
        return;
    }
    for i in SOME {
        let (model, plan) = (model(i), plan(&model(i)));
        let mut first = None;
        let seeds = (1..4).map(|seed| Emulation::seeded(emulation::seed() + seed).device());
        for (which, device) in seeds.chain([Emulation::late().device()]).enumerate() {
            let mut one = CudaEngine::new(device).sampler(&model, &plan).unwrap();
            one.announce(FIRST, 40).unwrap();
            one.announce(FIRST + 40, 30).unwrap();
            let mut images = draw(&mut *one, FIRST, 40);
            one.announce(FIRST, COUNT).unwrap();
            images.extend(&draw(&mut *one, FIRST + 40, 30));
            assert!(images == draw(&mut *one, FIRST, COUNT), "drawn again");
            let first = first.get_or_insert_with(|| images.clone());
            assert!(images == *first, "{}: schedule {which}", MODELS[i].0);
        }
    }
}

/// A limit on memory makes chunks smaller; one that is too tight is refused with the figures.
#[test]
fn images_are_the_same_within_less_memory() {
    if plain() {
        return;
    }
    for i in SOME {
        let (model, plan) = (model(i), plan(&model(i)));
        let mut counts = vec![];
        let mut whole = None;
        for limit in (8..34).rev().map(|bits| 1u64 << bits) {
            // Chunks that are ahead of those asked for, done at once or only when somebody waits.
            let device = match limit.ilog2() % 2 {
                0 => Emulation::new().device(),
                _ => Emulation::late().device(),
            };
            let before = device.free_memory().unwrap();
            let plan = SamplingPlan {
                max_memory: Some(limit),
                ..plan.clone()
            };
            let made = CudaEngine::new(Arc::clone(&device)).sampler(&model, &plan);
            let mut one = match made {
                Ok(one) => one,
                Err(e) => {
                    let text = e.to_string();
                    assert!(text.contains("memory") && text.contains("iB"), "{text}");
                    break;
                }
            };
            counts.push(one.preferred_count());
            // Every limit, but as many images only where chunks are small enough to be several.
            if one.preferred_count() < COUNT || whole.is_none() {
                let images = draw(&mut *one, FIRST, COUNT);
                let whole = whole.get_or_insert_with(|| images.clone());
                assert!(images == *whole, "{}: {limit} bytes", MODELS[i].0);
            }
            let taken = before - device.free_memory().unwrap();
            assert!(taken <= limit, "{taken} bytes taken, {limit} allowed");
        }
        println!("images at a time by memory: {counts:?}");
        assert!(counts.windows(2).all(|pair| pair[1] <= pair[0]));
        assert!(counts.len() > 2 && counts[counts.len() - 1] < counts[0]);
        assert!(counts.len() < 26, "the smallest limit must be refused");
    }
}

/// The engines differ by the rounding to bf16 alone: from one decision that it tips on an image is another.
#[test]
fn images_are_nearly_the_cpu_engines() {
    for (i, (toml, ..)) in MODELS.iter().enumerate() {
        let drawn = drawn(i);
        let cpu = CpuEngine::new(2).unwrap();
        let want = cpu
            .sampler(&drawn.model, &drawn.plan)
            .unwrap()
            .sample(FIRST, drawn.images.len())
            .unwrap();
        let (mut same_pattern, mut same_pixels) = (0, 0);
        let mut dense = [(); 2].map(|()| vec![0.0; drawn.model.pixels()]);
        for image in 0..want.len() {
            drawn.images.dense_into(image, &mut dense[0]);
            want.dense_into(image, &mut dense[1]);
            let pairs = || dense[0].iter().zip(&dense[1]);
            same_pattern += usize::from(pairs().all(|(a, b)| (*a > 0.0) == (*b > 0.0)));
            // Values within five percent and a hundredth of a GeV, a level of a grid.
            let near =
                |a: f32, b: f32| (a > 0.0) == (b > 0.0) && (a - b).abs() < 0.05 * a.max(b) + 0.01;
            same_pixels += pairs().filter(|(a, b)| near(**a, **b)).count();
        }
        let patterns = same_pattern as f64 / want.len() as f64;
        let pixels = same_pixels as f64 / (want.len() * drawn.model.pixels()) as f64;
        println!(
            "{patterns:.3} of the images have the same pixels, {pixels:.4} of the pixels are near: {toml}"
        );
        // Two images that have nothing to do with each other share half of their pixels and no pattern.
        assert!(
            patterns > 0.95 && pixels > 0.99,
            "{toml}: {patterns}, {pixels}"
        );
    }
}

/// Given the pixels before, a pixel's cost less its mean is a step of a martingale, and so is a zero less its chance.
#[test]
fn likelihoods_and_zeros_are_the_models_own() {
    let mut farthest = 0.0f64;
    let mut zeros = 0;
    // Not number 6, whose pixels know no end and are inputs as they are: a single image costs hundreds of nats. Nor the
    // mixture of 20, for the time that its entropy takes.
    for i in [1, 2, 3, 5, 7, 8, 9, 13, 15] {
        let drawn = drawn(i);
        let n = drawn.images.len();
        let given = drawn.plan.conditions.width();
        let rows = (FIRST..).take(n).flat_map(|i| drawn.plan.conditions.row(i));
        let data = Arc::new(ConditionedImages {
            images: drawn.images.clone(),
            conditions: Conditions::new(given, rows.copied().collect())
                .with_total(drawn.model.total()),
        });
        let scores = engine().score(&drawn.model, data).unwrap();
        let rounded = rounded::representable(drawn.model.clone());
        let mut image = vec![0.0; drawn.model.pixels()];
        let mut balance = Balance::new(&rounded);
        for (index, score) in scores.iter().enumerate() {
            drawn.images.dense_into(index, &mut image);
            let condition = drawn.plan.conditions.row(FIRST + index as u64);
            balance.add(&image, condition, -score);
        }
        let (costs, all) = (balance.costs.sigmas(), balance.all_zeros().sigmas());
        println!(
            "costs {costs:.2} sigma ({:.2} nats an image), zeros {all:.2}: {}",
            balance.costs.sum / n as f64,
            MODELS[i].0
        );
        assert!(costs.abs() < 4.0 && all.abs() < 4.0, "{}", MODELS[i].0);
        zeros += balance.zeros.len();
        let each = balance.zeros.iter().map(|zeros| zeros.sigmas().abs());
        farthest = each.fold(farthest, f64::max);
    }
    // Four standard errors for all of them together: 6e-5 shared out among 150 pixels is five for each.
    println!("{farthest:.2} sigma, the farthest of {zeros} pixels");
    assert!(zeros < 200 && farthest < 5.1, "{farthest} sigma");
}

/// Distances above these are seen once in 10 000 comparisons.
#[test]
fn distributions_are_the_cpu_engines() {
    let count = if on_card() { 100_000 } else { 1000 };
    let observables = |images: &SparseImages| -> [Vec<f32>; 3] {
        let of = |f: &dyn Fn(&[f32]) -> f32| images.iter().map(|(_, values)| f(values)).collect();
        [
            of(&|values| values.iter().sum()),
            of(&|values| values.len() as f32),
            of(&|values| values.iter().fold(0.0, |a, b| a.max(*b))),
        ]
    };
    let limit = 2.23 * (2.0 / count as f64).sqrt();
    for i in [4, 8] {
        let model = model(i);
        let plan = plan(&model);
        // Other images than the card's own.
        let of_cpu = |model: &Sarm| {
            let cpu = CpuEngine::new(2).unwrap();
            let images = cpu.sampler(model, &plan).unwrap().sample(1 << 20, count);
            observables(&images.unwrap())
        };
        let found = observables(&draw(&mut *sampler(&model, &plan), 0, count));
        let want = of_cpu(&model);
        let names = ["total pT", "multiplicity", "highest pixel"];
        for (name, (a, b)) in names.iter().zip(found.iter().zip(&want)) {
            let distance = kolmogorov_smirnov(a, b);
            println!("{distance:.4} of {limit:.4}: {name} of {}", MODELS[i].0);
            assert!(distance < limit, "{}: {name}: {distance}", MODELS[i].0);
        }
        // A model that opens its gates a little more often is another.
        let mut other = model.clone();
        for stage in 0..other.stages.len() {
            let gates = other.index(stage, StageTensor::GateBias);
            other.parameters[gates].iter_mut().for_each(|b| *b -= 0.3);
        }
        let other = of_cpu(&other);
        let seen = found
            .iter()
            .zip(&other)
            .any(|(a, b)| kolmogorov_smirnov(a, b) > limit);
        assert!(seen, "{}: these would not be told apart", MODELS[i].0);
    }
}

/// A network at full size: every decision right, nearly the CPU engine's images, `occupancy` of the pixels not zero.
fn draws_right(name: &str, model: &Sarm, conditions: Conditions, occupancy: f64) {
    let count = if on_card() { 200 } else { 25 };
    let plan = SamplingPlan {
        seed: SEED,
        conditions,
        ..SamplingPlan::default()
    };
    let images = draw(&mut *sampler(model, &plan), FIRST, count);
    let report = check(&Drawn {
        model,
        seed: SEED,
        conditions: &plan.conditions,
        first: FIRST,
        images: &images,
    });
    let wrong = report.wrong.join("\n");
    assert!(report.wrong.is_empty(), "{name}: {wrong}");
    // Not of the gates: where a total is spent there is nothing to decide.
    let found = report.values as f64 / (count * model.pixels()) as f64;
    assert!((found / occupancy - 1.0).abs() < 0.2, "{name}: {found}");
    let cpu = CpuEngine::new(2).unwrap();
    let want = cpu.sampler(model, &plan).unwrap().sample(FIRST, count);
    let want = want.unwrap();
    let same = (0..count).filter(|i| images.image(*i).0 == want.image(*i).0);
    let same = same.count() as f64 / count as f64;
    println!("{name}: {same} of {count} images have the CPU's pixels");
    assert!(same > 0.7, "{name}: {same}");
}

#[test]
fn the_papers_networks_draw_right() {
    for paper in PAPER.iter().filter(|p| p.name != "muons-dd") {
        let model = paper.model().unwrap();
        draws_right(paper.name, &model, Conditions::none(), paper.occupancy);
    }
}

/// One model of W, quark and gluon jets, under conditions of its own: 27 of 625 pixels are hit.
#[test]
fn the_shipped_network_draws_right() {
    let shipped = sarm::run::pretrained::MODELS[0];
    let checkpoint = shipped.checkpoint().unwrap();
    let model = Sarm::of(checkpoint.model.as_ref()).unwrap();
    let names = &model.config.condition.names;
    let prior = checkpoint.prior.as_ref().unwrap();
    let drawn = draw::draw(prior, &BTreeMap::new(), 4, 0..1000).unwrap();
    let row = |row: usize| (names.iter().enumerate()).map(move |(i, n)| (i, n, row));
    let standardised = (0..1000).flat_map(row);
    let standardised = standardised.map(|(i, n, row)| model.standardise(i, drawn[n][row]));
    let conditions = Conditions::new(names.len(), standardised.collect()).with_total(model.total());
    draws_right(shipped.name, model, conditions, 27.0 / 625.0);
}

/// A total below the smallest pixel is nothing, one below two of them is one pixel.
#[test]
fn totals_of_less_than_two_pixels_are_drawn() {
    if plain() {
        return;
    }
    let model = model(15);
    let total = model.total().unwrap();
    let totals = [0.2f32, 0.45, 0.7, 0.0];
    let width = model.config.condition.names.len();
    let mut told = vec![0.0; width * totals.len()];
    for (row, gev) in told.chunks_exact_mut(width).zip(totals) {
        row[total.condition] = model.standardise(total.condition, gev);
    }
    let conditions = Conditions::new(width, told).with_total(Some(total));
    let plan = SamplingPlan {
        conditions: conditions.clone(),
        ..plan(&model)
    };
    let images = draw(&mut *sampler(&model, &plan), 0, 200);
    let mut drawn = [0; 4];
    for image in 0..images.len() {
        let values = images.image(image).1;
        let row = image % totals.len();
        drawn[row] += values.len();
        match values {
            [] => {}
            [all] => assert_eq!(Some(*all), conditions.total(row as u64), "{image}"),
            several => panic!("{several:?} of {} GeV", totals[row]),
        }
    }
    assert!(drawn[0] == 0 && drawn[3] == 0, "{drawn:?}");
    assert!(drawn[1] > 25 && drawn[2] > 25, "{drawn:?}");
}

/// A network whose numbers overflow draws some level that there is.
#[test]
fn levels_without_a_number_are_levels() {
    let mut model = model(7);
    let values = model.index(0, StageTensor::ValueBias);
    model.parameters[values].fill(1e30);
    let map = model.index(0, StageTensor::LevelsWeight);
    for row in model.parameters[map].chunks_exact_mut(3) {
        row.copy_from_slice(&[1e30, -1e30, 0.0]);
    }
    let images = draw(&mut *sampler(&model, &plan(&model)), FIRST, 40);
    assert!(images.nonzeros() > 40);
    let Values::Levels(grid) = model.values() else {
        panic!("model 7 has levels");
    };
    let lowest = grid.value(0);
    let values = images.csr().2;
    assert!(values.iter().all(|v| *v == lowest), "{values:?}");
}
