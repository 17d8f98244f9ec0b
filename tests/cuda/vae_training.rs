//! VAEs in training on a CUDA device: the losses and derivatives of the CPU but for rounding to bf16, the same bits however steps are
//! shared out and in whatever order threads come.

use std::sync::Arc;

use sarm::conditions::{ConditionedImages, Conditions};
use sarm::data::{Dataset, ImageSize, SparseImages};
use sarm::device::cuda::device::Device;
use sarm::device::{Cpu, Devices};
use sarm::families;
use sarm::families::vae::cuda::CudaTrainer;
use sarm::families::vae::{Config, Vae};
use sarm::family::{Model, TrainConfig, Trainer, TrainingState};
use sarm::run::Checkpoint;
use sarm::run::train::{Ending, Observer, Silent, TrainPlan, train};
use sarm::synthetic;

use crate::devices::{devices, emulated, under_test};
use crate::emulation::{self, Emulation};

const IMAGES: usize = 23;
const SIZE: ImageSize = ImageSize {
    height: 9,
    width: 13,
};

const COMPARED: &str = "perceptual = 0.8\ndivergence = 1.2\nbernoulli = 0.7\n[perceptual]\nfilters = [5, 11, 3]\nunits = [4, 3]\n[condition]\nnames = ['signal']\n";
const LINEAR: &str = "perceptual = 0.0\ndivergence = 0.6\n[likelihood]\nkind = 'dc'\ncomponents = 1\nunit = 2.0\nupper = 900.0\n[condition]\nnames = ['signal']\n";
const LOG: &str = "perceptual = 0.0\n[likelihood]\nkind = 'dc'\ncomponents = 3\nspace = 'log'\nunit = 2.0\nlower = 1e-3\n";
const TOTAL: &str = "perceptual = 0.0\n[likelihood]\nkind = 'dc'\ncomponents = 3\nspace = 'log'\nunit = 2.0\nlower = 1e-3\n[condition]\nnames = ['signal', 'sum']\ntotal = 'sum'\n";
const ALONE: &str = "perceptual = 0.0\nunit = 7.0\n";

/// With and without a classifier; sparse decoders in either space, and one that is told totals.
const ALL: [&str; 5] = [COMPARED, ALONE, LINEAR, LOG, TOTAL];

fn model(loss: &str) -> Vae {
    let unit = if loss.contains("unit = 7") {
        ""
    } else {
        "unit = 100.0\n"
    };
    let text = format!(
        "[model]\nfamily = 'vae'\n[network]\nlatents = 3\nfilters = [5, 20, 7]\n[loss]\n{unit}{loss}"
    );
    let mut model = Vae::untrained(&Config::parse(&text).unwrap(), SIZE, 3).unwrap();
    // A total is about 0 to the networks, like everything else.
    if let Some(scale) = model.config.condition.scale.get_mut(1) {
        *scale = f64::from(images().totals().iter().sum::<f32>()) / IMAGES as f64;
        model.config.condition.mean[1] = *scale;
    }
    // What a card's products read: rounding weights is no part of what is compared.
    let rounded = model.parameters().iter().map(|tensor| {
        let round = |v: &f32| half::bf16::from_f32(*v).to_f32();
        tensor.iter().map(round).collect()
    });
    let rounded = rounded.collect();
    model.set_parameters(rounded);
    // A plain decoder's last bias: a few of its pixels are to be above 0, as after some training.
    if !loss.contains("[likelihood]") {
        let last = model
            .tensors()
            .iter()
            .position(|t| t.name == "decoder.3.bias");
        let mut parameters = model.parameters().to_vec();
        parameters[last.unwrap()][0] = 0.2;
        model.set_parameters(parameters);
    }
    model
}

fn images() -> SparseImages {
    synthetic::images(SIZE.height, SIZE.width, IMAGES, 5, 0.2).unwrap()
}

