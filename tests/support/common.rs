//! Models and images that several tests share.
#![allow(dead_code)]

use std::sync::Arc;

use sarm::conditions::{ConditionedImages, Conditions};
use sarm::data::{ImageSize, SparseImages};
use sarm::families::sarm::config::LikelihoodConfig;
use sarm::families::sarm::{Config, Sarm};
use sarm::family::{DrawConditions, EngineError, SamplingPlan};
use sarm::random::{Purpose, normal, words};
use sarm::run::Checkpoint;
use sarm::synthetic;

/// A model of a TOML configuration for `height x width`, with random weights.
pub fn model(toml: &str, height: usize, width: usize, seed: u64, occupancy: f64) -> Sarm {
    let config = Config::parse(toml).unwrap();
    let mut config = config.resolve(ImageSize { height, width }).unwrap();
    if let LikelihoodConfig::Dd { maximum, .. } = &mut config.likelihood {
        maximum.get_or_insert(60.0);
    }
    let n = config.condition.names.len();
    config.condition.mean = vec![0.0; n];
    config.condition.scale = vec![1.0; n];
    if let Some(total) = &config.condition.total {
        let i = config.condition.names.iter().position(|n| n == total);
        config.condition.mean[i.unwrap()] = 40.0;
        config.condition.scale[i.unwrap()] = 15.0;
    }
    let mut model = Sarm::new(config).unwrap();
    synthetic::randomise(&mut model, seed, occupancy);
    model
}

/// The SARM in the checkpoint at `path`.
pub fn read_model(path: &std::path::Path) -> Sarm {
    let checkpoint = Checkpoint::read(path).unwrap();
    Sarm::of(checkpoint.model.as_ref()).unwrap().clone()
}

/// Hands out the rows of a table as if they were drawn: those of the images asked for and no others.
#[derive(Debug)]
struct HandedOut(Conditions);

impl DrawConditions for HandedOut {
    fn of(&self, first: u64, count: usize) -> Result<Conditions, EngineError> {
        let images = (0..count as u64).map(|i| first + i);
        let values = images.flat_map(|i| self.0.row(i).iter().copied());
        let conditions = Conditions::of_images(first, self.0.width(), values.collect());
        Ok(conditions.with_total(self.0.rule().copied()))
    }
}

/// The same plan, its conditions handed out block by block instead of all at once.
pub fn handed_out(plan: &SamplingPlan) -> SamplingPlan {
    SamplingPlan {
        conditions: Conditions::none(),
        drawn: Some(Arc::new(HandedOut(plan.conditions.clone()))),
        ..plan.clone()
    }
}

/// Standard normal conditions for `rows` images of `model`; totals, which must not be negative, from -2 on.
pub fn conditions(model: &Sarm, rows: usize, seed: u64) -> Conditions {
    let width = model.config.condition.names.len();
    let total = model.total();
    let values = (0..rows * width)
        .map(|i| {
            let z = normal(words(seed, Purpose::Synthetic, i as u64, 77))[0] as f32;
            match total {
                Some(total) if i % width == total.condition => z.max(-2.0),
                _ => z,
            }
        })
        .collect();
    Conditions::new(width, values).with_total(total)
}

/// Random images with conditions for `model`.
pub fn data(model: &Sarm, count: usize, seed: u64, occupancy: f64) -> Arc<ConditionedImages> {
    let size = model.config.image;
    let images = synthetic::images(size.height, size.width, count, seed, occupancy).unwrap();
    let mut conditions = conditions(model, count, seed);
    if let Some(total) = model.total() {
        let width = conditions.width();
        let mut values: Vec<f32> = (0..count as u64)
            .flat_map(|row| conditions.row(row).to_vec())
            .collect();
        for (row, sum) in images.totals().into_iter().enumerate() {
            values[row * width + total.condition] = model.standardise(total.condition, sum);
        }
        conditions = Conditions::new(width, values).with_total(Some(total));
    }
    Arc::new(ConditionedImages { images, conditions })
}

/// A model of 1 x 2 pixels of up to 20 GeV that knows their sum, and images of which what is left before the first pixel is
/// more than that by rounding, by much, and less: only the last one's first pixel is *all that is left*.
pub fn around_the_range() -> (Sarm, Arc<ConditionedImages>) {
    let toml = "stage = [{units_per_pixel = 3, layers = 1}]\n[likelihood]\nkind = 'dc'\ncomponents = 3\nunit = 2.0\n\
        upper = 20.0\n[condition]\nnames = ['all']\ntotal = 'all'";
    let model = model(toml, 1, 2, 1, 0.6);
    let mut images = SparseImages::new(1, 2).unwrap();
    let mut told = Vec::new();
    for values in [[20.0f32, 3e-5], [20.0, 5.0], [19.9, 0.0]] {
        let mut pixels: Vec<(u16, f32)> = model.order[0].iter().copied().zip(values).collect();
        pixels.retain(|(_, x)| *x > 0.0);
        pixels.sort_unstable_by_key(|(pixel, _)| *pixel);
        images.push(pixels);
        told.push(model.standardise(0, values[0] + values[1]));
    }
    let conditions = Conditions::new(1, told).with_total(model.total());
    (model, Arc::new(ConditionedImages { images, conditions }))
}

