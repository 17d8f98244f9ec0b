//! The demo's training on the shipped jets, judged on jets it has not seen.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::support::common::read_model;
use sarm::conditions::ConditionedImages;
use sarm::data;
use sarm::data::{Dataset, ReadOptions};
use sarm::device::Devices;
use sarm::evaluate::{Options, evaluate};
use sarm::families::sarm::Engine;
use sarm::families::sarm::cpu::CpuEngine;
use sarm::families::sarm::likelihood::gate;
use sarm::families::sarm::{Config, Sarm, Statistics, Values};
use sarm::family::SamplingPlan;
use sarm::run::train::{Silent, TrainPlan, conditions, train};

fn jets(rows: &str) -> Dataset {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/jets-sample.h5");
    let options = ReadOptions {
        selections: vec![rows.parse().unwrap()],
        columns: vec!["signal".into()],
        ..ReadOptions::default()
    };
    data::read(&path, &options).unwrap()
}

/// Mean NLL of a model that knows each pixel's zeros and positive values, and no two pixels together:
/// the gate and the mixture that training starts from, with all weights 0.
fn independent_nll(model: &Sarm, train: &Dataset, test: &Dataset) -> f64 {
    let rows: Vec<u32> = (0..train.images.len() as u32).collect();
    let statistics = Statistics::of(&train.images, &rows);
    let mut independent = Sarm::new(model.config.clone()).unwrap();
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
        out: out.path().join("run"),
        resume: false,
        force: false,
        checkpoint_every: Duration::from_secs(600),
    };
    let summary = train(&Devices::cpu(0).unwrap(), plan, &mut Silent).unwrap();
    let model = read_model(&summary.model);

    let given = conditions(&model, &held).unwrap();
    let scored = Arc::new(ConditionedImages {
        images: held.images.clone(),
        conditions: given.clone(),
    });
    let scores = engine.score(&model, scored).unwrap();
    let nll = -scores.iter().sum::<f64>() / scores.len() as f64;
    let independent = independent_nll(&model, &training, &held);
    eprintln!("NLL {nll:.2}, per-pixel independent {independent:.2} nats/image");
    assert!(nll < independent - INDEPENDENT_MARGIN);

    let plan = SamplingPlan {
        seed: 7,
        conditions: given,
        ..SamplingPlan::default()
    };
    let mut generated = Dataset {
        images: engine
            .sampler(&model, &plan)
            .unwrap()
            .sample(0, 10_000)
            .unwrap(),
        ..Dataset::default()
    };
    let labels = held.columns["signal"].iter().copied().cycle().take(10_000);
    generated.columns.insert("signal".into(), labels.collect());
    let evaluation = evaluate(&held, &generated, &Options::default()).unwrap();
    let all = &evaluation.classes[0];
    for (name, limit) in LIMITS {
        let found = all.observables.iter().find(|o| o.observable.name == name);
        let w1 = found.unwrap().metrics.w1.unwrap();
        eprintln!("W1({name}) {w1:.3}, limit {limit}");
        assert!(w1 < limit, "W1({name}) is {w1}");
    }
}

// Measured: NLL 121.10 against 129.49 nats, W1 5.69 and 2.35 GeV.
const INDEPENDENT_MARGIN: f64 = 6.0;
const LIMITS: [(&str, f64); 2] = [("jet_pt", 8.5), ("jet_mass", 3.5)];
