//! Incremental sampling equals naive sampling, image for image and bit for bit.

use crate::support::common::{CONFIGS, conditions, handed_out, model, small_toml};
use proptest::prelude::*;
use sarm::families::sarm::Engine;
use sarm::families::sarm::Sarm;
use sarm::families::sarm::cpu::CpuEngine;
use sarm::family::SamplingPlan;
use sarm::numeric::Isa;

fn plan(model: &Sarm, seed: u64) -> SamplingPlan {
    SamplingPlan {
        seed,
        conditions: conditions(model, 5, seed),
        ..SamplingPlan::default()
    }
}

#[test]
fn incremental_is_naive_on_every_instruction_set() {
    for (i, (toml, h, w)) in CONFIGS.iter().enumerate() {
        let model = model(toml, *h, *w, i as u64, 0.3);
        let naive = SamplingPlan {
            naive: true,
            ..plan(&model, 3)
        };
        let want = CpuEngine::with_isa(1, Isa::Portable)
            .unwrap()
            .sampler(&model, &naive)
            .unwrap()
            .sample(10, 70)
            .unwrap();
        assert!(want.nonzeros() > 70, "{toml}: {}", want.nonzeros());
        for isa in Isa::available() {
            for threads in [1, 2] {
                let engine = CpuEngine::with_isa(threads, isa).unwrap();
                for block in [None, Some(1), Some(7), Some(1000)] {
                    let plan = SamplingPlan {
                        block,
                        ..plan(&model, 3)
                    };
                    let got = engine
                        .sampler(&model, &plan)
                        .unwrap()
                        .sample(10, 70)
                        .unwrap();
                    assert!(got == want, "{toml} {isa:?} {threads} {block:?}");
                }
                let got = engine
                    .sampler(&model, &naive)
                    .unwrap()
                    .sample(10, 70)
                    .unwrap();
                assert!(got == want, "{toml} {isa:?} naive");
                let blocks = [handed_out(&naive), handed_out(&plan(&model, 3))];
                for plan in blocks.iter().take(2 * (threads - 1)) {
                    let mut sampler = engine.sampler(&model, plan).unwrap();
                    let mut got = sampler.sample(10, 33).unwrap();
                    got.extend(&sampler.sample(43, 37).unwrap());
                    assert!(got == want, "{toml} {isa:?} conditions block by block");
                }
            }
        }
    }
}

/// A small configuration with what a model knows of a total: logistics of the pixel or of its logarithm, and so many functions
/// of what is left.
fn with_a_total(
    [units, layers, centre, left, components]: [usize; 5],
    lower: Option<f64>,
    upper: Option<f64>,
) -> String {
    let square = match centre {
        0 => String::new(),
        side => format!("{{square = {side}, units_per_pixel = {units}, layers = {layers}}},"),
    };
    let space = match lower {
        Some(lower) => format!("space = 'log'\nlower = {lower:?}"),
        None => String::new(),
    };
    let upper = upper.map_or(String::new(), |upper| format!("upper = {upper:?}"));
    format!(
        "order = {{kind = 'random', seed = {units}}}\nstage = [{square} {{layers = {layers}}}]\n[likelihood]\nkind = 'dc'\n\
        components = {components}\nunit = 2.0\n{space}\n{upper}\n[input]\nunit = 20.0\nleft = {left}\n\
        [condition]\nnames = ['a', 'all']\ntotal = 'all'"
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn an_image_is_the_same_in_any_company(
        height in 2usize..9, width in 2usize..9, centre in 0usize..4, units in 1usize..4,
        layers in 0usize..3, dd in any::<bool>(), order in 0usize..5, block in 1usize..40,
        first in 0u64..1000, split in 1usize..50, seed in any::<u64>(), conditioned in any::<bool>(),
    ) {
        let toml = small_toml([height, width], centre, units, layers, dd, order, conditioned);
        let model = model(&toml, height, width, seed, 0.4);
        let engine = CpuEngine::new(2).unwrap();
        let draw = |naive, block, first, count| {
            let plan = SamplingPlan { naive, block, ..plan(&model, seed) };
            engine.sampler(&model, &plan).unwrap().sample(first, count).unwrap()
        };
        let whole = draw(true, None, first, 50);
        let mut shards = draw(false, Some(block), first, split);
        shards.extend(&draw(false, None, first + split as u64, 50 - split));
        prop_assert!(whole == shards);
    }

    #[test]
    fn what_is_left_is_the_same_in_any_company(
        height in 2usize..7, width in 2usize..7, units in 1usize..4, layers in 0usize..3, centre in 0usize..3,
        left in 0usize..9, components in 2usize..6, log_lower in prop::option::of(-6.0f64..2.0),
        upper in prop::option::of(20.0f64..60.0), block in 1usize..40, first in 0u64..1000, split in 1usize..50,
        threads in 1usize..4, seed in any::<u64>(),
    ) {
        let centre = centre.min(height.min(width) - 1);
        let lower = log_lower.map(f64::exp);
        let toml = with_a_total([units, layers, centre, left, components], lower, upper);
        let model = model(&toml, height, width, seed, 0.5);
        let draw = |isa, threads, naive, block, first, count| {
            let plan = SamplingPlan { naive, block, ..plan(&model, seed) };
            let engine = CpuEngine::with_isa(threads, isa).unwrap();
            engine.sampler(&model, &plan).unwrap().sample(first, count).unwrap()
        };
        let whole = draw(Isa::Portable, 1, true, None, first, 50);
        for isa in Isa::available() {
            let mut shards = draw(isa, threads, false, Some(block), first, split);
            shards.extend(&draw(isa, 1, false, None, first + split as u64, 50 - split));
            prop_assert!(whole == shards);
        }
        // No pixel below the lower end or above the upper one, and no more than the total but for rounding.
        let values = model.values();
        let conditions = conditions(&model, 5, seed);
        for (i, (_, pixels)) in whole.iter().enumerate() {
            let budget = values.first(conditions.budget(first + i as u64)).unwrap();
            prop_assert!(pixels.iter().all(|x| values.excludes(*x).is_none()));
            let sum: f64 = pixels.iter().map(|x| f64::from(*x)).sum();
            prop_assert!(sum <= f64::from(budget.remaining.max(0.0)) + 2.0 * f64::from(budget.tolerance));
        }
    }
}
