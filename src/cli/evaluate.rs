//! `sarm evaluate`

mod calorimeter;
mod classifiers;

use std::path::{Path, PathBuf};

use super::input::{FileArguments, Select};
use super::{Global, command_line};
use crate::checkpoint::Record;
use crate::data;
use crate::data::{Dataset, ReadOptions, Selection};
use crate::evaluate::report::{
    Extras, Meta, MetricsFile, Nll, TrainingCurve, check_directory, write_report,
};
use crate::evaluate::{
    ClassEvaluation, EvaluateError, Options, Reasons, Resampling, ShowerEvaluation, Sides,
    evaluate, evaluate_showers,
};
use crate::physics::DEFAULT_RANGE;
use crate::physics::calorimeter::mev;
use crate::run::pretrained;
use crate::run::train::read_metrics;

/// Compare generated images with true ones: metrics.json and a page of plots.
///
/// All observables are computed from the pixels. Each Wasserstein distance (W1) comes with its bootstrap error and its
/// floor: the distance between two true samples of the same sizes. The report also has separation powers, average images,
/// zero fractions, Fréchet and kernel physics distances (FPD, KPD), precision, recall, density and coverage, each with its
/// value for one half of the truth against the other. With --classifiers, which takes minutes, it also says how well a
/// classifier tells generated images from true ones, and how well a classifier trained on generated images separates true
/// signal from true background.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  sarm evaluate --truth test.h5 --select signal=1 --generated w.h5 --out report/"
)]
pub struct Evaluate {
    /// HDF5 file of true images. May be repeated: the files are treated as one.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    truth: Vec<PathBuf>,
    #[command(flatten)]
    select: Select,
    #[command(flatten)]
    file: FileArguments,
    /// HDF5 file of generated images. May be repeated, for one model per class or for shards: the files are treated as one.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    generated: Vec<PathBuf>,
    /// Rows to use of each --generated file.
    #[arg(long, value_name = "NAME=VALUE|NAME=LOW..HIGH")]
    select_generated: Vec<Selection>,
    /// Directory for the report.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Checkpoint of the model that generated the images; its training curve and NLL go into the report
    /// [default: the one that the generated file names, if it still exists].
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Half-width of the image in eta and phi.
    #[arg(long, value_name = "R", default_value_t = DEFAULT_RANGE)]
    range: f64,
    /// Number of bootstrap replicas for the errors.
    #[arg(long, value_name = "N", default_value_t = Resampling::default().bootstrap)]
    bootstrap: usize,
    #[command(flatten)]
    classifiers: classifiers::Classifiers,
    /// Random seed of the resampling and of the classifiers.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Overwrite the report in --out.
    #[arg(long)]
    force: bool,
    /// Also print metrics.json to stdout.
    #[arg(long)]
    json: bool,
}

