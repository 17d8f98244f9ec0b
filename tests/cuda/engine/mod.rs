//! The CUDA engine as a whole against the CPU engine: likelihoods, gradients, training, resuming, faults.
//!
//! On the emulation of a card, or with `SARM_TEST_DEVICE=cuda` and feature `cuda` on the card itself.

mod faults;

use crate::support::rounded;
use std::sync::Arc;
use std::time::Duration;

use crate::devices::{OnPaper, emulated, under_test};
use crate::sampled::plan as plan_of;
use crate::support::common::{CONFIGS, around_the_range, data, model};
use crate::support::decisions;
use crate::support::decisions::models::MODELS;
use crate::support::rounded::{representable, to_bf16};
use sarm::conditions::{ConditionedImages, Conditions};
use sarm::data::{Dataset, SparseImages};
use sarm::device::cuda::device::Device;
use sarm::families::sarm::Engine;
use sarm::families::sarm::cpu::CpuEngine;
use sarm::families::sarm::cuda::CudaEngine;
use sarm::families::sarm::{Config, Sarm, Values};
use sarm::family::{Trainer, TrainingState};
use sarm::likelihood::Space;
use sarm::nn::adam::Rates;
use sarm::run::train::TrainPlan;

fn engine() -> CudaEngine {
    CudaEngine::new(under_test())
}

/// Models with weights that bf16 holds exactly: what is left between the engines is the rounding of inputs,
/// activations and derivatives.
fn cases() -> impl Iterator<Item = (&'static str, Sarm, Arc<ConditionedImages>)> {
    CONFIGS.iter().enumerate().map(|(i, (toml, h, w))| {
        let model = representable(model(toml, *h, *w, i as u64, 0.3));
        let data = data(&model, 41, 5, 0.3);
        (*toml, model, data)
    })
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|v| v * v).sum::<f64>().sqrt()
}

/// bf16 keeps 8 bits: 2^-9 of an activation is lost at each layer, at random, and the sum over an image's
/// pixels loses relatively less.
#[test]
fn likelihoods_are_the_cpu_engines() {
    for (toml, model, data) in cases() {
        let want = CpuEngine::new(1)
            .unwrap()
            .score(&model, Arc::clone(&data))
            .unwrap();
        let found = engine().score(&model, Arc::clone(&data)).unwrap();
        let difference = norm(found.iter().zip(&want).map(|(a, b)| a - b));
        let size = norm(want.iter().copied());
        println!("{:.2e} of the likelihood: {toml:?}", difference / size);
        assert!(difference < 2e-3 * size, "{toml}: {difference:e} of {size}");
    }
}

/// What is left just above the largest pixel, as tests/model/total.rs has it of the CPU and of the float64 reference. Whether such a
/// pixel has a density or a probability is 0.3 nats or more.
#[test]
fn all_that_is_left_counts_where_the_cpu_engine_counts_it() {
    let (model, data) = around_the_range();
    let model = representable(model);
    let score = |engine: &dyn Engine| engine.score(&model, Arc::clone(&data)).unwrap();
    let (want, found) = (score(&CpuEngine::new(1).unwrap()), score(&engine()));
    for (row, (want, found)) in want.into_iter().zip(found).enumerate() {
        assert!((want - found).abs() < 0.1, "{row}: {found}, not {want}");
    }
}

/// Pixels beyond an end of the range, in the words of the CPU engine.
#[test]
fn pixels_beyond_the_range_are_refused() {
    for (config, x) in [(3, 51.0), (7, 1e-4), (7, 91.0), (8, 1e-4)] {
        let (toml, h, w) = CONFIGS[config];
        let model = model(toml, h, w, 1, 0.3);
        let mut images = SparseImages::new(h, w).unwrap();
        images.push([(2, 3.0), (7, x)]);
        let mut told = vec![0.0; model.config.condition.names.len()];
        if let Some(total) = model.total() {
            told[total.condition] = model.standardise(total.condition, 3.0 + x);
        }
        let conditions = Conditions::new(told.len(), told).with_total(model.total());
        let data = Arc::new(ConditionedImages { images, conditions });
        let cpu = CpuEngine::new(1).unwrap();
        let [want, found] = [&cpu as &dyn Engine, &engine()]
            .map(|engine| engine.score(&model, Arc::clone(&data)).unwrap_err());
        assert_eq!(found.to_string(), want.to_string(), "{toml}");
    }
}

