//! The report of an evaluation: a directory with `metrics.json`, `index.html` and the figures.

mod boosting;
mod calorimeter;
mod classifiers;
mod directory;
mod figures;
mod headline;
mod html;
mod memorising;
mod metrics;
mod plot;
mod responses;
mod tables;
mod text;
mod verdicts;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use boosting::{Boosted, BoostedTest, Feature, SingleTest};
pub use classifiers::{Classifiers, TwoSamples};
pub use headline::{Conclusion, Headline, Test, headlines};
pub use metrics::{FeatureMetrics, ImageMetrics, MetricsFile};
pub use plot::{Figure, brightness, loss_curves, overview, sample_page};

use super::{Evaluation, Memorising, ShowerEvaluation, Sides};

/// Where the compared images came from; stands in the report as it is given.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Meta {
    /// Program and version that made the report.
    pub program: String,
    /// What `metrics.json` may hold: [`FORMAT`], 1 where a file does not say.
    #[serde(default = "first_format")]
    pub format: u32,
    /// The files of either side, several joined by ", ".
    pub files: Sides<String>,
    /// Selections on them, as given; empty for none.
    pub selection: Sides<Vec<String>>,
    /// The training images' files and the selection on them, where some were named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<TrainingFiles>,
    /// Images compared on each side.
    pub images: Sides<usize>,
    /// Seed of the resampling.
    pub seed: u64,
    /// Bootstrap replicas behind the errors.
    pub bootstrap: usize,
    /// Splits of the truth behind the floors.
    pub floor_splits: usize,
    /// The command line, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

/// Where training images came from.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TrainingFiles {
    /// Several joined by ", ".
    pub files: String,
    /// Selections on them, as given.
    pub selection: Vec<String>,
}

/// The number of this program's `metrics.json`. Numbers of earlier formats mean the same in it; 2 came with `response`,
/// `weights`, `fpd_jetnet`, `kpd_unbiased` and `learnt`; 3 with `ln_pixel_intensity`, `count_below_..`,
/// `pixel_spectrum_log_chi2`, `memorising`, `boosting` and `headline`.
pub const FORMAT: u32 = 3;

fn first_format() -> u32 {
    1
}

impl Meta {
    /// The part that the evaluation itself knows; the caller fills in files, selection, command.
    pub fn of(evaluation: &Evaluation) -> Self {
        let resampling = evaluation.options.resampling;
        let images = (evaluation.classes.first()).map_or(Sides::default(), |all| all.counts);
        Self {
            program: concat!("sarm ", env!("CARGO_PKG_VERSION")).to_string(),
            format: FORMAT,
            images,
            seed: resampling.seed,
            bootstrap: resampling.bootstrap,
            floor_splits: resampling.splits,
            ..Self::default()
        }
    }
}

/// Negative log-likelihood per image in nats, when the generated images' model is at hand.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Nll {
    /// On the training images.
    pub train: f64,
    /// On the validation images, if any were held out.
    pub validation: Option<f64>,
}

/// Loss per epoch, an image's share.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TrainingCurve {
    /// What it is, with its unit: `NLL per image [nats]`.
    pub title: String,
    /// Epoch numbers.
    pub epoch: Vec<f64>,
    /// Training loss; as long as `epoch`.
    pub train: Vec<f64>,
    /// Validation loss; as long as `epoch`.
    pub validation: Vec<f64>,
}

/// A report that could not be written.
#[derive(Debug, Error)]
pub enum ReportError {
    /// The directory is not empty, and replacing was not asked for.
    #[error("'{0}' exists (it is not empty); choose another directory or replace it with --force")]
    Exists(PathBuf),
    /// Replacing was asked for, but the directory holds something else than a report.
    #[error(
        "'{0}' is not a report (it has no metrics.json, so it is not replaced); \
         choose another directory or remove it yourself"
    )]
    NotAReport(PathBuf),
    /// The name is that of a file or of no directory that could be made.
    #[error("'{0}' cannot be a report directory")]
    Name(PathBuf),
    /// Reading or writing failed.
    #[error("cannot write '{path}' ({source})")]
    Io {
        /// What was written.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A figure could not be encoded.
    #[error("figure {name}: {message}")]
    Figure {
        /// Its name.
        name: String,
        /// The encoder's message.
        message: String,
    },
}

/// What goes into a report beside the evaluation.
#[derive(Debug, Clone, Default)]
pub struct Extras {
    /// Where the images came from.
    pub meta: Meta,
    /// Likelihoods, when known.
    pub nll: Option<Nll>,
    /// Training history, when known.
    pub training: Option<TrainingCurve>,
    /// Boosted trees' verdicts, where asked for.
    pub boosting: Option<Boosted>,
    /// Classifiers' verdicts, where asked for.
    pub classifiers: Option<Classifiers>,
    /// Calorimeter showers, where a binning says that the images are some.
    pub calorimeter: Option<ShowerEvaluation>,
    /// Whose images are nearest, where training images were named.
    pub memorising: Option<Memorising>,
}

/// Write `metrics.json`, `index.html` and `figures/` into `directory`.
///
/// The directory appears whole or not at all: it is written under a temporary name beside its
/// place and then renamed. An empty directory is replaced; one that is not empty only with
/// `force`, and only when it holds a report.
///
/// # Errors
/// See [`ReportError`]; nothing is left behind.
pub fn write_report(
    evaluation: &Evaluation,
    extras: &Extras,
    directory: &Path,
    force: bool,
) -> Result<(), ReportError> {
    directory::write(directory, force, |root| {
        let figures = figures::draw(evaluation, extras);
        let folder = root.join("figures");
        directory::make(&folder)?;
        for figure in &figures {
            directory::put(
                &folder.join(format!("{}.svg", figure.name)),
                figure.svg.as_bytes(),
            )?;
            if let Some(png) = &figure.png {
                let png = png.as_ref().map_err(|message| ReportError::Figure {
                    name: figure.name.clone(),
                    message: message.clone(),
                })?;
                directory::put(&folder.join(format!("{}.png", figure.name)), png)?;
            }
        }
        let metrics = MetricsFile::new(evaluation, extras);
        directory::put(&root.join("metrics.json"), metrics.to_json().as_bytes())?;
        let page = html::page(&metrics, &figures);
        directory::put(&root.join("index.html"), page.as_bytes())
    })
}

/// Refuse early what [`write_report`] would refuse at the end of a long evaluation.
///
/// # Errors
/// As [`write_report`] for the directory.
pub fn check_directory(directory: &Path, force: bool) -> Result<(), ReportError> {
    directory::check(directory, force).map(|_| ())
}