fn data(model: &Vae) -> Arc<ConditionedImages> {
    let images = images();
    let told = &model.config.condition;
    let sums = images.totals();
    let rows = (0..IMAGES).flat_map(|row| {
        let values = told.names.iter().map(|name| match name.as_str() {
            "sum" => sums[row],
            _ => [1.0, -0.5, 0.3][row % 3],
        });
        let standard = values.enumerate().map(|(i, v)| told.standardise(i, v));
        standard.collect::<Vec<f32>>()
    });
    let conditions = Conditions::new(told.names.len(), rows.collect());
    Arc::new(ConditionedImages {
        conditions: conditions.with_total(told.total_over(SIZE.height * SIZE.width)),
        images,
    })
}

fn on_cpu(model: &Vae) -> Box<dyn Trainer> {
    let cpu = Devices::Cpu(Cpu::new(2).unwrap());
    model.trainer(&cpu, data(model)).unwrap()
}

fn on(device: &Arc<dyn Device>, model: &Vae) -> CudaTrainer {
    CudaTrainer::new(device, model, &data(model)).unwrap()
}

/// Batches of 10: two whole ones and a smaller one.
fn rows() -> Vec<u32> {
    (0..IMAGES as u32)
        .map(|i| (i * 7) % IMAGES as u32)
        .collect()
}

/// Tensor by tensor, how far `found` is from `want` in parts of it; those that are all 0 must be so.
fn far(found: &[Vec<f32>], want: &[Vec<f32>]) -> Vec<f64> {
    let norm = |numbers: &mut dyn Iterator<Item = f32>| -> f64 {
        numbers
            .map(|v| f64::from(v) * f64::from(v))
            .sum::<f64>()
            .sqrt()
    };
    let each = found.iter().zip(want).map(|(found, want)| {
        let all = norm(&mut want.iter().copied());
        let off = norm(&mut found.iter().zip(want).map(|(a, b)| a - b));
        if off == 0.0 { 0.0 } else { off / all }
    });
    each.collect()
}

#[test]
fn losses_and_derivatives_are_nearly_the_cpus() {
    for loss in ALL {
        let model = model(loss);
        let (mut cpu, mut card) = (on_cpu(&model), on(&under_test(), &model));
        let all = rows();
        let (found, want) = (card.nll(&all).unwrap(), cpu.nll(&all).unwrap());
        for (found, want) in found.iter().zip(&want) {
            assert!(
                (found - want).abs() < 0.01 * want.abs() + 0.1,
                "{found} {want}: {loss}"
            );
        }
        for ((name, found), (of_cpu, want)) in card.take_terms().into_iter().zip(cpu.take_terms()) {
            assert_eq!(name, of_cpu);
            assert!(
                (found - want).abs() < 0.01 * want.abs() + 1e-3,
                "{name}: {found} {want}: {loss}"
            );
        }
        // Without a learning rate nothing moves but the first moments, a tenth of the derivatives.
        let want_loss = cpu.step(&all, 0.0.into()).unwrap();
        let mut want = cpu.state().unwrap().first_moments;
        want.iter_mut().flatten().for_each(|v| *v *= 10.0);
        let (found_loss, found) = card.gradients(&all).unwrap();
        assert!(
            (found_loss - want_loss).abs() < 0.01 * want_loss.abs(),
            "{found_loss} {want_loss}"
        );
        let names = model.tensors().into_iter().map(|t| t.name);
        let off = far(&found, &want);
        assert!(median(&off) < 0.04, "{off:?}: {loss}");
        for ((name, off), want) in names.zip(off).zip(&want) {
            let learns = name.starts_with("encoder") || name.starts_with("decoder");
            assert_eq!(want.iter().any(|v| *v != 0.0), learns, "{name}");
            println!("{name}: {off:.4}");
            assert!(off < 0.05, "{name}: {off}: {loss}");
        }
        // A step has the same.
        card.step(&all, 0.0.into()).unwrap();
        let moments = card.state().unwrap().first_moments;
        let tenth: Vec<Vec<f32>> = (found.iter())
            .map(|tensor| tensor.iter().map(|v| 0.1 * v).collect())
            .collect();
        assert!(
            far(&moments, &tenth).iter().all(|off| *off < 1e-5),
            "{loss}"
        );
    }
}

