//! Images that count by their weights, and what follows from it for a run.

use std::collections::BTreeMap;

use sarm::data::{Dataset, SparseImages};
use sarm::device::Devices;
use sarm::families::sarm::Config;
use sarm::family::{Configuration, SamplingPlan};
use sarm::run::Checkpoint;
use sarm::run::train::{Ending, Silent, TrainPlan, train};

/// Two kinds of images, as many of each: one pixel is hit, or another, by the value of `signal`.
fn images(weight: Option<&dyn Fn(usize) -> f32>) -> Dataset {
    let mut images = SparseImages::new(1, 2).unwrap();
    for i in 0..800u32 {
        images.push([((i % 2) as u16, 1.0 + (i % 7) as f32)]);
    }
    Dataset {
        images,
        columns: BTreeMap::from([(
            "signal".to_string(),
            (0..800).map(|i| (i % 2) as f32).collect(),
        )]),
        rows: (0..800).collect(),
        weights: weight.map(|weight| (0..800).map(weight).collect()),
        ..Dataset::default()
    }
}

fn plan(dataset: Dataset, out: &std::path::Path, conditions: &str) -> TrainPlan {
    let text = format!(
        "[[stage]]\nunits_per_pixel = 4\nlayers = 1\n[condition]\nnames = [{conditions}]\n[train]\nepochs = 12\nbatch = 50\nlearning_rate = 1e-2\n"
    );
    let config: Box<dyn Configuration> = Box::new(Config::parse(&text).unwrap());
    TrainPlan::new(config, dataset, out)
}

#[test]
fn what_weighs_more_is_drawn_more_often() {
    let lab = tempfile::tempdir().unwrap();
    let devices = Devices::cpu(2).unwrap();
    type WeightOf<'a> = Option<&'a dyn Fn(usize) -> f32>;
    let cases: [(&str, WeightOf, f64); 3] = [
        ("even", None, 0.5),
        ("heavy", Some(&|i| [1.0, 3.0][i % 2]), 0.75),
        // Half of the first kind take some of the other half away again.
        ("negative", Some(&|i| [1.5, 2.0, -0.5, 2.0][i % 4]), 0.8),
    ];
    for (name, weight, want) in cases {
        let dataset = images(weight);
        let out = lab.path().join(name);
        let summary = train(&devices, plan(dataset, &out, ""), &mut Silent).unwrap();
        let model = Checkpoint::read(&summary.model).unwrap().model;
        let plan = SamplingPlan {
            seed: 1,
            ..SamplingPlan::default()
        };
        let drawn = model
            .sampler(&devices, &plan)
            .unwrap()
            .sample(0, 4000)
            .unwrap();
        let second = (0..4000)
            .filter(|i| drawn.image(*i).0.first() == Some(&1))
            .count();
        let share = second as f64 / 4000.0;
        // Four standard deviations of 4000 draws are 0.03; training started from equal shares.
        assert!((share - want).abs() < 0.05, "{name}: {share}, not {want}");
    }
}

#[test]
fn labels_are_counted_by_weight_and_other_weights_are_other_data() {
    let lab = tempfile::tempdir().unwrap();
    let devices = Devices::cpu(2).unwrap();
    let out = |name: &str| lab.path().join(name);
    let run = |weights: Option<[f32; 2]>, name: &str, resume| {
        let dataset = match weights {
            None => images(None),
            Some(weights) => images(Some(&|i| weights[i % 2])),
        };
        let mut plan = plan(dataset, &out(name), "'signal'");
        plan.resume = resume;
        train(&devices, plan, &mut Silent)
    };
    for (name, weights, share) in [("plain", None, 0.5), ("heavy", Some([2.0f32, 6.0]), 0.75)] {
        run(weights, name, false).unwrap();
        let prior = Checkpoint::read(&out(name).join("model.safetensors"))
            .unwrap()
            .prior
            .unwrap();
        let labels = prior.labels;
        assert_eq!(labels.values, [[0.0], [1.0]]);
        let all = labels.images.iter().sum::<u64>() as f64;
        // Which images are held out is chance: half of 760 images, give or take 7.
        assert!(
            (labels.images[1] as f64 / all - share).abs() < 0.03,
            "{:?}",
            labels.images
        );
    }
    // Equal weights, whatever they are, change no bit of the model.
    run(Some([0.25, 0.25]), "equal", false).unwrap();
    let model = |name: &str| std::fs::read(out(name).join("model.safetensors")).unwrap();
    assert!(model("equal") == model("plain"));
    let again = run(Some([2.0, 6.0]), "heavy", true).unwrap();
    assert_eq!(again.ending, Ending::AlreadyComplete);
    for weights in [None, Some([1.0, 6.0])] {
        let error = run(weights, "heavy", true).unwrap_err().to_string();
        assert!(error.contains("other images"), "{error}");
    }
    // Weights that no image can have.
    for (weights, words) in [
        ([1.0, -1.5], "add up to -"),
        ([0.0, 0.0], "add up to 0"),
        ([f32::NAN, 1.0], "has the weight NaN"),
    ] {
        let error = run(Some(weights), "wrong", false).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert!(!out("wrong").exists());
    }
}

#[test]
fn images_of_a_group_are_held_out_together() {
    let lab = tempfile::tempdir().unwrap();
    let devices = Devices::cpu(2).unwrap();
    let run = |group: Option<&str>, resume| {
        let mut dataset = images(None);
        let groups = (0..800).map(|i| (i / 100) as f32).collect();
        dataset.columns.insert("event".into(), groups);
        let mut plan = plan(dataset, &lab.path().join("run"), "");
        plan.config.training_mut().group = group.map(String::from);
        plan.resume = resume;
        train(&devices, plan, &mut Silent)
    };
    // One group of eight, where 40 images would do.
    let summary = run(Some("event"), false).unwrap();
    let record = Checkpoint::read(&summary.model).unwrap().record;
    assert_eq!(record.images, [700, 100]);
    // The split belongs to the run.
    for other in [None, Some("signal")] {
        let error = run(other, true).unwrap_err().to_string();
        assert!(error.contains("group was \"event\", not"), "{error}");
    }
    let error = run(Some("evnt"), true).unwrap_err().to_string();
    assert!(error.contains("no per-row data set 'evnt'"), "{error}");
}