/// Images as models with a lower end draw them: pixels that take what is left because it is too little for two, and others.
#[test]
fn what_is_certain_costs_nothing_on_either_engine() {
    for (i, (toml, ..)) in MODELS.iter().enumerate() {
        let model = representable(decisions::models::model(i));
        let Values::Mixture(mixture) = model.values() else {
            continue;
        };
        let (Space::Log { lower, .. }, Some(total)) = (mixture.support.space, model.total()) else {
            continue;
        };
        let plan = plan_of(&model);
        let cpu = CpuEngine::new(1).unwrap();
        let images = cpu.sampler(&model, &plan).unwrap().sample(0, 80).unwrap();
        let rows = (0..80).flat_map(|i| plan.conditions.row(i).to_vec());
        let conditions =
            Conditions::new(plan.conditions.width(), rows.collect()).with_total(Some(total));
        // Which leave less than two pixels before the last.
        let certain = (0..80).filter(|image| {
            let mut left = conditions.total(*image).unwrap();
            let mut dense = vec![0.0; model.pixels()];
            images.dense_into(*image as usize, &mut dense);
            let drawn = model.order.iter().flatten().map(|p| dense[usize::from(*p)]);
            drawn.filter(|x| *x > 0.0).any(|x| {
                let few = left < 2.0 * lower as f32;
                left -= x;
                few
            })
        });
        assert!(certain.count() > 5, "{toml}");
        let data = Arc::new(ConditionedImages { images, conditions });
        let want = cpu.score(&model, Arc::clone(&data)).unwrap();
        let found = engine().score(&model, data).unwrap();
        let difference = norm(found.iter().zip(&want).map(|(a, b)| a - b));
        let size = norm(want.iter().copied());
        println!("{:.2e} of the likelihood: {toml:?}", difference / size);
        assert!(difference < 2e-3 * size, "{toml}: {difference:e} of {size}");
    }
}

/// Errors of two gradients of a tensor, relative to the true one, by root mean square.
fn errors(found: &[f32], rounded: &[f64], exact: &[f64]) -> (f64, f64) {
    let size = norm(exact.iter().copied()).max(1e-30);
    let found = found.iter().zip(exact).map(|(a, b)| f64::from(*a) - b);
    let rounded = rounded.iter().zip(exact).map(|(a, b)| a - b);
    (norm(found) / size, norm(rounded) / size)
}

/// Every tensor's gradient is at most twice as far from the truth as plain loops that round where the engine
/// stores bf16: what is ill-conditioned in the model is so for both.
#[test]
fn gradients_are_as_good_as_bf16_allows() {
    for (toml, model, data) in cases() {
        let mut cuda = engine().cuda_trainer(&model, &data).unwrap();
        let rows: Vec<u32> = (3..38).collect();
        for rows in [&rows[..1], &rows[5..6], &rows[25..26], &rows[..]] {
            let (nll, found) = cuda.gradients(rows).unwrap();
            let (exact_nll, exact) = rounded::gradients(&model, &data, rows, |x| x);
            let (rounded_nll, rounded) = rounded::gradients(&model, &data, rows, to_bf16);
            let off = |nll: f64| (nll - exact_nll).abs();
            assert!(
                off(nll) < 2.0 * off(rounded_nll) + 1e-3 * exact_nll.abs(),
                "{toml}: {nll}, not {exact_nll}; rounded {rounded_nll}"
            );
            for (t, spec) in model.tensors.iter().enumerate() {
                let (error, naive) = errors(&found[t], &rounded[t], &exact[t]);
                assert!(
                    error <= 2.0 * naive + 1e-3,
                    "{toml}, {} images: {error:e} of {}'s gradient, by plain loops {naive:e}",
                    rows.len(),
                    spec.name
                );
                for (place, g) in found[t].iter().enumerate() {
                    let (row, column) = (place / spec.columns(), place % spec.columns());
                    assert!(
                        column < spec.read(row) || *g == 0.0,
                        "{} is masked",
                        spec.name
                    );
                }
            }
        }
    }
}

