//! `sarm score`

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use super::input::{FileArguments, Select};
use super::{Global, command_line, grouped, output, print_json, refuse_input};
use crate::data::{self, Provenance};
use crate::device::Task;
use crate::family::End;
use crate::prior::Prior;
use crate::run::checkpoint::Checkpoint;
use crate::run::conditions::Given;
use crate::run::pretrained;
use crate::run::score::{Request, Scores, score};

/// Compute the exact log-likelihood of images in nats, of a sparse VAE lower bounds.
///
/// A VAE with [likelihood] has no exact one: then it is the importance-weighted bound of it, over --samples codes, and the
/// output also holds the evidence bound. A zero contributes its probability, a positive pixel a density per GeV. D+D probabilities are divided by the width of
/// the level's cell, so that both kinds of model can be compared. With conditions, the likelihood is that of the image given
/// the conditions of its row, and the output also holds ln p of those. An image with a pixel beyond the range of the model
/// has the log-likelihood -inf. Without --out the log-likelihoods go to stdout, one per line, and to a terminal a summary of
/// them.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  sarm score --model runs/w/model.safetensors --data test.h5 --select signal=1 --out scores.h5"
)]
pub struct Score {
    /// Checkpoint file, or the name of a model that ships with sarm: jets-w, jets-qcd, muons-iso, muons-bb.
    #[arg(long, value_name = "FILE|NAME")]
    model: PathBuf,
    /// HDF5 or numpy file of images; several are treated as one.
    ///
    /// All that a quoted pattern matches are one data set too, 'part_*.h5'. FILE:/group/name names a data
    /// set of the file.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    data: Vec<PathBuf>,
    #[command(flatten)]
    select: Select,
    #[command(flatten)]
    file: FileArguments,
    /// Conditions of all images, instead of the file's columns.
    ///
    /// A total cannot be given: it is the sum of each image's pixels [default: those that the name of a shipped model
    /// stands for].
    #[arg(long, value_name = "NAME=VALUE,..", value_delimiter = ',')]
    given: Vec<Given>,
    /// Output file (HDF5): `log_likelihood` of each image in nats, its `row`, and `log_prior`.
    ///
    /// Of a VAE `log_likelihood_bound`, its standard error over the codes, `error_of_bound`, and `evidence_bound`.
    /// `log_prior`, for a model with conditions, is ln p of the conditions given the labels among them. Directories that
    /// lead to it are made.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Use only the first N selected images.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = super::whole::<0, usize>)]
    limit: Option<usize>,
    /// Codes of each image that the bound of a VAE is averaged over [default: 64].
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = super::whole::<1, usize>)]
    samples: Option<usize>,
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
    /// Of them, those with pixels beyond the model's range, whose log-likelihood is minus infinity.
    images_beyond_range: usize,
    /// Of the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    mean_log_likelihood: Option<f64>,
    /// Of a VAE the importance-weighted bound, in the place of the likelihood.
    #[serde(skip_serializing_if = "Option::is_none")]
    mean_log_likelihood_bound: Option<f64>,
    error_of_mean: f64,
    /// Of a VAE: the evidence bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    mean_evidence_bound: Option<f64>,
    /// Of a VAE: codes of an image.
    #[serde(skip_serializing_if = "Option::is_none")]
    samples: Option<usize>,
    /// Of the conditions that are no labels, given the labels, over the rows whose conditions are possible.
    mean_log_prior: Option<f64>,
    images_per_second: f64,
    device: String,
}

impl Score {
    pub fn run(mut self, global: &Global) -> anyhow::Result<()> {
        self.data = data::matching(&self.data)?;
        if let Some(out) = &self.out {
            refuse_input(out, self.data.iter().chain([&self.model]))?;
            output::check(out, self.force)?;
        }
        let checkpoint = pretrained::open(&self.model)?;
        let devices = global.open(Task::Scoring)?.devices;
        let request = Request {
            data: self.data.clone(),
            select: self.select.select.clone(),
            given: pretrained::given(&self.model, &self.given)?,
            limit: self.limit,
            samples: self.samples,
            file: self.file.options(),
        };
        let scores = score(&checkpoint, &devices, &request)?;
        let summary = Summary::of(&scores, devices.describe());
        for remark in &scores.about.remarks {
            global.say(remark);
        }
        for warning in &scores.about.warnings {
            log::warn!("{warning}");
        }
        summary.tell(global, &scores);
        match &self.out {
            Some(out) => self.write(out, &checkpoint, scores, &summary)?,
            None if !self.json && std::io::stdout().is_terminal() => {
                super::print(&overview(&scores))?;
            }
            None if !self.json => {
                let lines = scores.log_likelihood.iter().map(|s| format!("{s}\n"));
                super::print(&lines.collect::<String>())?;
            }
            None => {}
        }
        if self.json {
            print_json(&summary)?;
        }
        Ok(())
    }