impl Evaluate {
    pub fn run(self, global: &Global) -> anyhow::Result<()> {
        check_directory(&self.out, self.force)?;
        let (nll, training) = self.training()?;
        // Reading and evaluating use the global pool.
        global.start_threads()?;
        let read = |paths: &[PathBuf], selections: &[Selection], size| {
            data::read_all(
                paths,
                &ReadOptions {
                    selections: selections.to_vec(),
                    size,
                    file: self.file.options(),
                    ..ReadOptions::default()
                },
            )
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
        if let Some(remark) = uneven(&truth, &generated) {
            log::warn!("{remark}");
        }
        let typed = |s: &[Selection]| s.iter().map(ToString::to_string).collect();
        let mut meta = Meta::of(&evaluation);
        meta.files = Sides {
            truth: super::joined(&self.truth),
            generated: super::joined(&self.generated),
        };
        meta.selection = Sides {
            truth: self.select.typed(),
            generated: typed(&self.select_generated),
        };
        meta.command = Some(command_line());
        let classifiers = (self.classifiers).judge(&truth, &generated, self.seed, global);
        let calorimeter = self.showers(&truth, &generated)?;
        let extras = Extras {
            calorimeter,
            meta,
            nll,
            training,
            classifiers,
        };
        write_report(&evaluation, &extras, &self.out, self.force)?;
        for class in &evaluation.classes {
            for line in summary(class) {
                global.say(format!("{:>10}  {line}", class.name));
            }
        }
        for line in (extras.calorimeter.iter()).flat_map(calorimeter::summary) {
            global.say(format!("{:>10}  {line}", "showers"));
        }
        for (name, line) in (extras.classifiers.iter()).flat_map(classifiers::summary) {
            global.say(format!("{name:>10}  {line}"));
        }
        global.say(format!("report: {}", self.out.join("index.html").display()));
        if self.json {
            super::print(&(MetricsFile::new(&evaluation, &extras).to_json() + "\n"))?;
        }
        Ok(())
    }

    /// The observables of showers, where a binning file is named.
    fn showers(
        &self,
        truth: &Dataset,
        generated: &Dataset,
    ) -> Result<Option<ShowerEvaluation>, EvaluateError> {
        let least = self.file.options().threshold.map(mev);
        (truth.binning.as_ref())
            .map(|binning| evaluate_showers(truth, generated, binning, least, self.seed))
            .transpose()
    }

    /// The likelihoods that the model's checkpoint records, and the curve of the `metrics.csv` beside it.
    ///
    /// Without a model the images alone are judged.
    fn training(&self) -> anyhow::Result<(Option<Nll>, Option<TrainingCurve>)> {
        let (path, record) = match &self.model {
            Some(path) => (path.clone(), pretrained::open(path)?.record),
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

    /// The model that all generated files name, if it still is the one that made them.
    fn named_model(&self) -> Option<(PathBuf, Record)> {
        let (first, others) = self.generated.split_first()?;
        let (path, sha256) = named_in(first)?;
        // Files of several models have no one training to show.
        let same = |other: &PathBuf| named_in(other).is_some_and(|o| o.0 == path && o.1 == sha256);
        if !others.iter().all(same) || !(path.exists() || pretrained::named(&path).is_some()) {
            return None;
        }
        let left_out = "its training is left out of the report (name the model with --model)";
        match pretrained::open(&path) {
            Ok(found) if sha256.is_some_and(|s| s != found.sha256) => {
                log::warn!(
                    "'{}' is no longer the model that '{}' was made with; {left_out}",
                    path.display(),
                    first.display()
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

/// The model that a generated file names, and its hash.
fn named_in(file: &Path) -> Option<(PathBuf, Option<String>)> {
    // A file without readable attributes names no model; reading its images says what is wrong with it.
    let mut attributes = data::read_attributes(file).ok()?;
    let mut text = |name| match attributes.remove(name)? {
        data::Attribute::Text(text) => Some(text),
        _ => None,
    };
    Some((PathBuf::from(text("model")?), text("model_sha256")))
}

/// The lines of one class. Truth in brackets: one half of it against the other.
fn summary(class: &ClassEvaluation) -> Vec<String> {
    let mut lines = Vec::new();
    for o in &class.observables {
        let m = &o.metrics;
        let (Some(w1), Some(floor)) = (m.w1, m.w1_floor) else {
            continue;
        };
        let error = m.w1_error.map_or(String::new(), |e| format!("+- {e:.4}"));
        let separation = m
            .distances
            .separation
            .map_or(String::new(), |s| format!("  separation {s:.6}"));
        lines.push(format!(
            "W1 {:<13} {w1:>9.4} {error} {:<4} floor {floor:.4}{separation}",
            o.observable.name, m.unit
        ));
    }
    let images = [
        Some(&class.images.distances),
        class.images.halves.as_ref().map(|h| &h.found),
    ];
    let features = [&class.features, &class.feature_halves.found];
    let mut line =
        |name: &str, cells: [Option<String>; 2], key: &str, reasons: [Option<&Reasons>; 2]| {
            let [generated, truth] = [0, 1].map(|k| {
                let why = reasons[k].and_then(|r| r.get(key));
                let why = why.map_or("not available".to_string(), |w| {
                    format!("not available: {w}")
                });
                (cells[k].clone()).unwrap_or(why)
            });
            lines.push(format!("{name:<16} {generated} (truth: {truth})"));
        };
    let reasons = images.map(|d| d.map(|d| &d.reasons));
    line(
        "average image",
        images.map(|d| {
            let d = d?;
            Some(format!(
                "largest difference {:.4} GeV, mean {:.5} GeV, MSE {:.3e} GeV^2",
                d.mean_image_max_abs_difference, d.mean_image_mean_abs_difference, d.mean_image_mse
            ))
        }),
        "",
        reasons,
    );
    line(
        "SSIM",
        images.map(|d| d?.mean_image_ssim.map(|v| format!("{v:.6}"))),
        "mean_image_ssim",
        reasons,
    );
    line(
        "zero fraction",
        images.map(|d| {
            let d = d?;
            Some(format!(
                "largest difference {:.4}",
                d.zero_fraction_max_abs_difference
            ))
        }),
        "",
        reasons,
    );
    line(
        "pixel spectrum",
        images.map(|d| {
            d?.pixel_spectrum_log_separation
                .map(|v| format!("separation {v:.6}"))
        }),
        "pixel_spectrum_log_separation",
        reasons,
    );
    let reasons = features.map(|d| Some(&d.reasons));
    let thousandths = |v: f64, e: f64| format!("{:.4} +- {:.4}", 1e3 * v, 1e3 * e);
    line(
        "FPD x 1000",
        features.map(|d| d.fpd.as_ref().map(|f| thousandths(f.value, f.error))),
        "fpd",
        reasons,
    );
    line(
        "KPD x 1000",
        features.map(|d| d.kpd.map(|k| thousandths(k.value, k.error))),
        "kpd",
        reasons,
    );
    line(
        "neighbours",
        features.map(|d| {
            let n = d.neighbours?;
            Some(format!(
                "precision {:.4}, recall {:.4}, density {:.4}, coverage {:.4}",
                n.precision, n.recall, n.density, n.coverage
            ))
        }),
        "neighbours",
        reasons,
    );
    lines
}

/// Fractions of signal that differ by more than this, and more than by chance, make the comparison of all images one of classes.
const UNEVEN: f64 = 0.02;

/// That the two sides mix the classes differently, where they do.
fn uneven(truth: &Dataset, generated: &Dataset) -> Option<String> {
    let signal = |data: &Dataset| {
        let labels = data.columns.get("signal")?;
        let n = labels.len() as f64;
        (n > 0.0).then(|| (labels.iter().filter(|s| **s == 1.0).count() as f64, n))
    };
    let ((a, of_a), (b, of_b)) = (signal(truth)?, signal(generated)?);
    let both = (a + b) / (of_a + of_b);
    let chance = (both * (1.0 - both) * (1.0 / of_a + 1.0 / of_b)).sqrt();
    let apart = (a / of_a - b / of_b).abs();
    (apart > UNEVEN && apart > 4.0 * chance).then(|| {
        format!(
            "{:.1} % of the true images are signal and {:.1} % of the generated: what is said of all together partly tells the classes apart and not the generator; select a class, or look at each",
            100.0 * a / of_a,
            100.0 * b / of_b
        )
    })
}