/// The networks that the speeds are about, with their own tiles and slices.
#[test]
fn the_papers_networks_have_the_cpu_engines_gradients() {
    for paper in sarm::bench::PAPER {
        let model = representable(paper.model().unwrap());
        let data = Arc::new(paper.images(8).unwrap());
        let rows = [1, 7, 3];
        let cpu = CpuEngine::new(2).unwrap();
        let (want_nll, want) = cpu
            .cpu_trainer(&model, Arc::clone(&data))
            .gradients(&rows)
            .unwrap();
        let mut cuda = engine().cuda_trainer(&model, &data).unwrap();
        let (nll, found) = cuda.gradients(&rows).unwrap();
        assert!(
            (nll - want_nll).abs() < 2e-3 * want_nll,
            "{nll}, not {want_nll}"
        );
        let tensors = model.tensors.iter().zip(found.iter().zip(&want));
        for (spec, (found, want)) in tensors {
            let want: Vec<f64> = want.iter().map(|v| f64::from(*v)).collect();
            let (error, _) = errors(found, &want, &want);
            println!("{}: {error:.2e} of {}'s gradient", paper.name, spec.name);
            assert!(
                error < 2e-2,
                "{}: {error:e} of {}'s gradient",
                paper.name,
                spec.name
            );
        }
    }
}

/// Decay takes its fraction of every weight that decays, on top of the step, and nothing of all others.
#[test]
fn weights_decay() {
    let (learning_rate, weight_decay) = (0.01, 2.0);
    let rows: Vec<u32> = (0..20).collect();
    for (toml, model, data) in cases() {
        let cpu = || {
            CpuEngine::new(1)
                .unwrap()
                .trainer(&model, Arc::clone(&data))
        };
        let cuda = || engine().trainer(&model, Arc::clone(&data));
        for mut trainers in [[cpu(), cpu()], [cuda(), cuda()]] {
            let mut after = |i: usize, weight_decay: f32| {
                let trainer = trainers[i].as_mut().unwrap();
                let rates = Rates {
                    learning_rate,
                    weight_decay,
                };
                trainer.step(&rows, rates).unwrap();
                trainer.state().unwrap().parameters
            };
            let (plain, decayed) = (after(0, 0.0), after(1, weight_decay));
            for (t, spec) in model.tensors.iter().enumerate() {
                let weight = [".hidden.", ".gate.", ".value."]
                    .iter()
                    .any(|n| spec.name.contains(n) && spec.name.ends_with("weight"));
                let lost = if weight {
                    learning_rate * weight_decay
                } else {
                    0.0
                };
                for (i, start) in model.parameters[t].iter().enumerate() {
                    let want = plain[t][i] - lost * start;
                    let close = (decayed[t][i] - want).abs() <= 1e-6 * start.abs().max(1.0);
                    assert!(
                        if weight {
                            close
                        } else {
                            decayed[t][i] == plain[t][i]
                        },
                        "{toml}, {}: {} became {}, not {want}",
                        spec.name,
                        start,
                        decayed[t][i]
                    );
                }
            }
        }
    }
}

/// Some steps of batches of 16, the last one smaller, in calls of `per_call` rows.
fn run(trainer: &mut dyn Trainer, rows: &[u32], per_call: usize) -> Vec<f64> {
    rows.chunks(per_call)
        .flat_map(|rows| trainer.steps(rows, 16, 1e-3.into()).unwrap())
        .collect()
}

fn same_bits(a: &TrainingState, b: &TrainingState) -> bool {
    let bits = |lists: &Vec<Vec<f32>>| -> Vec<u32> {
        lists.iter().flatten().map(|v| v.to_bits()).collect()
    };
    a.steps == b.steps
        && bits(&a.parameters) == bits(&b.parameters)
        && bits(&a.first_moments) == bits(&b.first_moments)
        && bits(&a.second_moments) == bits(&b.second_moments)
}

