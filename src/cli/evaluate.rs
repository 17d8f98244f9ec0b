//! `sarm evaluate`

use std::path::{Path, PathBuf};

use super::{Global, Select, command_line, read_checkpoint};
use crate::data::{self, ReadOptions, Selection};
use crate::evaluate::report::{
    Extras, Meta, MetricsFile, Nll, TrainingCurve, check_directory, write_report,
};
use crate::evaluate::{Options, Resampling, Sides, evaluate};
use crate::model::Record;
use crate::model::checkpoint::Checkpoint;
use crate::physics::DEFAULT_RANGE;
use crate::train::read_metrics;

/// Judge generated images against true ones: metrics.json and a page of plots.
///
/// Both sides are judged by their pixels. Each Wasserstein distance (W1) comes with its bootstrap error
/// and with the floor: what two samples of truth of the same sizes would give.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  sarm evaluate --truth test.h5 --select signal=1 --generated w.h5 --out report/"
)]
pub struct Evaluate {
    /// HDF5 file of true images.
    #[arg(long, value_name = "FILE")]
    truth: PathBuf,
    #[command(flatten)]
    select: Select,
    /// HDF5 file of generated images.
    #[arg(long, value_name = "FILE")]
    generated: PathBuf,
    /// Rows of --generated to use.
    #[arg(long, value_name = "NAME=VALUE|NAME=LOW..HIGH")]
    select_generated: Vec<Selection>,
    /// Report directory.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Model of the generated images: puts its training curve and NLL into the report
    /// [default: the one that the generated file names, if it is still there].
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Half-width of the image in eta and phi.
    #[arg(long, value_name = "R", default_value_t = DEFAULT_RANGE)]
    range: f64,
    /// Bootstrap replicas behind the errors.
    #[arg(long, value_name = "N", default_value_t = Resampling::default().bootstrap)]
    bootstrap: usize,
    /// Seed of the resampling.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Overwrite a report in --out.
    #[arg(long)]
    force: bool,
    /// Print metrics.json to stdout too.
    #[arg(long)]
    json: bool,
}

impl Evaluate {
    pub fn run(self, global: &Global) -> anyhow::Result<()> {
        check_directory(&self.out, self.force)?;
        let (nll, training) = self.training()?;
        // Reading and evaluating use the global pool.
        global.start_threads()?;
        let read = |path: &Path, selections: &[Selection], size| {
            let options = ReadOptions {
                selections: selections.to_vec(),
                size,
                ..ReadOptions::default()
            };
            data::read(path, &options)
        };
        let truth = read(&self.truth, &self.select.select, None)?;
        let size = (truth.images.height(), truth.images.width());
        let generated = read(&self.generated, &self.select_generated, Some(size))?;
        global.say(format!(
            "comparing {} true with {} generated images",
            super::grouped(truth.images.len() as u64),
            super::grouped(generated.images.len() as u64)
        ));
        let options = Options {
            range: self.range,
            resampling: Resampling {
                bootstrap: self.bootstrap,
                seed: self.seed,
                ..Resampling::default()
            },
            ..Options::default()
        };
        let evaluation = evaluate(&truth, &generated, &options)?;
        let typed = |s: &[Selection]| s.iter().map(ToString::to_string).collect();
        let mut meta = Meta::of(&evaluation);
        meta.files = Sides {
            truth: self.truth.display().to_string(),
            generated: self.generated.display().to_string(),
        };
        meta.selection = Sides {
            truth: self.select.typed(),
            generated: typed(&self.select_generated),
        };
        meta.command = Some(command_line());
        let extras = Extras {
            meta,
            nll,
            training,
        };
        write_report(&evaluation, &extras, &self.out, self.force)?;
        for class in &evaluation.classes {
            for o in &class.observables {
                let m = &o.metrics;
                if let (Some(w1), Some(error), Some(floor)) = (m.w1, m.w1_error, m.w1_floor) {
                    global.say(format!(
                        "{:>10}  W1 {:<13} {w1:>9.4} +- {error:.4} {:<4} floor {floor:.4}",
                        class.name, o.observable.name, m.unit
                    ));
                }
            }
        }
        global.say(format!("report: {}", self.out.join("index.html").display()));
        if self.json {
            super::print(&(MetricsFile::new(&evaluation, &extras).to_json() + "\n"))?;
        }
        Ok(())
    }

    /// The likelihoods that the model's checkpoint records, and the curve of the `metrics.csv` beside it.
    ///
    /// Without a model the images alone are judged.
    fn training(&self) -> anyhow::Result<(Option<Nll>, Option<TrainingCurve>)> {
        let (path, record) = match &self.model {
            Some(path) => (path.clone(), read_checkpoint(path)?.record),
            None => match self.named_model() {
                Some(found) => found,
                None => return Ok((None, None)),
            },
        };
        let nll = record.train_nll.map(|train| Nll {
            train,
            validation: record.validation_nll,
        });
        let complete: Vec<(f64, f64, f64)> = read_metrics(&path)
            .into_iter()
            .filter_map(|(e, t, v)| Some((e as f64, t, v?)))
            .collect();
        let curve = TrainingCurve {
            epoch: complete.iter().map(|c| c.0).collect(),
            train: complete.iter().map(|c| c.1).collect(),
            validation: complete.iter().map(|c| c.2).collect(),
        };
        Ok((nll, (!complete.is_empty()).then_some(curve)))
    }

    /// The model that the generated file names, if it still is the one that made the file.
    fn named_model(&self) -> Option<(PathBuf, Record)> {
        // A file without readable attributes names no model; reading its images says what is wrong with it.
        let mut attributes = data::read_attributes(&self.generated).ok()?;
        let mut text = |name| match attributes.remove(name)? {
            data::Attribute::Text(text) => Some(text),
            _ => None,
        };
        let (path, sha256) = (PathBuf::from(text("model")?), text("model_sha256"));
        if !path.exists() {
            return None;
        }
        let left_out = "its training is left out of the report (name the model with --model)";
        match Checkpoint::read(&path) {
            Ok(found) if sha256.is_some_and(|s| s != found.sha256) => {
                log::warn!(
                    "'{}' is no longer the model that '{}' was made with; {left_out}",
                    path.display(),
                    self.generated.display()
                );
                None
            }
            Ok(found) => Some((path, found.record)),
            Err(error) => {
                log::warn!("{error}; {left_out}");
                None
            }
        }
    }
}