/// A small configuration, for properties that must hold for any: a centre square where one fits.
pub fn small_toml(
    size: [usize; 2],
    centre: usize,
    units: usize,
    layers: usize,
    dd: bool,
    order: usize,
    conditioned: bool,
) -> String {
    let order = ["spiral", "reverse-spiral", "rows", "columns", "random"][order];
    let square = centre.min(size[0].min(size[1]) - 1);
    let centre = if square > 0 {
        format!("{{square = {square}, units_per_pixel = {units}, layers = {layers}}},")
    } else {
        String::new()
    };
    let likelihood = if dd {
        "kind = 'dd'\nlatents = 3\nlevels = 20"
    } else {
        "kind = 'dc'\ncomponents = 2"
    };
    let names = if conditioned { "['a']" } else { "[]" };
    format!(
        "order = {{kind = '{order}'}}\nstage = [{centre} {{layers = {layers}, units_per_pixel = {units}}}]\n[likelihood]\n{likelihood}\n[condition]\nnames = {names}"
    )
}

/// Configurations that between them reach every branch of the engines.
pub const CONFIGS: &[(&str, usize, usize)] = &[
    ("", 5, 5),
    ("order = {kind = 'rows'}\n[[stage]]\nlayers = 0", 3, 4),
    (
        "stage = [{square = 3, units_per_pixel = 5, layers = 2}, {layers = 3}]\n[condition]\nnames = ['signal', 'jet_pt']",
        7,
        7,
    ),
    (
        "stage = [{square = 2, units_per_pixel = 3}, {square = 4, units_per_pixel = 2}, {layers = 1}]\n[order]\nkind = 'random'\nseed = 4\n[likelihood]\nkind = 'dc'\ncomponents = 2\nunit = 2.0\nupper = 50.0\n[input]\ntransform = 'log1p'",
        6,
        9,
    ),
    (
        "stage = [{square = 3, units_per_pixel = 5, layers = 2}, {layers = 2}]\n[likelihood]\nkind = 'dd'\nlatents = 7\nlevels = 37\npower = 2.0\n[condition]\nnames = ['signal']",
        8,
        6,
    ),
    (
        "order = {kind = 'reverse-spiral'}\n[[stage]]\nunits_per_pixel = 2\nlayers = 1\n[likelihood]\nkind = 'dd'\nlatents = 20\nlevels = 16\n[input]\ntransform = 'sqrt'\nunit = 4.0",
        6,
        6,
    ),
    // No pixel beyond what is left of the total.
    (
        "stage = [{square = 3, units_per_pixel = 3, layers = 1}, {units_per_pixel = 2, layers = 2}]\n[likelihood]\nkind = 'dc'\ncomponents = 3\nunit = 2.0\nupper = 90.0\n[condition]\nnames = ['signal', 'all']\ntotal = 'all'",
        5,
        6,
    ),
    // Logarithms of pixels; the second knows what is left of the total.
    (
        "stage = [{square = 2, layers = 1}, {units_per_pixel = 2, layers = 1}]\n[likelihood]\nkind = 'dc'\nspace = 'log'\ncomponents = 3\nunit = 2.0\nlower = 1e-3\nupper = 90.0",
        5,
        5,
    ),
    (
        "stage = [{square = 3, units_per_pixel = 3, layers = 1}, {units_per_pixel = 2, layers = 2}]\n[likelihood]\nkind = 'dc'\nspace = 'log'\ncomponents = 4\nlower = 1e-3\n[input]\ntransform = 'log1p'\nleft = 6\n[condition]\nnames = ['signal', 'all']\ntotal = 'all'",
        5,
        6,
    ),
    // What is left, beside pixels themselves.
    (
        "stage = [{square = 3, units_per_pixel = 3, layers = 1}, {units_per_pixel = 2, layers = 1}]\n[likelihood]\nkind = 'dc'\ncomponents = 3\nunit = 2.0\nupper = 90.0\n[input]\nleft = 4\n[condition]\nnames = ['signal', 'all']\ntotal = 'all'",
        5,
        6,
    ),
];