#[test]
fn training_repeats_bit_for_bit_and_follows_the_cpu() {
    for (toml, model, data) in cases() {
        let rows: Vec<u32> = (0..41).rev().chain(0..41).collect();
        let train = |per_call| {
            // Every emulated device schedules its threads differently from launch to launch.
            let mut trainer = engine().cuda_trainer(&model, &data).unwrap();
            let losses = run(&mut trainer, &rows, per_call);
            (losses, trainer.state().unwrap())
        };
        let (losses, state) = train(rows.len());
        let (again, state_again) = train(32);
        assert_eq!(losses, again, "{toml}");
        assert!(same_bits(&state, &state_again), "{toml}");

        let mut cpu = CpuEngine::new(1)
            .unwrap()
            .cpu_trainer(&model, Arc::clone(&data));
        let want = run(&mut cpu, &rows, rows.len());
        for (found, want) in losses.iter().zip(&want) {
            assert!(
                (found - want).abs() < 5e-3 * want.abs(),
                "{toml}: {losses:?}, not {want:?}"
            );
        }
        // Both have learnt the same: parameters moved in the same direction. Adam's first steps have one length
        // whatever the gradient; where it is small against its rounding, its sign is anybody's.
        let moved = |state: &TrainingState| -> Vec<f64> {
            let pairs = state.parameters.iter().zip(&model.parameters);
            pairs
                .flat_map(|(a, b)| a.iter().zip(b).map(|(a, b)| f64::from(a - b)))
                .collect()
        };
        let (found, want) = (moved(&state), moved(&cpu.state().unwrap()));
        let product: f64 = found.iter().zip(&want).map(|(a, b)| a * b).sum();
        let cosine = product / norm(found.into_iter()) / norm(want.into_iter());
        println!("cosine {cosine}: {toml:?}");
        assert!(cosine > 0.95, "{toml}: moved with a cosine of {cosine}");
    }
}

/// What is left of an epoch after a checkpoint may be its last, smaller batch alone. The blocks that share out
/// D+D's sums must then be those of a run that was not interrupted.
#[test]
fn a_run_resumed_before_the_last_batch_ends_in_the_same_bits() {
    let (toml, h, w) = CONFIGS[4];
    let model = model(toml, h, w, 4, 0.3);
    let data = data(&model, 84, 5, 0.3);
    let rows: Vec<u32> = (0..84).collect();
    let mut straight = engine().cuda_trainer(&model, &data).unwrap();
    straight.steps(&rows[..64], 64, 1e-3.into()).unwrap();
    let middle = straight.state().unwrap();
    straight.steps(&rows[64..], 64, 1e-3.into()).unwrap();
    let mut resumed = engine().cuda_trainer(&model, &data).unwrap();
    resumed.restore(&middle).unwrap();
    resumed.steps(&rows[64..], 64, 1e-3.into()).unwrap();
    assert!(same_bits(
        &resumed.state().unwrap(),
        &straight.state().unwrap()
    ));
}

/// A batch of copies has the gradient of one: at sizes that fill a card, with the tiles that are taken there.
#[test]
fn large_batches_have_the_gradient_of_small_ones() {
    let on_a_card = !emulated();
    let mut models: Vec<(String, Sarm, Arc<ConditionedImages>, usize)> = cases()
        .map(|(toml, model, data)| (toml.to_string(), model, data, 100))
        .collect();
    if on_a_card {
        for paper in &sarm::bench::PAPER {
            let model = representable(paper.model().unwrap());
            let data = Arc::new(paper.images(8).unwrap());
            models.push((paper.name.into(), model, data, 2048));
        }
    }
    for (name, model, data, copies) in models {
        let mut trainer = engine().cuda_trainer(&model, &data).unwrap();
        let (want_nll, want) = trainer.gradients(&[1, 7, 3]).unwrap();
        let (nll, found) = trainer.gradients(&[1, 7, 3].repeat(copies)).unwrap();
        assert!((nll - want_nll).abs() < 1e-5 * want_nll.abs(), "{name}");
        for (spec, (found, want)) in model.tensors.iter().zip(found.iter().zip(&want)) {
            let want: Vec<f64> = want.iter().map(|v| f64::from(*v)).collect();
            let (error, _) = errors(found, &want, &want);
            // The mean's factor is another power of two or not, and so are the roundings of derivatives.
            assert!(
                error < 2e-2,
                "{name}: {error:e} of {}'s gradient",
                spec.name
            );
        }
    }
}

#[test]
fn a_run_moves_between_devices_at_a_checkpoint() {
    // D+D, and D+C that is shown what is left.
    for config in [4, 8] {
        moves_between_devices(config);
    }
}