    fn write(
        &self,
        out: &Path,
        checkpoint: &Checkpoint,
        scores: Scores,
        summary: &Summary,
    ) -> anyhow::Result<()> {
        let mut provenance = Provenance::new()
            .with("model_sha256", checkpoint.sha256.clone())
            .with("data", super::joined(&self.data))
            .with(
                "unit",
                format!(
                    "log_likelihood in nats per image, densities per {}",
                    scores.about.unit
                ),
            )
            .with("device", summary.device.clone())
            .with("command", command_line());
        let rows = scores.rows.iter().map(|r| *r as f64).collect();
        let mut columns = BTreeMap::from([("row".to_string(), rows)]);
        let name = match scores.bounds {
            None => "log_likelihood",
            Some(bounds) => {
                provenance = provenance.with("samples", bounds.samples.to_string());
                columns.insert("evidence_bound".to_string(), bounds.evidence);
                columns.insert("error_of_bound".to_string(), bounds.error);
                "log_likelihood_bound"
            }
        };
        columns.insert(name.to_string(), scores.log_likelihood);
        if let (Some(values), Some(prior)) = (scores.log_prior, &checkpoint.prior) {
            columns.insert("log_prior".to_string(), values);
            provenance = provenance.with("log_prior_of", conditional(prior));
        }
        output::make_parents(out)?;
        data::write_columns(out, &columns, &provenance, self.force)?;
        Ok(())
    }
}

/// `jet_pt, jet_mass | signal`: what `log_prior` is the density of.
fn conditional(prior: &Prior) -> String {
    let names: Vec<&str> = prior.names().collect();
    let (labels, others) = names.split_at(prior.labels.names.len());
    format!("{} | {}", others.join(", "), labels.join(", "))
}

impl Summary {
    fn of(scores: &Scores, device: String) -> Self {
        let all = &scores.log_likelihood;
        let finite = || all.iter().filter(|s| s.is_finite());
        let n = finite().count() as f64;
        let mean = finite().sum::<f64>() / n;
        let variance = finite().map(|s| (s - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
        Self {
            images: all.len(),
            images_beyond_range: scores.images_beyond,
            mean_log_likelihood: scores.bounds.is_none().then_some(mean),
            mean_log_likelihood_bound: scores.bounds.is_some().then_some(mean),
            error_of_mean: (variance / n).sqrt(),
            mean_evidence_bound: (scores.bounds.as_ref()).and_then(|b| mean_of_finite(&b.evidence)),
            samples: scores.bounds.as_ref().map(|b| b.samples),
            mean_log_prior: mean_of_finite(scores.log_prior.as_deref().unwrap_or_default()),
            images_per_second: n / scores.took.as_secs_f64(),
            device,
        }
    }

    /// The figures in a line, and conditions that the model knows nothing of.
    fn tell(&self, global: &Global, scores: &Scores) {
        let images = grouped(self.images as u64);
        for beyond in &scores.beyond {
            let (found, unit) = (&beyond.found, &scores.about.unit);
            let end = found.side.written(found.end);
            let remedy = match found.side {
                End::Upper => format!("train with a higher {} to score them, too", found.key),
                End::Lower => format!(
                    "pass --threshold {end} to set such pixels to zero, or train with a lower {}",
                    found.key
                ),
            };
            log::warn!(
                "{} of {images} images have pixels {} {} at {end} {unit}, which the model gives no probability (log_likelihood -inf; the {} pixel has {} {unit}, in row {}); {remedy}",
                grouped(found.images as u64),
                found.side.beyond(),
                found.what,
                found.side.farthest(),
                found.farthest,
                beyond.row,
            );
        }
        let impossible = (scores.log_prior.iter().flatten())
            .filter(|v| !v.is_finite())
            .count();
        if impossible > 0 {
            log::warn!(
                "{} of {images} images have conditions that no image had which the model was trained on (log_prior -inf); their likelihoods mean little",
                grouped(impossible as u64),
            );
        }
        let of_conditions = match self.mean_log_prior {
            Some(mean) => format!(" (and {mean:.4} of their conditions)"),
            None => String::new(),
        };
        if self.images_beyond_range == self.images {
            global.say("no image has a likelihood above 0: there is no mean of its logarithm");
            return;
        }
        let scored = grouped((self.images - self.images_beyond_range) as u64);
        let mean = match (self.mean_log_likelihood_bound, self.samples) {
            (Some(bound), Some(samples)) => format!(
                "a lower bound of the mean log-likelihood, estimated from {samples} codes an image: {bound:.4} +- {:.4} nats{of_conditions} (evidence bound {:.4})",
                self.error_of_mean,
                self.mean_evidence_bound.unwrap_or(f64::NAN),
            ),
            _ => format!(
                "mean log-likelihood {:.4} +- {:.4} nats{of_conditions}",
                self.mean_log_likelihood.unwrap_or(f64::NAN),
                self.error_of_mean,
            ),
        };
        global.say(format!(
            "{scored} images: {mean}, {:.0} images/s",
            self.images_per_second
        ));
    }
}

/// For a person: how the log-likelihoods are distributed.
fn overview(scores: &Scores) -> String {
    let mut sorted = scores.log_likelihood.clone();
    sorted.sort_by(f64::total_cmp);
    let mut out = String::from(match scores.bounds {
        None => "log-likelihood of an image, nats\n",
        Some(_) => "a lower bound of the log-likelihood of an image, nats\n",
    });
    let last = sorted.len().saturating_sub(1) as f64;
    for (name, part) in [
        ("smallest", 0.0),
        ("1 %", 0.01),
        ("10 %", 0.1),
        ("median", 0.5),
        ("90 %", 0.9),
        ("99 %", 0.99),
        ("largest", 1.0),
    ] {
        if let Some(value) = sorted.get((part * last).round() as usize) {
            out += &format!("{name:>10} {value:>12.4}\n");
        }
    }
    out + "give --out FILE, or send the output elsewhere than to a terminal, for the value of each image\n"
}

fn mean_of_finite(values: &[f64]) -> Option<f64> {
    let finite = values.iter().filter(|v| v.is_finite());
    let n = finite.clone().count();
    (n > 0).then(|| finite.sum::<f64>() / n as f64)
}