/// Of those that are not 0.
fn median(off: &[f64]) -> f64 {
    let mut off: Vec<f64> = off.iter().copied().filter(|v| *v > 0.0).collect();
    off.sort_by(f64::total_cmp);
    off[off.len() / 2]
}

fn trained(trainer: &mut dyn Trainer) -> (Vec<f64>, TrainingState) {
    let losses = (0..4).flat_map(|_| trainer.steps(&rows(), 10, 1e-3.into()).unwrap());
    (losses.collect(), trainer.state().unwrap())
}

#[test]
fn training_goes_the_way_of_the_cpus() {
    for loss in ALL {
        let model = model(loss);
        let (want, of_cpu) = trained(&mut *on_cpu(&model));
        let (found, of_card) = trained(&mut on(&under_test(), &model));
        println!("{found:.3?}\n{want:.3?}");
        assert_eq!(found.len(), 12);
        for (found, want) in found.iter().zip(&want) {
            assert!(
                (found - want).abs() < 0.03 * want.abs(),
                "{found} {want}: {loss}"
            );
        }
        assert!(found[11] < found[2], "{loss}");
        assert_eq!(of_card.steps, of_cpu.steps);
        let names = model.tensors().into_iter().map(|t| t.name);
        for (name, off) in names.zip(far(&of_card.parameters, &of_cpu.parameters)) {
            // Biases begin at 0, and how far they go is all that there is of them.
            let most = if name.ends_with("bias") { 0.3 } else { 0.1 };
            assert!(off < most, "{name}: {off}: {loss}");
        }
    }
}

#[test]
fn steps_have_the_same_bits_however_they_are_shared_out() {
    for loss in ALL {
        let model = model(loss);
        let device = under_test();
        let whole = trained(&mut on(&device, &model));
        // Another trainer takes over in the middle, and someone looks in between.
        let mut first = on(&device, &model);
        let all = rows();
        let mut losses = first.steps(&all, 10, 1e-3.into()).unwrap();
        first.nll(&all[3..9]).unwrap();
        losses.extend(first.steps(&all[..10], 10, 1e-3.into()).unwrap());
        let state = first.state().unwrap();
        drop(first);
        // As a run begins that is resumed: with a model whose parameters are all 0. And once more.
        let mut empty = model.clone();
        let zeros = model.parameters().iter().map(|p| vec![0.0; p.len()]);
        empty.set_parameters(zeros.collect());
        let mut between = on(&device, &empty);
        between.restore(&state).unwrap();
        assert!(between.state().unwrap() == state, "{loss}");
        drop(between);
        let mut second = on(&device, &empty);
        second.restore(&state).unwrap();
        losses.extend(second.steps(&all[10..], 10, 1e-3.into()).unwrap());
        for _ in 0..2 {
            losses.extend(second.steps(&all, 10, 1e-3.into()).unwrap());
        }
        assert!((losses, second.state().unwrap()) == whole, "{loss}");
        // What an image costs does not depend on its company.
        let costs = second.nll(&all).unwrap();
        assert_eq!(costs[5..11], second.nll(&all[5..11]).unwrap());
        if emulated() {
            for seed in 1..3 {
                let device = Emulation::seeded(emulation::seed() + seed).device();
                assert!(
                    trained(&mut on(&device, &model)) == whole,
                    "schedule {seed}: {loss}"
                );
            }
            assert!(
                trained(&mut on(&Emulation::late().device(), &model)) == whole,
                "late: {loss}"
            );
        }
    }
}

/// What is said to be taken is taken, and what there is no room for is refused.
#[test]
fn memory_is_as_announced() {
    if !emulated() {
        return;
    }
    // Of wide layers slices of derivatives are most of it.
    let wide = Config::parse(
        "[model]\nfamily = 'vae'\n[network]\nlatents = 3\nfilters = [64, 96, 128]\n[loss]\nperceptual = 0.0\n",
    );
    let wide = Vae::untrained(&wide.unwrap(), SIZE, 3).unwrap();
    for model in ALL.map(model).into_iter().chain([wide]) {
        let device = Emulation::new().device();
        let before = device.free_memory().unwrap();
        let mut trainer = on(&device, &model);
        trainer.steps(&rows(), 10, 1e-3.into()).unwrap();
        let taken = before - device.free_memory().unwrap();
        let said = trainer.bytes(10);
        println!("{taken} bytes taken, {said} said");
        // Images, and what rounding up to whole pages takes.
        assert!(
            taken >= said && taken < said + (100 << 10),
            "{taken} {said}"
        );
    }
    let model = model(LOG);
    let error = on(&under_test(), &model).steps(&vec![0; 1 << 23], 1 << 23, 0.0.into());
    let text = error.unwrap_err().to_string();
    assert!(text.contains("smaller batch"), "{text}");
}

