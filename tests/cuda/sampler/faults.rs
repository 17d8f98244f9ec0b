//! What does not fit, and cards that are lost.

use crate::support::common;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use sarm::conditions::Conditions;
use sarm::data::{Layout, ReadOptions, SparseImages, read};
use sarm::device::cuda::device::Device;
use sarm::families::sarm::Engine;
use sarm::families::sarm::Sarm;
use sarm::families::sarm::cuda::CudaEngine;
use sarm::family::SamplingPlan;
use sarm::run::generate::{Ending, GeneratePlan, generate};
use sarm::run::identity::Identity;

use super::draw;
use crate::devices::{Failing, under_test};
use crate::emulation::{Emulation, Kernels};
use crate::sampled::{Blocks, FIRST, SEED, engine, plain, plan};
use crate::support::decisions::models::model;
use crate::support::decisions::{Drawn, check};

fn refusal(device: Arc<dyn Device>, model: &Sarm, plan: &SamplingPlan) -> String {
    let refused = CudaEngine::new(device).sampler(model, plan).err();
    let shape = &model.stages[0];
    refused
        .unwrap_or_else(|| panic!("{shape:?} is not refused"))
        .to_string()
}

#[test]
fn too_little_memory_is_said_with_figures() {
    if plain() {
        return;
    }
    let (model, plan) = (model(4), plan(&model(4)));
    let tiny = Emulation::with(Kernels::project(), 1, 1 << 16).device();
    let text = refusal(tiny, &model, &plan);
    assert!(
        text.contains("too little free memory") && text.contains("MiB are free"),
        "{text}"
    );
    let limited = SamplingPlan {
        max_memory: Some(1 << 10),
        ..plan
    };
    let text = refusal(Emulation::new().device(), &model, &limited);
    assert!(text.contains("memory") && text.contains("iB"), "{text}");
}

#[test]
fn models_and_plans_that_do_not_fit_in_memory_are_refused_with_what_would() {
    if plain() {
        return;
    }
    let one = "[likelihood]\nkind = 'dc'\ncomponents = 1";
    let of = |stage: &str, side| {
        common::model(&format!("stage = [{{{stage}}}]\n{one}"), side, side, 1, 0.3)
    };
    let deep = of("layers = 8", 5);
    let wide = of("units_per_pixel = 17", 3);
    for (model, what) in [(&deep, "layers"), (&wide, "units per pixel")] {
        let text = refusal(under_test(), model, &plan(model));
        assert!(
            text.contains(what) && text.contains("--device cpu"),
            "{text}"
        );
        assert!(text.chars().any(|c| c.is_ascii_digit()), "{text}");
    }
    // The activations of the fewest images that a block draws would fill more than its shared memory: they lie
    // in the device's.
    let large = of("units_per_pixel = 2, layers = 7", 29);
    let plan_of_large = plan(&large);
    let images = draw(
        &mut *engine().sampler(&large, &plan_of_large).unwrap(),
        FIRST,
        9,
    );
    check(&Drawn {
        model: &large,
        seed: SEED,
        conditions: &plan_of_large.conditions,
        first: FIRST,
        images: &images,
    })
    .assert_right("history in global memory");
    let little = Emulation::with(Kernels::project(), 1, 8 << 20).device();
    let text = refusal(little, &large, &plan_of_large);
    assert!(text.contains("what is drawn at a time"), "{text}");
    let model = model(4);
    let foreign = SamplingPlan {
        conditions: Conditions::new(2, vec![0.0; 4]),
        ..plan(&model)
    };
    let text = refusal(under_test(), &model, &foreign);
    assert!(text.contains("conditions"), "{text}");
}

fn run(engine: &dyn Engine, out: &Path, model: &Sarm, resume: bool) -> Result<u64, String> {
    let (height, width) = (model.config.image.height, model.config.image.width);
    let identity = Identity {
        model: [3; 32],
        condition: [0; 32],
        seed: SEED,
        first: FIRST,
        count: 100,
        height: height as u32,
        width: width as u32,
        arithmetic: "some".into(),
    };
    let mut generation = GeneratePlan::new(out, identity, Layout::Sparse);
    generation.resume = resume;
    let sampler = engine
        .sampler(model, &plan(model))
        .map_err(|e| e.to_string())?;
    let mut blocks = Blocks { sampler, count: 16 };
    let nothing = |_, _: &SparseImages| Ok(Default::default());
    let outcome = generate(&generation, &mut blocks, &nothing, &mut |_| {
        ControlFlow::Continue(())
    })
    .map_err(|e| e.to_string())?;
    assert_eq!(outcome.ending, Ending::Complete);
    Ok(outcome.replayed)
}

/// A card that is lost at any moment leaves a run that goes on, on it or on another.
#[test]
fn a_lost_card_leaves_a_run_that_goes_on() {
    if plain() {
        return;
    }
    let model = model(4);
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole.h5");
    run(&*engine(), &whole, &model, false).unwrap();
    let content = |path: &Path| read(path, &ReadOptions::default()).unwrap().images;
    let want = content(&whole);
    let (mut failures, mut resumed) = (0, 0);
    for calls in std::iter::successors(Some(0), |n: &usize| Some(n + n / 6 + 1)) {
        let out = folder.path().join(format!("{calls}.h5"));
        let failing = CudaEngine::new(Failing::after(under_test(), calls));
        match run(&failing, &out, &model, false) {
            Ok(_) => break,
            Err(text) => assert!(text.contains("device is lost"), "{text}"),
        }
        failures += 1;
        assert!(!out.exists(), "nothing half done under its name");
        let journal = folder.path().join(format!("{calls}.h5.partial")).exists();
        let replayed = run(&*engine(), &out, &model, journal).unwrap();
        resumed += usize::from(replayed > 0);
        assert!(content(&out) == want, "lost after {calls} calls");
    }
    println!("{failures} losses, {resumed} with images that were kept");
    assert!(failures > 4 && resumed > 0);
}

/// After any call that fails, images are those that were asked for, or an error.
#[test]
fn nothing_is_left_of_what_failed() {
    if plain() {
        return;
    }
    let model = model(0);
    // Launches of 32 images: a range is several.
    let little = SamplingPlan {
        max_memory: Some(20 << 10),
        ..plan(&model)
    };
    let (device, calls) = Failing::once(under_test());
    let mut sampler = CudaEngine::new(device).sampler(&model, &little).unwrap();
    let ranges = [(FIRST, 100), (FIRST + 100, 90)];
    let want = ranges.map(|(first, count)| {
        draw(
            &mut *engine().sampler(&model, &plan(&model)).unwrap(),
            first,
            count,
        )
    });
    assert!(
        sampler.preferred_count() < 50,
        "{}",
        sampler.preferred_count()
    );
    let mut failures = 0;
    for after in 0.. {
        calls.fail_after(after);
        let mut failed = false;
        for (first, count) in ranges {
            failed |= sampler.announce(first, count).is_err();
        }
        for ((first, count), want) in ranges.iter().zip(&want) {
            match sampler.sample(*first, *count) {
                Ok(images) => assert!(images == *want, "after {after} calls"),
                Err(_) => failed = true,
            }
        }
        if !failed {
            break;
        }
        failures += 1;
    }
    assert!(failures > 20, "{failures}");
}