fn moves_between_devices(config: usize) {
    let (toml, h, w) = CONFIGS[config];
    let model = model(toml, h, w, 4, 0.3);
    let data = data(&model, 41, 5, 0.3);
    let rows: Vec<u32> = (0..32).collect();
    let mut straight = engine().cuda_trainer(&model, &data).unwrap();
    run(&mut straight, &rows, 32);
    let middle = straight.state().unwrap();
    let losses = run(&mut straight, &rows, 32);

    let mut resumed = engine().cuda_trainer(&model, &data).unwrap();
    resumed.restore(&middle).unwrap();
    assert!(
        same_bits(&resumed.state().unwrap(), &middle),
        "a state survives the device"
    );
    assert_eq!(run(&mut resumed, &rows, 32), losses);
    assert!(same_bits(
        &resumed.state().unwrap(),
        &straight.state().unwrap()
    ));

    let mut cpu = CpuEngine::new(1)
        .unwrap()
        .cpu_trainer(&model, Arc::clone(&data));
    cpu.restore(&middle).unwrap();
    for (found, want) in run(&mut cpu, &rows, 32).iter().zip(&losses) {
        assert!((found - want).abs() < 5e-3 * want.abs());
    }
    let mut back = engine().cuda_trainer(&model, &data).unwrap();
    back.restore(&cpu.state().unwrap()).unwrap();
    assert!(same_bits(&back.state().unwrap(), &cpu.state().unwrap()));

    let mut foreign = middle.clone();
    foreign.parameters.pop();
    assert!(
        back.restore(&foreign)
            .unwrap_err()
            .to_string()
            .contains("other tensors")
    );
}

#[test]
fn a_card_trains_on_images_of_equal_weight_alone() {
    let mut plan = plan(tempfile::tempdir().unwrap().path(), false);
    let mut weights = vec![1.0; 60];
    weights[3] = 2.0;
    plan.dataset.weights = Some(weights);
    let out = plan.out.clone();
    let devices = crate::devices::devices(under_test());
    let error = sarm::run::train::train(&devices, plan, &mut sarm::run::train::Silent);
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("equal weight") && error.contains("--device cpu"),
        "{error}"
    );
    assert!(!out.join("config.toml").exists(), "a run was begun");
}

fn plan(out: &std::path::Path, resume: bool) -> TrainPlan {
    let config = "stage = [{square = 3, layers = 1}, {layers = 1}]\n[train]\nepochs = 3\nbatch = 16\nvalidation = 0.2";
    TrainPlan {
        config: Box::new(Config::parse(config).unwrap()),
        dataset: Dataset {
            images: sarm::synthetic::images(5, 5, 60, 3, 0.3).unwrap(),
            columns: Default::default(),
            rows: (0..60).collect(),
            ..Dataset::default()
        },
        data: "made up".into(),
        select: Vec::new(),
        file: Default::default(),
        out: out.into(),
        resume,
        force: false,
        checkpoint_every: Duration::ZERO,
    }
}

/// `docs/kernels.md` says so.
#[test]
fn a_step_of_jets_has_18_launches_and_one_more_with_levels() {
    for (paper, launches) in sarm::bench::PAPER.iter().zip([18, 19]) {
        let device = OnPaper::h100();
        let model = paper.model().unwrap();
        let data = paper.images(128).unwrap();
        let engine = CudaEngine::new(Arc::clone(&device) as Arc<dyn Device>);
        let mut trainer = engine.cuda_trainer(&model, &data).unwrap();
        let rows: Vec<u32> = (0..128).collect();
        trainer.step(&rows, 1e-3.into()).unwrap();
        trainer.step(&rows, 1e-3.into()).unwrap();
        let recordings = device.recordings();
        assert_eq!(recordings.len(), 1, "recorded once");
        assert_eq!(
            recordings[0].len(),
            launches,
            "{}: {recordings:?}",
            paper.name
        );
    }
}

/// The same network, so one more.
#[test]
fn what_is_left_takes_a_launch_more() {
    let launches = [7, 8].map(|config| {
        let device = OnPaper::h100();
        let (toml, h, w) = CONFIGS[config];
        let shown = toml.replace("left = 6", "left = 0");
        [toml, &shown].map(|toml| {
            let model = model(toml, h, w, 1, 0.3);
            let data = data(&model, 41, 5, 0.3);
            let engine = CudaEngine::new(Arc::clone(&device) as Arc<dyn Device>);
            let mut trainer = engine.cuda_trainer(&model, &data).unwrap();
            trainer.step(&[1, 2, 3], 1e-3.into()).unwrap();
            device.recordings().last().unwrap().len()
        })
    });
    assert_eq!(launches[0][0], launches[0][1]);
    assert_eq!(launches[1][0], launches[1][1] + 1);
}
