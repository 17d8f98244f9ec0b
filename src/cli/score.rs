//! `sarm score`

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;

use super::given::Given;
use super::{
    Global, Select, command_line, grouped, print_json, read_checkpoint, refuse_existing,
    refuse_input,
};
use crate::conditions::ConditionedImages;
use crate::data;
use crate::data::{Provenance, ReadOptions};
use crate::families::sarm::Work;
use crate::prior::draw::log_density;
use crate::run::pretrained;
use crate::run::train::{check_range, conditions};

/// Compute the exact log-likelihood of each image in a file, in nats.
///
/// A zero contributes its probability, a positive pixel a density per GeV. D+D probabilities are divided by the width of
/// the level's cell, so that both kinds of model can be compared. With conditions, the likelihood is that of the image given
/// the conditions of its row, and the output also holds ln p of those. Without --out the log-likelihoods go to stdout, one
/// per line.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  sarm score --model runs/w/model.safetensors --data test.h5 --select signal=1 --out scores.h5"
)]
pub struct Score {
    /// Checkpoint file, or the name of a model that ships with sarm: jets-w, jets-qcd.
    #[arg(long, value_name = "FILE|NAME")]
    model: PathBuf,
    /// HDF5 file of images.
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    #[command(flatten)]
    select: Select,
    /// Conditions of all images, instead of the file's columns. A total cannot be given: it is the sum of each image's pixels
    /// [default: those that the name of a shipped model stands for]
    #[arg(long, value_name = "NAME=VALUE,..", value_delimiter = ',')]
    given: Vec<Given>,
    /// Output file (HDF5): for each image `log_likelihood` in nats, its `row` in the data file and, for a model with
    /// conditions, `log_prior`: ln p of the conditions given the labels among them.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Use only the first N selected images.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = super::whole::<0, usize>)]
    limit: Option<usize>,
    /// Overwrite the output.
    #[arg(long)]
    force: bool,
    /// Print the count, the mean and its error as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Summary {
    images: usize,
    mean_log_likelihood: f64,
    error_of_mean: f64,
    /// Of the conditions that are no labels, given the labels, over the rows whose conditions are possible.
    mean_log_prior: Option<f64>,
    images_per_second: f64,
    device: String,
}

impl Score {
    pub fn run(self, global: &Global) -> anyhow::Result<()> {
        if let Some(out) = &self.out {
            refuse_input(out, [&self.model, &self.data])?;
            refuse_existing(out, self.force)?;
        }
        let checkpoint = read_checkpoint(&self.model)?;
        let model = &checkpoint.model;
        let engine = global.engine(Work::Scoring)?.engine;
        let size = model.config.image;
        let given = Given::with_those_of(&self.given, pretrained::named(&self.model))?;
        let mut dataset = data::read(
            &self.data,
            &ReadOptions {
                selections: self.select.select.clone(),
                columns: Given::scored(&given, model)?,
                prefer_given: true,
                total: model.config.condition.total.clone(),
                limit: self.limit,
                size: Some((size.height, size.width)),
            },
        )?;
        let rows = dataset.images.len();
        Given::put(&given, &mut dataset.columns, rows);
        let in_file = || format!("scoring '{}'", self.data.display());
        let remedy = "score with a model of a higher range or leave those images out";
        check_range(model, &dataset, remedy).with_context(in_file)?;
        let conditions = conditions(model, &dataset).with_context(in_file)?;
        let log_prior = match &model.prior {
            Some(prior) if !prior.densities.is_empty() => {
                Some(log_density(prior, &dataset.columns).with_context(in_file)?)
            }
            _ => None,
        };
        let rows = dataset.rows;
        let images = Arc::new(ConditionedImages {
            images: dataset.images,
            conditions,
        });
        let started = Instant::now();
        let scores = engine.score(model, images).with_context(in_file)?;
        let seconds = started.elapsed().as_secs_f64();
        let n = scores.len() as f64;
        let impossible = (log_prior.iter().flatten())
            .filter(|v| !v.is_finite())
            .count();
        if impossible > 0 {
            log::warn!(
                "{} of {} images have conditions that no image had which the model was trained on (log_prior -inf); their likelihoods mean little",
                grouped(impossible as u64),
                grouped(scores.len() as u64)
            );
        }
        let mean = scores.iter().sum::<f64>() / n;
        let variance = scores.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
        let summary = Summary {
            images: scores.len(),
            mean_log_likelihood: mean,
            error_of_mean: (variance / n).sqrt(),
            mean_log_prior: mean_of_finite(log_prior.as_deref().unwrap_or_default()),
            images_per_second: n / seconds,
            device: engine.describe(),
        };
        let of_conditions = match summary.mean_log_prior {
            Some(mean) => format!(" (and {mean:.4} of their conditions)"),
            None => String::new(),
        };
        global.say(format!(
            "{} images: mean log-likelihood {mean:.4} +- {:.4} nats{of_conditions}, {:.0} images/s",
            grouped(scores.len() as u64),
            summary.error_of_mean,
            summary.images_per_second,
        ));
        match &self.out {
            Some(out) => {
                let mut columns = BTreeMap::from([
                    ("log_likelihood".to_string(), scores),
                    ("row".to_string(), rows.iter().map(|r| *r as f64).collect()),
                ]);
                let with_prior = log_prior.is_some();
                columns.extend(log_prior.map(|values| ("log_prior".to_string(), values)));
                let mut provenance = Provenance::new()
                    .with("model_sha256", checkpoint.sha256.clone())
                    .with("data", self.data.display().to_string())
                    .with(
                        "unit",
                        "log_likelihood in nats per image, densities per GeV",
                    )
                    .with("device", summary.device.clone())
                    .with("command", command_line());
                if let Some(prior) = model.prior.as_ref().filter(|_| with_prior) {
                    let names: Vec<&str> = prior.names().collect();
                    let (labels, others) = names.split_at(prior.labels.names.len());
                    let of = format!("{} | {}", others.join(", "), labels.join(", "));
                    provenance = provenance.with("log_prior_of", of);
                }
                data::write_columns(out, &columns, &provenance, self.force)?;
            }
            None if !self.json => {
                let lines: String = scores.iter().map(|s| format!("{s}\n")).collect();
                super::print(&lines)?;
            }
            None => {}
        }
        if self.json {
            print_json(&summary)?;
        }
        Ok(())
    }
}

fn mean_of_finite(values: &[f64]) -> Option<f64> {
    let finite = values.iter().filter(|v| v.is_finite());
    let n = finite.clone().count();
    (n > 0).then(|| finite.sum::<f64>() / n as f64)
}