/// The classifier that images are compared by: brighter images are of one class.
#[test]
fn classifiers_learn_as_on_the_cpu() {
    let mut data = data(&model(COMPARED));
    let brighter = Arc::get_mut(&mut data).unwrap();
    let mut all = SparseImages::new(SIZE.height, SIZE.width).unwrap();
    let class = |row: usize| if row.is_multiple_of(3) { 1.0 } else { -1.0 };
    for (row, (index, values)) in images().iter().enumerate() {
        let factor = 0.1 * (1.5 + class(row));
        all.push(index.iter().zip(values).map(|(p, x)| (*p, factor * x)));
    }
    brighter.images = all;
    brighter.conditions = Conditions::new(1, (0..IMAGES).map(class).collect());
    let rows = rows();
    // With and without numbers that are left out, and nothing held out.
    for (dropout, rows) in [(0.2, &rows[..]), (0.0, &rows), (0.5, &rows[..12])] {
        let text = COMPARED.replace(
            "units = [4, 3]",
            &format!("units = [4, 3]\nepochs = 3\nbatch = 10\ndropout = {dropout}"),
        );
        let trained = |devices: &Devices| {
            let mut model = model(&text);
            let mut said = Vec::new();
            let training = TrainConfig::default();
            model
                .initialise(devices, &data, rows, &training, &mut |line| {
                    said.push(line.to_string())
                })
                .unwrap();
            (model, said)
        };
        let (of_cpu, want) = trained(&Devices::Cpu(Cpu::new(2).unwrap()));
        let (of_card, said) = trained(&devices(under_test()));
        assert_eq!(said.len(), want.len(), "{said:?} {want:?}");
        let entropy = |line: &String| -> f64 {
            let words = line.split("cross entropy ").nth(1).unwrap();
            words.split(',').next().unwrap().parse().unwrap()
        };
        for (said, want) in said.iter().zip(&want) {
            let (said, want) = (entropy(said), entropy(want));
            assert!((said - want).abs() < 0.01, "{said} {want}");
        }
        // Without two classes there is nothing to learn, and all is as it begins.
        let mut start = model(&text);
        let one_class = ConditionedImages {
            images: data.images.clone(),
            conditions: Conditions::new(1, vec![1.0]),
        };
        let (cpu, training) = (Devices::Cpu(Cpu::new(1).unwrap()), TrainConfig::default());
        start
            .initialise(&cpu, &one_class, rows, &training, &mut |_| ())
            .unwrap();
        let moved = |model: &Vae| -> Vec<Vec<f32>> {
            let pairs = model.parameters().iter().zip(start.parameters());
            pairs
                .map(|(a, b)| a.iter().zip(b).map(|(a, b)| a - b).collect())
                .collect()
        };
        let (found, want) = (moved(&of_card), moved(&of_cpu));
        let names = of_cpu.tensors().into_iter().map(|t| t.name);
        let off = far(&found, &want);
        assert!(median(&off) < 0.05, "{off:?}, {dropout} left out");
        for ((name, off), want) in names.zip(off).zip(&want) {
            let learns = name.starts_with("features") || name.starts_with("head");
            assert_eq!(want.iter().any(|v| *v != 0.0), learns, "{name}");
            println!("{name}: {off:.3}");
            // Adam's first steps are as large as they may be, and rounding decides the sign of derivatives near 0: of five biases that may be one.
            let most = if name == "features.0.bias" { 0.8 } else { 0.25 };
            assert!(off < most, "{name}: {off}, {dropout} left out");
        }
    }
}

