//! The demo's training on the shipped jets, judged on jets it has not seen.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::support::common::read_model;
use sarm::conditions::{ConditionConfig, ConditionedImages, Conditions};
use sarm::data;
use sarm::data::{Dataset, ReadOptions};
use sarm::device::Devices;
use sarm::evaluate::{Options, evaluate};
use sarm::families::sarm::Engine;
use sarm::families::sarm::cpu::CpuEngine;
use sarm::families::sarm::{Config, ModelConfig, Sarm, Statistics, Values};
use sarm::family::SamplingPlan;
use sarm::likelihood::gate;
use sarm::prior::draw::{draw, log_density};
use sarm::run::Checkpoint;
use sarm::run::dataset::conditions;
use sarm::run::train::{Silent, TrainPlan, train};

fn jets(rows: &str) -> Dataset {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/jets-sample.h5");
    let options = ReadOptions {
        selections: vec![rows.parse().unwrap()],
        columns: ["signal", "jet_mass", "jet_pt"].map(String::from).into(),
        total: Some("intensity".into()),
        ..ReadOptions::default()
    };
    data::read(&path, &options).unwrap()
}

/// Mean NLL of a model that knows each pixel's zeros and positive values, and no two pixels together:
/// the gate and the mixture that training starts from, with all weights 0.
fn independent_nll(model: &Sarm, train: &Dataset, test: &Dataset) -> f64 {
    let rows: Vec<u32> = (0..train.images.len() as u32).collect();
    let statistics = Statistics::of(&train.images, &rows);
    // Nor what the pixels come to.
    let condition = ConditionConfig::default();
    let config = ModelConfig {
        condition,
        ..model.config.clone()
    };
    let mut independent = Sarm::new(config).unwrap();
    independent.initialise(1, &statistics, 0.0);
    let Values::Mixture(mixture) = independent.values() else {
        panic!("the demo is D+C");
    };
    let mut total = 0.0;
    for (s, pixels) in independent.order.iter().enumerate() {
        let gates = independent.parameter(s, sarm::families::sarm::StageTensor::GateBias);
        let values = independent.parameter(s, sarm::families::sarm::StageTensor::ValueBias);
        let per_pixel = values.len() / pixels.len();
        for (place, pixel) in pixels.iter().enumerate() {
            let numbers = &values[place * per_pixel..(place + 1) * per_pixel];
            for (index, value) in test.images.iter() {
                match index.binary_search(pixel) {
                    Err(_) => total += f64::from(gate(gates[place], -1.0).0),
                    Ok(at) => {
                        total += f64::from(gate(gates[place], 1.0).0);
                        total += f64::from(mixture.nll(value[at], numbers));
                    }
                }
            }
        }
    }
    total / test.images.len() as f64
}

#[test]
fn the_demo_learns_the_shipped_jets() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("configs/demo.toml")).unwrap();
    let config = Config::parse(&text).unwrap();
    let out = tempfile::tempdir().unwrap();
    let engine = CpuEngine::new(0).unwrap();
    let (training, held) = (jets("row=0..7999"), jets("row=8000..9999"));
    let plan = TrainPlan {
        config: Box::new(config),
        dataset: training.clone(),
        data: "jets-sample.h5".into(),
        select: Vec::new(),
        file: Default::default(),
        out: out.path().join("run"),
        resume: false,
        force: false,
        checkpoint_every: Duration::from_secs(600),
    };
    let summary = train(&Devices::cpu(0).unwrap(), plan, &mut Silent).unwrap();
    let model = read_model(&summary.model);

    let prior = Checkpoint::read(&summary.model).unwrap().prior.unwrap();
    let scored = Arc::new(ConditionedImages {
        images: held.images.clone(),
        conditions: conditions(&model, &held).unwrap(),
    });
    let scores = engine.score(&model, scored).unwrap();
    // Of an image and its conditions, which is more than that of the image. Few jets lie outside what the conditions were
    // learnt from.
    let of_conditions = log_density(&prior, &held.columns).unwrap();
    let both: Vec<f64> = (scores.iter().zip(&of_conditions))
        .filter(|(_, conditions)| conditions.is_finite())
        .map(|(score, conditions)| score + conditions)
        .collect();
    assert!(both.len() + 20 > scores.len());
    let nll = -both.iter().sum::<f64>() / both.len() as f64;
    let independent = independent_nll(&model, &training, &held);
    eprintln!("NLL {nll:.2}, per-pixel independent {independent:.2} nats/image");
    assert!(nll < independent - INDEPENDENT_MARGIN);

    // Told the class alone, as many of each as among the held-out jets.
    let mut columns: BTreeMap<String, Vec<f32>> = BTreeMap::new();
    for (seed, signal) in [(7, 1.0f32), (8, 0.0)] {
        let same = held.columns["signal"].iter().filter(|s| **s == signal);
        let told = BTreeMap::from([("signal".to_string(), signal)]);
        for (name, values) in draw(&prior, &told, seed, 0..5 * same.count() as u64).unwrap() {
            columns.entry(name).or_default().extend(values);
        }
    }
    let names = &model.config.condition.names;
    let given = (0..10_000)
        .flat_map(|row| {
            names
                .iter()
                .enumerate()
                .map(move |(i, name)| (row, i, name))
        })
        .map(|(row, i, name)| model.standardise(i, columns[name][row]))
        .collect();
    let plan = SamplingPlan {
        seed: 7,
        conditions: Conditions::new(names.len(), given).with_total(model.total()),
        ..SamplingPlan::default()
    };
    let generated = Dataset {
        images: engine
            .sampler(&model, &plan)
            .unwrap()
            .sample(0, 10_000)
            .unwrap(),
        columns,
        ..Dataset::default()
    };
    let evaluation = evaluate(&held, &generated, &Options::default()).unwrap();
    let all = &evaluation.classes[0];
    for (name, limit) in LIMITS {
        let found = all.observables.iter().find(|o| o.observable.name == name);
        let w1 = found.unwrap().metrics.w1.unwrap();
        eprintln!("W1({name}) {w1:.3}, limit {limit}");
        assert!(w1 < limit, "W1({name}) is {w1}");
    }
}

// Measured: NLL 122.75 with the conditions' 10, against 129.57 nats; W1 0.34 and 1.20 GeV.
const INDEPENDENT_MARGIN: f64 = 5.0;
const LIMITS: [(&str, f64); 2] = [("jet_pt", 0.85), ("jet_mass", 1.8)];
