//! The toy of the SARM paper's appendix 8.1, as a family of its own: x1 is normal, x0 = x1 + e with e normal, 1000 pairs, 5000
//! steps. The model draws x0 first, from two numbers (mean and scale), then x1 from one linear layer that reads x0. Is the
//! learnt joint the true one: means 0, variances 2 and 1, covariance 1?
//!
//! It has no gate and no positive values, so it also shows that the traits of `family` and the loops of `run` carry a
//! density that is nothing like SARM's. Images hold positive pixels alone: a real value is its pixel less [`SHIFT`].

use std::any::Any;
use std::path::Path;
use std::sync::Arc;

use sarm::checkpoint::CheckpointError;
use sarm::checkpoint::tensors::{Named, Tensors};
use sarm::conditions::{ConditionConfig, ConditionedImages};
use sarm::data::{Dataset, ImageSize, SparseImages};
use sarm::device::Devices;
use sarm::family::{
    Beyond, ConfigError, Configuration, EngineError, Model, Sampler, SamplingPlan, Scorer,
    TensorInfo, TrainConfig, Trainer, TrainingState,
};
use sarm::nn::adam::{AdamRule, Rates};
use sarm::random::{Purpose, normal, words};
use sarm::run::Checkpoint;
use sarm::run::generate::{Job, Request};
use sarm::run::train::{Silent, TrainPlan, train};

/// Added to a value to make a pixel of it: far beyond any of them.
const SHIFT: f32 = 64.0;
const SIZE: ImageSize = ImageSize {
    height: 1,
    width: 2,
};
const PAIRS: usize = 1000;
const BATCH: usize = 100;
const STEPS: usize = 5000;

/// The configuration: how to train is all there is to say.
struct ToyConfig(TrainConfig, ConditionConfig);

impl Configuration for ToyConfig {
    fn image(&self) -> Option<ImageSize> {
        Some(SIZE)
    }
    fn conditions(&self) -> &ConditionConfig {
        &self.1
    }
    fn training(&self) -> &TrainConfig {
        &self.0
    }
    fn training_mut(&mut self) -> &mut TrainConfig {
        &mut self.0
    }
    fn to_toml(&self) -> String {
        "[model]\nfamily = \"toy\"\n".into()
    }
    fn to_json(&self) -> String {
        r#"{"model": {"family": "toy"}}"#.into()
    }
    fn complete(
        &self,
        _: &SparseImages,
        conditions: ConditionConfig,
    ) -> Result<Box<dyn Model>, ConfigError> {
        Ok(Box::new(Toy {
            conditions,
            // x0: mean, ln of the scale. x1: slope by x0 and offset of each of the two.
            parameters: vec![vec![0.0; 2], vec![0.0; 2], vec![0.0; 2]],
        }))
    }
}

#[derive(Debug, Clone)]
struct Toy {
    conditions: ConditionConfig,
    parameters: Vec<Vec<f32>>,
}

impl Toy {
    /// Mean and ln of the scale of x0, and of x1 given x0.
    fn of_x0(&self) -> [f64; 2] {
        [0, 1].map(|i| f64::from(self.parameters[0][i]))
    }
    fn of_x1(&self, x0: f64) -> [f64; 2] {
        let [slope, offset] = [1, 2].map(|t| &self.parameters[t]);
        [0, 1].map(|i| f64::from(slope[i]) * x0 + f64::from(offset[i]))
    }
}

/// -ln of a normal density in nats, and its derivatives by mean and ln of the scale.
fn normal_nll(x: f64, [mean, log_scale]: [f64; 2]) -> (f64, [f64; 2]) {
    let z = (x - mean) * (-log_scale).exp();
    let nll = 0.5 * z * z + log_scale + 0.5 * std::f64::consts::TAU.ln();
    (nll, [-z * (-log_scale).exp(), 1.0 - z * z])
}

fn pair(images: &SparseImages, row: usize) -> [f64; 2] {
    let mut pixels = [0.0f32; 2];
    images.dense_into(row, &mut pixels);
    pixels.map(|p| f64::from(p) - f64::from(SHIFT))
}