/// Numbers that are none are the loss of the image that they belong to, and of its batch: whoever trains stops there.
#[test]
fn numbers_that_are_none_are_found_in_training() {
    for loss in ALL {
        for name in ["encoder.3.bias", "decoder.3.bias", "decoder.1.weight"] {
            let mut wrong = model(loss);
            let place = wrong.tensors().iter().position(|t| t.name == name);
            let mut parameters = wrong.parameters().to_vec();
            parameters[place.unwrap()][0] = f32::NAN;
            wrong.set_parameters(parameters);
            let all = rows();
            let trainers = [
                (
                    "card",
                    Box::new(on(&under_test(), &wrong)) as Box<dyn Trainer>,
                ),
                ("cpu", on_cpu(&wrong)),
            ];
            for (which, mut trainer) in trainers {
                let judged = trainer.nll(&all).unwrap();
                assert!(
                    judged.iter().all(|v| v.is_nan()),
                    "{name}, {which}: {judged:?}, {loss}"
                );
                let losses = trainer.steps(&all, 10, 1e-3.into()).unwrap();
                assert!(
                    losses.iter().all(|v| v.is_nan()),
                    "{name}, {which}: {losses:?}, {loss}"
                );
            }
        }
    }
}

#[test]
fn data_of_another_model_is_refused() {
    let (one, other) = (model(COMPARED), model(TOTAL));
    let error = CudaTrainer::new(&under_test(), &one, &data(&other)).err();
    let text = error.unwrap().to_string();
    assert!(text.contains("1 conditions"), "{text}");
}

/// Stops when asked so often.
struct Stops(usize);

impl Observer for Stops {
    fn stops(&mut self) -> bool {
        self.0 = self.0.saturating_sub(1);
        self.0 == 0
    }
}

#[test]
fn runs_have_the_same_bits_however_often_they_are_resumed() {
    let lab = tempfile::tempdir().unwrap();
    let text = format!(
        "[model]\nfamily = 'vae'\n[network]\nlatents = 3\nfilters = [5, 20, 7]\n[loss]\nunit = 100.0\n{}",
        COMPARED.replace("units = [4, 3]", "units = [4, 3]\nepochs = 2\nbatch = 10")
    );
    let text = format!("{text}[train]\nepochs = 3\nbatch = 10\nvalidation = 0.2\n");
    let class: Vec<f32> = (0..IMAGES).map(|row| (row % 2) as f32).collect();
    let plan = |out: &str| {
        let dataset = Dataset {
            columns: [("signal".to_string(), class.clone())].into(),
            images: images(),
            rows: (0..IMAGES as u64).collect(),
            ..Dataset::default()
        };
        let config = families::configuration(&text).unwrap();
        TrainPlan::new(config, dataset, lab.path().join(out))
    };
    let run = |plan: TrainPlan, observer: &mut dyn Observer| {
        train(&devices(under_test()), plan, observer).unwrap()
    };
    let whole = run(plan("whole"), &mut Silent);
    assert!(matches!(whole.ending, Ending::Complete));
    let mut interrupted = 0;
    loop {
        let mut plan = plan("pieces");
        plan.resume = true;
        match run(plan, &mut Stops(2)).ending {
            Ending::Interrupted => interrupted += 1,
            _ => break,
        }
    }
    assert!(interrupted >= 3, "{interrupted}");
    let model = |out: &str| std::fs::read(lab.path().join(out).join("model.safetensors")).unwrap();
    assert!(model("whole") == model("pieces"));
    // The classifier is there, and is what it was before the first epoch.
    let read = Checkpoint::read(&whole.model).unwrap().model;
    let features = read
        .tensors()
        .iter()
        .position(|t| t.name == "features.0.weight");
    assert!(
        read.parameters()[features.unwrap()]
            .iter()
            .all(|v| *v != 0.0)
    );

    // Weights of images are refused before the classifier learns.
    let mut weighted = plan("weighted");
    weighted.dataset.weights = Some(vec![1.0; IMAGES]);
    let error = train(&devices(under_test()), weighted, &mut Silent).unwrap_err();
    assert!(error.to_string().contains("equal weight"), "{error}");
}