impl Model for Toy {
    fn family(&self) -> &'static str {
        "toy"
    }
    fn title(&self) -> String {
        "the paper's toy".into()
    }
    fn image(&self) -> ImageSize {
        SIZE
    }
    fn conditions(&self) -> &ConditionConfig {
        &self.conditions
    }
    fn config_json(&self) -> String {
        "{}".into()
    }
    fn config_toml(&self) -> String {
        String::new()
    }
    fn tensors(&self) -> Vec<TensorInfo> {
        ["x0", "x1.weight", "x1.bias"]
            .map(|name| TensorInfo {
                name: name.into(),
                shape: vec![2],
                unmasked: 2,
            })
            .to_vec()
    }
    fn parameters(&self) -> &[Vec<f32>] {
        &self.parameters
    }
    fn set_parameters(&mut self, parameters: Vec<Vec<f32>>) {
        self.parameters = parameters;
    }
    fn read(&self, file: &Tensors, prefix: &str) -> Result<Vec<Vec<f32>>, CheckpointError> {
        (self.tensors().iter())
            .map(|t| file.tensor(&format!("{prefix}{}", t.name), &t.shape))
            .collect()
    }
    fn packed(&self) -> Vec<Named<'_>> {
        Vec::new()
    }
    fn beyond(&self, _: &SparseImages) -> Vec<Beyond> {
        Vec::new()
    }
    fn initialise(
        &mut self,
        _: &Devices,
        _: &ConditionedImages,
        _: &[u32],
        _: &TrainConfig,
        _: &mut dyn FnMut(&str),
    ) -> Result<(), EngineError> {
        Ok(())
    }
    fn trainer(
        &self,
        _: &Devices,
        data: Arc<ConditionedImages>,
    ) -> Result<Box<dyn Trainer>, EngineError> {
        let moments = vec![vec![0.0; 2]; 3];
        Ok(Box::new(ToyTrainer {
            model: self.clone(),
            data,
            first: moments.clone(),
            second: moments,
            steps: 0,
        }))
    }
    fn sampler(&self, _: &Devices, plan: &SamplingPlan) -> Result<Box<dyn Sampler>, EngineError> {
        Ok(Box::new(ToySampler(self.clone(), plan.seed)))
    }
    fn scorer(&self) -> Option<&dyn Scorer> {
        Some(self)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Scorer for Toy {
    fn score(&self, _: &Devices, data: Arc<ConditionedImages>) -> Result<Vec<f64>, EngineError> {
        let score = |row| {
            let [x0, x1] = pair(&data.images, row);
            -normal_nll(x0, self.of_x0()).0 - normal_nll(x1, self.of_x1(x0)).0
        };
        Ok((0..data.images.len()).map(score).collect())
    }
}

struct ToyTrainer {
    model: Toy,
    data: Arc<ConditionedImages>,
    first: Vec<Vec<f32>>,
    second: Vec<Vec<f32>>,
    steps: u64,
}

impl ToyTrainer {
    /// Mean NLL of `rows` and its derivatives.
    fn gradients(&self, rows: &[u32]) -> (f64, [[f64; 2]; 3]) {
        let (mut nll, mut gradients) = (0.0, [[0.0; 2]; 3]);
        for row in rows {
            let [x0, x1] = pair(&self.data.images, *row as usize);
            let (of_x0, by_x0) = normal_nll(x0, self.model.of_x0());
            let (of_x1, by_x1) = normal_nll(x1, self.model.of_x1(x0));
            nll += of_x0 + of_x1;
            for i in 0..2 {
                gradients[0][i] += by_x0[i];
                gradients[1][i] += by_x1[i] * x0;
                gradients[2][i] += by_x1[i];
            }
        }
        let n = rows.len() as f64;
        (nll / n, gradients.map(|g| g.map(|v| v / n)))
    }
}

impl Trainer for ToyTrainer {
    fn steps(&mut self, rows: &[u32], batch: usize, rates: Rates) -> Result<Vec<f64>, EngineError> {
        let mut losses = Vec::new();
        for rows in rows.chunks(batch) {
            let (nll, gradients) = self.gradients(rows);
            losses.push(nll);
            self.steps += 1;
            let rule = AdamRule::new(rates, self.steps);
            for (t, gradient) in gradients.iter().enumerate() {
                let gradient = gradient.map(|v| v as f32);
                let (first, second) = (&mut self.first[t], &mut self.second[t]);
                rule.step(&mut self.model.parameters[t], first, second, &gradient);
            }
        }
        Ok(losses)
    }
    fn nll(&mut self, rows: &[u32]) -> Result<Vec<f64>, EngineError> {
        Ok(rows.iter().map(|row| self.gradients(&[*row]).0).collect())
    }
    fn state(&self) -> Result<TrainingState, EngineError> {
        Ok(TrainingState {
            parameters: self.model.parameters.clone(),
            first_moments: self.first.clone(),
            second_moments: self.second.clone(),
            steps: self.steps,
        })
    }
    fn restore(&mut self, state: &TrainingState) -> Result<(), EngineError> {
        self.model.parameters.clone_from(&state.parameters);
        self.first.clone_from(&state.first_moments);
        self.second.clone_from(&state.second_moments);
        self.steps = state.steps;
        Ok(())
    }
}

struct ToySampler(Toy, u64);

impl Sampler for ToySampler {
    fn sample(&mut self, first: u64, count: usize) -> Result<SparseImages, EngineError> {
        let of = |[mean, log_scale]: [f64; 2], z: f64| mean + log_scale.exp() * z;
        let draw = |number| {
            let z = normal(words(self.1, Purpose::Draw, number, 0));
            let x0 = of(self.0.of_x0(), z[0]);
            [x0, of(self.0.of_x1(x0), z[1])]
        };
        Ok(images((first..first + count as u64).map(draw)))
    }
    fn preferred_count(&self) -> usize {
        1000
    }
}

fn images(pairs: impl Iterator<Item = [f64; 2]>) -> SparseImages {
    let mut images = SparseImages::new(SIZE.height, SIZE.width).unwrap();
    for pair in pairs {
        images.push_dense(&pair.map(|x| x as f32 + SHIFT));
    }
    images
}

/// Means of x0 and x1, their variances, and their covariance.
fn moments(images: &SparseImages) -> [f64; 5] {
    let n = images.len() as f64;
    let pairs: Vec<[f64; 2]> = (0..images.len()).map(|row| pair(images, row)).collect();
    let mean = |f: &dyn Fn(&[f64; 2]) -> f64| pairs.iter().map(f).sum::<f64>() / n;
    let (a, b) = (mean(&|x| x[0]), mean(&|x| x[1]));
    [
        a,
        b,
        mean(&|x| (x[0] - a).powi(2)),
        mean(&|x| (x[1] - b).powi(2)),
        mean(&|x| (x[0] - a) * (x[1] - b)),
    ]
}

fn trained(data: &SparseImages, out: &Path) -> Checkpoint {
    let training = TrainConfig {
        epochs: STEPS * BATCH / PAIRS,
        batch: BATCH,
        learning_rate: 3e-3,
        validation: 0.0,
        ..TrainConfig::default()
    };
    let dataset = Dataset {
        images: data.clone(),
        rows: (0..PAIRS as u64).collect(),
        ..Dataset::default()
    };
    let config = Box::new(ToyConfig(training, ConditionConfig::default()));
    let plan = TrainPlan::new(config, dataset, out);
    let devices = Devices::cpu(1).unwrap();
    let summary = train(&devices, plan, &mut Silent).unwrap();
    assert_eq!(summary.history.len() * PAIRS / BATCH, STEPS);
    // The program knows no family of this name, and says so.
    let unknown = Checkpoint::read(&summary.model).unwrap_err().to_string();
    assert!(unknown.contains("family 'toy'"), "{unknown}");
    let mut model = Toy {
        conditions: ConditionConfig::default(),
        parameters: Vec::new(),
    };
    model.parameters = model
        .read(&Tensors::read(&summary.model).unwrap(), "")
        .unwrap();
    Checkpoint {
        model: Box::new(model),
        prior: None,
        record: Default::default(),
        sha256: "0".repeat(64),
    }
}

#[test]
fn the_papers_toy_is_learnt() {
    let truth = (0..PAIRS as u64).map(|i| {
        let [x1, e] = normal(words(5, Purpose::Synthetic, i, 0));
        [x1 + e, x1]
    });
    let data = images(truth);
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = trained(&data, &folder.path().join("toy"));
    let request = Request::new(1_000_000, 11);
    let drawn = Job::new(&checkpoint, &request).unwrap().draw().unwrap();
    let (learnt, seen) = (moments(&drawn.images), moments(&data));
    eprintln!("learnt {learnt:.3?}, the pairs' own {seen:.3?}");
    // Of 1000 pairs: variance of a mean s^2 / n, of a variance 2 s^4 / n, of the covariance (2 x 1 + 1) / n.
    let errors = [2.0, 1.0, 8.0, 2.0, 3.0].map(|v: f64| (v / PAIRS as f64).sqrt());
    for (i, truth) in [0.0, 0.0, 2.0, 1.0, 1.0].into_iter().enumerate() {
        assert!(
            (learnt[i] - truth).abs() < 3.5 * errors[i],
            "{i}: {learnt:?}"
        );
        // What is learnt is what was there to be seen: the last steps, of 100 pairs each, still tremble.
        assert!(
            (learnt[i] - seen[i]).abs() < errors[i],
            "{i}: {learnt:?} {seen:?}"
        );
    }
    // ln p of the pairs, against their entropy: 1/2 ln((2 pi e)^2 det C), det C = 2 - 1.
    let dataset = Arc::new(ConditionedImages {
        images: data,
        ..ConditionedImages::default()
    });
    let devices = Devices::cpu(1).unwrap();
    let scores = checkpoint
        .model
        .scorer()
        .unwrap()
        .score(&devices, dataset)
        .unwrap();
    let mean = scores.iter().sum::<f64>() / PAIRS as f64;
    let entropy = 1.0 + std::f64::consts::TAU.ln();
    // Each ln p has a variance of 1 (two halves of a chi-square): three errors of the mean of 1000.
    assert!((mean + entropy).abs() < 0.1, "{mean} {entropy}");
}
